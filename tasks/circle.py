"""One to many: one point of a circle is read, and the walk around it generated.

A sequence is ``a (cos(t * STEP + phase), sin(t * STEP + phase))`` at t = 0, 1, 2, ..., its radius a
uniform in [0.5, 1.5), its phase uniform in [0, 2 pi). Step 0 alone is forced; all are judged. What
the network must have learned is the angle of a step, and to keep the radius that it was given.
"""

from dataclasses import dataclass

import numpy as np

from tasks.task import Array, Sequences
from tasks.waves import STEP, phases_and_amplitudes


@dataclass(frozen=True, slots=True)
class Circle:
    """Points of I = 2 coordinates, a step of ten 99ths of a radian apart."""

    name: str = "circle"
    problem: str = "one to many"
    input_size: int = 2
    feedback: bool = True
    points: int | None = None

    def draw(self, rng: np.random.Generator, batch: int, points: int) -> Sequences:
        """Draw phases, then radii; (points - 1, batch, 2) each."""
        phase, radius = phases_and_amplitudes(rng, batch, 0.5, 1.5)
        angle = np.arange(points)[:, None] * STEP + phase
        walk = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
        everything = np.ones((points - 1, batch, 2), dtype=np.bool_)
        return Sequences(walk[:-1], walk[1:], everything, forced_steps=1)

    def trivial(self, sequences: Sequences, forced_steps: int) -> dict[str, Array]:
        """Always zero; the given point, repeated; the rotation by STEP, in float32."""
        known = sequences.inputs[forced_steps - 1]
        steps = len(sequences.inputs)
        cos, sin = np.cos(STEP), np.sin(STEP)
        turn = np.array([[cos, sin], [-sin, cos]], dtype=np.float32)  # from the right
        walk = [known.astype(np.float32)]
        for _ in range(steps):
            walk.append(walk[-1] @ turn)
        return {
            "zero": np.zeros_like(sequences.targets),
            "repeat": np.broadcast_to(known, sequences.targets.shape),
            "rotation": np.stack(walk[1:]).astype(np.float64),
        }


circle = Circle()
