"""Noisy waves: what they are at their end, what they are at each step, and how they go on.

A wave is ``a cos(t * STEP + phase)``, its amplitude a uniform in [0.5, 1.5), its phase uniform in
[0, 2 pi); what is read is the wave and normal noise of standard deviation NOISE. Three tasks:

- `phasor`, many to one: noisy points, as many as each sequence has, and at the last of them the
  wave's phasor there, (a cos angle, a sin angle), that is its amplitude and phase as two numbers;
- `denoise`, many to many, aligned: at each step the wave without its noise;
- `delayed`, many to many, delayed: noisy points are read first, and then the wave is generated.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.task import Array, Sequences, free_steps
from tasks.waves import STEP, phases_and_amplitudes

NOISE = 0.3
AMPLITUDE = (0.5, 1.5)
ENCODED = 50  # steps, three quarters of a period


@dataclass(frozen=True, slots=True)
class Phasor:
    """Many to one: the phasor of a noisy wave at its last point, of which only that is judged.

    Inputs are the noisy value and 1; zeros behind the end, which lies anywhere in the last four
    fifths. A phase wraps at 2 pi and means less the smaller the amplitude, so the error is taken of
    the two Cartesian numbers: MSE = |found - true|^2 / 2. With an amplitude that is off by e and a
    phase by w, that is (e^2 + 4 a (a + e) sin^2(w / 2)) / 2; so at a phase that is right
    e = sqrt(2 MSE), and at an amplitude that is right w is about sqrt(2 MSE) / a radians.
    """

    name: str = "phasor"
    problem: str = "many to one"
    input_size: int = 2
    feedback: bool = False
    points: int | None = 101

    def draw(self, rng: np.random.Generator, batch: int, points: int) -> Sequences:
        """Draw phases, amplitudes, noise and lengths; (points - 1, batch, 2) each."""
        steps = points - 1
        angle, amplitude, noisy = _waves(rng, batch, steps)
        lengths = rng.integers(max(1, steps // 5), steps + 1, batch)
        lasts = np.arange(steps)[:, None] < lengths
        inputs = np.stack([noisy, np.ones_like(noisy)], axis=2) * lasts[:, :, None]
        phasor = np.stack([amplitude * np.cos(angle), amplitude * np.sin(angle)], axis=2)
        at_end = (np.arange(steps)[:, None] == lengths - 1)[:, :, None].repeat(2, axis=2)
        return Sequences(inputs, np.where(at_end, phasor, 0.0), at_end, forced_steps=steps)

    def trivial(self, sequences: Sequences, forced_steps: int) -> dict[str, Array]:
        """Always zero, the mean; the best linear filter."""
        step = np.arange(forced_steps)
        found = _filtered(sequences.inputs[:, :, 0], read=step, at=step)
        return {"zero": np.zeros_like(found), "filter": found}


@dataclass(frozen=True, slots=True)
class Denoise:
    """Many to many, aligned: at each step the wave that the noisy point was made from."""

    name: str = "denoise"
    problem: str = "many to many, aligned"
    input_size: int = 1
    feedback: bool = False
    points: int | None = None

    def draw(self, rng: np.random.Generator, batch: int, points: int) -> Sequences:
        """Draw phases, amplitudes and noise; (points - 1, batch, 1) each, all of it judged."""
        angle, amplitude, noisy = _waves(rng, batch, points - 1)
        targets = (amplitude * np.cos(angle))[:, :, None]
        judged = np.ones(targets.shape, dtype=np.bool_)
        return Sequences(noisy[:, :, None], targets, judged, forced_steps=points - 1)

    def trivial(self, sequences: Sequences, forced_steps: int) -> dict[str, Array]:
        """The noisy point as it is; always zero; the best linear filter of what was read so far."""
        noisy, step = sequences.inputs, np.arange(forced_steps)
        found = _filtered(noisy[:, :, 0], read=step, at=step)
        return {"input": noisy, "zero": np.zeros_like(noisy), "filter": found[:, :, :1]}


@dataclass(frozen=True, slots=True)
class Delayed:
    """Many to many, delayed: noisy points are read, then the wave goes on without its noise.

    The first ENCODED steps are forced, or half of a shorter sequence; judged is what comes out from
    the last of them on.
    """

    name: str = "delayed"
    problem: str = "many to many, delayed"
    input_size: int = 1
    feedback: bool = True
    points: int | None = None

    def draw(self, rng: np.random.Generator, batch: int, points: int) -> Sequences:
        """Draw phases, amplitudes and noise; (points - 1, batch, 1) each."""
        angle, amplitude, noisy = _waves(rng, batch, points)
        steps, encoded = points - 1, max(1, min(ENCODED, (points - 1) // 2))
        judged = np.zeros((steps, batch, 1), dtype=np.bool_)
        judged[encoded - 1 :] = True
        clean = (amplitude * np.cos(angle))[1:, :, None]
        return Sequences(noisy[:-1, :, None], np.where(judged, clean, 0.0), judged, encoded)

    def trivial(self, sequences: Sequences, forced_steps: int) -> dict[str, Array]:
        """Always zero; the last noisy point, repeated; the best linear filter of all of them."""
        noisy, steps = sequences.inputs[:forced_steps], len(sequences.inputs)
        at = np.arange(forced_steps, steps + 1)
        found = _filtered(noisy[:, :, 0], read=np.full_like(at, forced_steps - 1), at=at)
        repeated = np.broadcast_to(noisy[-1], (len(at), *noisy.shape[1:]))
        return {
            "zero": np.zeros_like(sequences.targets),
            "repeat": free_steps(repeated, steps),
            "filter": free_steps(found[:, :, :1], steps),
        }


def _waves(rng: np.random.Generator, batch: int, steps: int) -> tuple[Array, Array, Array]:
    """(steps, batch) angles, (batch,) amplitudes, and (steps, batch) noisy points of the waves."""
    phase, amplitude = phases_and_amplitudes(rng, batch, *AMPLITUDE)
    angle = np.arange(steps)[:, None] * STEP + phase
    noise = rng.normal(0.0, NOISE, angle.shape)
    return angle, amplitude, amplitude * np.cos(angle) + noise


def _filtered(noisy: Array, read: NDArray[np.int64], at: NDArray[np.int64]) -> Array:
    """The best linear estimates of waves' phasors, their frequency being known.

    A wave is a cos(phase) cos(t STEP) - a sin(phase) sin(t STEP): linear in two numbers of mean
    zero, uncorrelated, each with the variance E[a^2] / 2. So this is a ridge regression.

    Args:
        noisy: (T, B) points.
        read: (S,), the last point that each estimate knows.
        at: (S,), the point whose phasor it is of.

    Returns:
        (S, B, 2), estimates of (a cos angle, a sin angle).
    """
    low, high = AMPLITUDE
    variance = (low * low + low * high + high * high) / 3.0 / 2.0
    time = np.arange(len(noisy)) * STEP
    basis = np.stack([np.cos(time), -np.sin(time)], axis=1)
    squares = np.cumsum(basis[:, :, None] * basis[:, None, :], axis=0)
    products = np.cumsum(basis[:, :, None] * noisy[:, None, :], axis=0)
    ridge = NOISE**2 / variance * np.eye(2)
    c, d = np.linalg.solve(squares[read] + ridge, products[read]).transpose(1, 0, 2)
    cos, sin = np.cos(at * STEP)[:, None], np.sin(at * STEP)[:, None]
    return np.stack([c * cos - d * sin, c * sin + d * cos], axis=2)


phasor, denoise, delayed = Phasor(), Denoise(), Delayed()
