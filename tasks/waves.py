"""The lecture's waves: `sine`, its worked example, and `cosine`, its assignment.

Its "hybrid one-to-many/many-to-many problem": some points are read, and from then on a prediction
is the next input. A sequence is ``amplitude * f(t * STEP + phase)`` at t = 0, 1, 2, ..., its phase
uniform in [0, 2 pi). The lecture takes 100 points over [0, 10]; a longer sequence keeps the same
step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.task import Array, Sequences, free_steps

STEP = 10.0 / 99.0  # np.linspace(0, 10, 100) has 99 gaps


@dataclass(frozen=True, slots=True)
class Wave:
    """A periodic function with a random phase and, between two bounds, a random amplitude."""

    name: str
    function: Callable[[Array], Array]
    amplitude: tuple[float, float]
    problem: str = "one to many and many to many"
    input_size: int = 1
    feedback: bool = True
    points: int | None = None

    @property
    def recurrence(self) -> tuple[float, float]:
        """cos(a + s) + cos(a - s) = 2 cos(s) cos(a), so x[t+1] = 2 cos(STEP) x[t] - x[t-1]."""
        return 2.0 * float(np.cos(STEP)), -1.0

    def draw(self, rng: np.random.Generator, batch: int, points: int) -> Sequences:
        """Draw phases, then (where they vary) amplitudes; (points - 1, batch, 1) each."""
        phase, amplitude = phases_and_amplitudes(rng, batch, *self.amplitude)
        time = np.arange(points)[:, None] * STEP
        return Sequences.of_points((amplitude * self.function(time + phase))[:, :, None])

    def trivial(self, sequences: Sequences, forced_steps: int) -> dict[str, Array]:
        """Always zero; the last value that was read, repeated; the recurrence, in float32.

        The last step that reads a true value is ``forced_steps`` - 1, and its target is still to be
        predicted: like the generator, all of them run from the last value that was read.
        """
        steps, known = len(sequences.inputs), sequences.inputs[:forced_steps]
        repeated = np.broadcast_to(known[-1], (steps - len(known), *known.shape[1:]))
        recurrence = self._recurrence(known, len(repeated))
        return {
            "zero": np.zeros_like(sequences.targets),
            "repeat": free_steps(repeated, steps),
            "recurrence": free_steps(recurrence, steps),
        }

    def _recurrence(self, known: Array, steps: int) -> Array:
        """``steps`` predictions after the one for the first free input."""
        p, q = (np.float32(factor) for factor in self.recurrence)
        before, last = known[-2:].astype(np.float32) if len(known) > 1 else np.stack([known[0]] * 2)
        predicted = []
        for _ in range(steps + 1):
            before, last = last, p * last + q * before
            predicted.append(last)
        return np.stack(predicted[1:]).astype(np.float64)


def phases_and_amplitudes(
    rng: np.random.Generator, batch: int, low: float, high: float
) -> tuple[Array, Array]:
    """Draw (batch,) phases in [0, 2 pi) and then, where they vary, amplitudes in [low, high)."""
    phase = rng.uniform(0.0, 2.0 * np.pi, batch)
    return phase, rng.uniform(low, high, batch) if low < high else np.full(batch, low)


sine = Wave("sine", np.sin, amplitude=(1.0, 1.0))
cosine = Wave("cosine", np.cos, amplitude=(0.5, 1.5))
