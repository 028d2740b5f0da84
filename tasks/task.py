"""The contract of a task: where sequences come from, and what a prediction is held against."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sequences:
    """A batch of sequences: what is read, what is to be predicted, and what of that counts.

    Attributes:
        inputs: (T, B, I), what forced steps read. Of a wave, the points 0 .. T-1; where a sequence
            ends early, zeros behind its end.
        targets: (T, B, I). Of a wave, the points 1 .. T: the target of step t is the input of step
            t + 1. Zeros where nothing is judged.
        judged: (T, B, I), the predictions that loss and error count, whatever a recipe or an
            evaluation would leave out. None: all, but for what these leave out.
        forced_steps: how many steps at the start are forced, T where nothing is fed back. None:
            whoever trains or evaluates says it.
    """

    inputs: Array
    targets: Array
    judged: Mask | None = None
    forced_steps: int | None = None

    @classmethod
    def of_points(cls, points: Array) -> "Sequences":
        """Cut (T + 1, B, I) points."""
        return cls(points[:-1], points[1:])

    def part(self, steps: int, columns: NDArray[np.int64]) -> "Sequences":
        """The first ``steps`` of some of the sequences."""
        judged = None if self.judged is None else self.judged[:steps, columns]
        forced = None if self.forced_steps is None else min(self.forced_steps, steps)
        inputs, targets = self.inputs[:steps, columns], self.targets[:steps, columns]
        return Sequences(inputs, targets, judged, forced)


class Task(Protocol):
    """Sequences drawn from a seed."""

    @property
    def name(self) -> str:
        """The name that the command line and the result file use."""

    @property
    def problem(self) -> str:
        """The lecture's word for what is read and what comes out, such as "many to one"."""

    @property
    def input_size(self) -> int:
        """Features of one point, I, of inputs and predictions alike."""

    @property
    def feedback(self) -> bool:
        """Whether a prediction is the next step's input; if not, all steps are forced."""

    @property
    def points(self) -> int | None:
        """Points of a sequence in every training and evaluation; None: what these ask for."""

    def draw(self, rng: np.random.Generator, batch: int, points: int) -> Sequences:
        """Draw ``batch`` sequences of ``points`` points, so T = ``points`` - 1."""

    def trivial(self, sequences: Sequences, forced_steps: int) -> dict[str, Array]:
        """Name -> (T, B, I) predictions of who has not learned, the most modest first.

        The last may be a floor: what can be had with the task's law. They know what the generator
        does: of ``sequences.inputs`` the first ``forced_steps``. What they give for earlier steps
        than are judged is zero.
        """


def free_steps(predicted: Array, steps: int) -> Array:
    """(N, B, I) predictions for the last N of ``steps`` steps; zeros before."""
    padded: Array = np.zeros((steps, *predicted.shape[1:]))
    padded[steps - len(predicted) :] = predicted
    return padded
