r"""Phase and amplitude of a free run against the truth, window by window.

A window is one period of the wave, of known frequency w. In each the points are fitted, by least
squares, with a wave whose amplitude and phase may drift, and an offset::

    x(s) = Re[(z + d s) exp(i w s)] + c          s from the window's middle

and the same is done to the truth. The ratio of the two z is the amplitude kept, its angle the phase
error, positive where the run is ahead. The d lets a frequency that is slightly off, or an
amplitude that decays, leave z what it is in the middle: to second order in what it does within one
window, where a fit without it would err in the first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Below this share of the truth's amplitude there is no wave left to have a phase.
LOST = 0.1


@dataclass(frozen=True, slots=True)
class Drift:
    """How far free runs are from the truth, by window.

    Attributes:
        steps: (W,), the middle of each window, counted from the first free step as 0.
        phase_error: (W, B) radians, unwrapped; NaN from the first window on in which the wave was
            lost.
        amplitude_error: (W, B), relative: -1 where nothing is left.
        squared_error: (W, B), the mean of each window.
    """

    steps: Array
    phase_error: Array
    amplitude_error: Array
    squared_error: Array


def drift(predictions: Array, targets: Array, radians_per_step: float) -> Drift:
    """Compare free runs with the truth, in windows of one period that overlap by half.

    Args:
        predictions: (T, B), one period at least.
        targets: (T, B), waves of amplitude above 0.
        radians_per_step: their frequency; a period is 5 steps at least.
    """
    length = round(2.0 * np.pi / radians_per_step)
    starts = np.arange(0, len(targets) - length + 1, max(1, length // 2))
    ratio = _waves(predictions, starts, length, radians_per_step)
    ratio = ratio / _waves(targets, starts, length, radians_per_step)
    phase = np.unwrap(np.angle(ratio), axis=0)
    lost = np.logical_or.accumulate(np.abs(ratio) < LOST, axis=0)
    squares = np.square(predictions - targets)
    return Drift(
        steps=(starts + (length - 1) / 2.0).astype(np.float64),
        phase_error=np.where(lost, np.nan, phase),
        amplitude_error=np.abs(ratio) - 1.0,
        squared_error=np.stack([squares[start : start + length].mean(axis=0) for start in starts]),
    )


def slopes(steps: Array, phase_error: Array) -> Array:
    """Radians a step by which each run is ahead of the truth's frequency, by least squares.

    Args:
        steps: (W,).
        phase_error: (W, B); a run is fitted up to its first NaN.

    Returns:
        (B,); NaN for a run with fewer than two windows.
    """
    there = np.isfinite(phase_error)
    count = np.maximum(there.sum(axis=0), 1)
    x = np.where(there, steps[:, None], 0.0)
    y = np.where(there, phase_error, 0.0)
    x = np.where(there, x - x.sum(axis=0) / count, 0.0)
    spread = np.square(x).sum(axis=0)
    found: Array = np.where(
        spread > 0.0, (x * y).sum(axis=0) / np.where(spread > 0.0, spread, 1.0), np.nan
    )
    return found


def _waves(
    points: Array, starts: NDArray[np.int64], length: int, frequency: float
) -> NDArray[np.complex128]:
    """(W, B): z of each window."""
    s = np.arange(length) - (length - 1) / 2.0
    cosine, sine = np.cos(frequency * s), np.sin(frequency * s)
    columns = [cosine, sine, s * cosine, s * sine, np.ones(length)]
    fit = np.linalg.pinv(np.stack(columns, axis=1))[:2]
    windows = np.lib.stride_tricks.sliding_window_view(points, length, axis=0)[starts]
    real, imaginary = np.moveaxis(windows @ fit.T, -1, 0)
    # Re[(p - i q) exp(i w s)] = p cos(w s) + q sin(w s)
    found: NDArray[np.complex128] = real - 1j * imaginary
    return found
