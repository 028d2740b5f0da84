"""The lecture's waves: `sine`, its worked example, and `cosine`, its assignment.

A sequence is ``amplitude * f(t * STEP + phase)`` at t = 0, 1, 2, ..., its phase uniform in
[0, 2 pi). The lecture takes 100 points over [0, 10]; a longer sequence keeps the same step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.task import Array, Sequences

STEP = 10.0 / 99.0  # np.linspace(0, 10, 100) has 99 gaps


@dataclass(frozen=True, slots=True)
class Wave:
    """A periodic function with a random phase and, between two bounds, a random amplitude."""

    name: str
    function: Callable[[Array], Array]
    amplitude: tuple[float, float]
    input_size: int = 1

    @property
    def recurrence(self) -> tuple[float, float]:
        """cos(a + s) + cos(a - s) = 2 cos(s) cos(a), so x[t+1] = 2 cos(STEP) x[t] - x[t-1]."""
        return 2.0 * float(np.cos(STEP)), -1.0

    def draw(self, rng: np.random.Generator, batch: int, points: int) -> Sequences:
        """Draw phases, then (where they vary) amplitudes; (points - 1, batch, 1) each."""
        phase = rng.uniform(0.0, 2.0 * np.pi, batch)
        low, high = self.amplitude
        amplitude = rng.uniform(low, high, batch) if low < high else np.full(batch, low)
        time = np.arange(points)[:, None] * STEP
        return Sequences.of_points((amplitude * self.function(time + phase))[:, :, None])


sine = Wave("sine", np.sin, amplitude=(1.0, 1.0))
cosine = Wave("cosine", np.cos, amplitude=(0.5, 1.5))
