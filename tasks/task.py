"""The contract of a task: where sequences come from, and what a prediction is held against."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sequences:
    """A batch of sequences, cut into what is read and what is to be predicted.

    Attributes:
        inputs: (T, B, I), the points 0 .. T-1.
        targets: (T, B, I), the points 1 .. T: the target of step t is the input of step t + 1.
    """

    inputs: Array
    targets: Array

    @classmethod
    def of_points(cls, points: Array) -> "Sequences":
        """Cut (T + 1, B, I) points."""
        return cls(points[:-1], points[1:])


class Task(Protocol):
    """Sequences drawn from a seed."""

    @property
    def name(self) -> str:
        """The name that the command line and the result file use."""

    @property
    def input_size(self) -> int:
        """Features of one point, I."""

    @property
    def recurrence(self) -> tuple[float, float]:
        """(p, q) of the exact law x[t+1] = p x[t] + q x[t-1] that every sequence obeys."""

    def draw(self, rng: np.random.Generator, batch: int, points: int) -> Sequences:
        """Draw ``batch`` sequences of ``points`` points, so T = ``points`` - 1."""
