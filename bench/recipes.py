"""How to train: each recipe a constant, its batches drawn by NumPy alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from impls.config import InitName
from tasks import Sequences, Task
from tasks.forcing import coin_flips, lab_free_probability, warm_up

# Each stream of random numbers of a run has its own generator, so that one does not shift another.
_DATA_STREAM, _FORCING_STREAM = 1, 2


@dataclass(frozen=True, slots=True)
class Recipe:
    """A teacher-forced training.

    Attributes:
        summary: a few words for ``--help`` and the README.
        iterations: steps of the optimiser.
        batch_size: fresh sequences in each.
        points: points of a sequence at the first and, linearly in between, at the last iteration.
        learning_rate: Adam's; with ``schedule="one_cycle"`` the peak (Smith and Topin, 2018).
        schedule: ``"constant"`` or ``"one_cycle"``.
        muon_rate: Muon's (Jordan, 2024), in place of Adam for the recurrent matrices: the spectral
            norm of an update is about that, whatever the gradient. None leaves all to Adam, whose
            updates of 1e-3 an entry can add up to a norm of 0.1, beyond which a state that is to be
            kept for a thousand steps is lost.
        forced_steps: steps at the start that are forced, all others running free; None flips the
            lecture's coin for every step.
        loss_warm_up: steps at the start that the loss leaves out.
        clip_norm: largest norm of the gradient (Pascanu et al., 2013), or None.
        init: where the matrices of the recurrence start from, by `impls.initial`; None keeps the
            generator's own.
    """

    summary: str
    iterations: int
    batch_size: int
    points: tuple[int, int]
    learning_rate: float
    schedule: Literal["constant", "one_cycle"]
    muon_rate: float | None
    forced_steps: int | None
    loss_warm_up: int
    clip_norm: float | None
    init: InitName | None


# In place of a recipe: only parity and timing.
NO_RECIPE = "none"
RECIPES: dict[str, Recipe] = {
    "quick": Recipe(
        summary="sequences that grow from 60 to 300 points, free-running after 50 steps",
        iterations=1500,
        batch_size=16,
        points=(61, 301),
        learning_rate=2e-2,
        schedule="one_cycle",
        muon_rate=3e-3,
        forced_steps=50,
        loss_warm_up=20,
        clip_norm=1.0,
        init="orthogonal",
    ),
    "lab": Recipe(
        summary="the lecture's own, step for step: one sequence an iteration, coin flips",
        iterations=10_000,
        batch_size=1,
        points=(100, 100),
        learning_rate=1e-3,
        schedule="constant",
        muon_rate=None,
        forced_steps=None,
        loss_warm_up=20,
        clip_norm=None,
        init=None,
    ),
    "best": Recipe(
        summary="as quick, with 16,000 iterations, up to 500 points, no loss where forced",
        iterations=16_000,
        batch_size=16,
        points=(61, 501),
        learning_rate=2e-2,
        schedule="one_cycle",
        muon_rate=3e-3,
        forced_steps=50,
        loss_warm_up=50,
        clip_norm=1.0,
        init="orthogonal",
    ),
}


@dataclass(frozen=True, slots=True)
class Batch:
    """What one iteration trains on: sequences of (T, B, I), and ``forced`` (T,)."""

    sequences: Sequences
    forced: NDArray[np.bool_]


def batches(recipe: Recipe, task: Task, seed: int, iterations: int) -> Iterator[Batch]:
    """The training data of ``iterations`` iterations; a seed names the same data everywhere."""
    data = np.random.default_rng((seed, _DATA_STREAM))
    flips = np.random.default_rng((seed, _FORCING_STREAM))
    first, last = recipe.points
    for iteration in range(iterations):
        points = round(first + (last - first) * iteration / max(1, iterations - 1))
        sequences = task.draw(data, recipe.batch_size, points)
        if recipe.forced_steps is None:
            forced = coin_flips(flips, points - 1, lab_free_probability(iteration))
        else:
            forced = warm_up(points - 1, recipe.forced_steps)
        yield Batch(sequences, forced)
