"""How to train: each recipe a constant, its batches drawn by NumPy alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from impls.config import InitName
from tasks import Sequences, Task
from tasks.forcing import coin_flips, lab_free_probability, warm_up

# Each stream of random numbers of a run has its own generator, so that one does not shift another.
_DATA_STREAM, _FORCING_STREAM = 1, 2

# The ranges hold where a recipe comes from a file; beyond them a typing error is likelier.
Count = Annotated[int, Field(ge=1, le=10**9)]
Points = Annotated[int, Field(ge=3, le=100_000)]
Rate = Annotated[float, Field(gt=0.0, le=100.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A teacher-forced training.

    Attributes:
        summary: a few words for ``--help`` and the README.
        iterations: steps of the optimiser.
        batch_size: fresh sequences in each.
        points: points of a sequence at the first and, linearly in between, at the last iteration.
        learning_rate: Adam's; with ``schedule="one_cycle"`` the peak (Smith and Topin, 2018).
        schedule: ``"constant"``, ``"one_cycle"`` or ``"quadratic"``: up over a tenth of the
            iterations, then down with the square of those that are left, which gives the low rates,
            where the error falls most, more of the time.
        muon_rate: Muon's (Jordan, 2024), in place of Adam for the recurrent matrices: the spectral
            norm of an update is about that, whatever the gradient. None leaves all to Adam, whose
            updates of 1e-3 an entry can add up to a norm of 0.1, beyond which a state that is to be
            kept for a thousand steps is lost.
        forced_steps: steps at the start that are forced, 1 at least.
        free_probability: of each later step, to run free: at the first and, linearly in between, at
            the last iteration; ``"lab"`` is the lecture's own schedule.
        loss_warm_up: steps at the start that the loss leaves out.
        clip_norm: largest norm of the gradient (Pascanu et al., 2013), or None.
        init: where the matrices of the recurrence start from, by `impls.initial`; None keeps the
            generator's own.
        init_gain: what that start is multiplied with.
        rewind_above: a loss of so many times the median of the last ones takes the training back to
            before it (see `bench.rewinding`); None lets it be.
        sequences: distinct sequences that all batches are drawn from; None draws fresh ones always.

    Raises:
        ValueError: the loss would leave out every step of a sequence.
    """

    summary: Annotated[str, Field(max_length=1000)] = ""
    iterations: Count
    batch_size: Annotated[int, Field(ge=1, le=100_000)]
    points: tuple[Points, Points]
    learning_rate: Rate
    schedule: Literal["constant", "one_cycle", "quadratic"]
    muon_rate: Rate | None = None
    forced_steps: Count
    free_probability: tuple[Probability, Probability] | Literal["lab"]
    loss_warm_up: Annotated[int, Field(ge=0, le=100_000)]
    clip_norm: Annotated[float, Field(gt=0.0, le=1e9)] | None = None
    init: InitName | None = None
    init_gain: Annotated[float, Field(gt=0.0, le=1e6)] = 1.0
    rewind_above: Annotated[float, Field(gt=1.0, le=1e9)] | None = None
    sequences: Annotated[int, Field(ge=1, le=10**6)] | None = None

    def __post_init__(self) -> None:
        if self.loss_warm_up >= min(self.points) - 1:
            raise ValueError(
                f"loss_warm_up must be below {min(self.points) - 1}, the steps of the shortest "
                f"sequence, got {self.loss_warm_up}"
            )


# In place of a recipe: only parity and timing.
NO_RECIPE = "none"
RECIPES: dict[str, Recipe] = {
    "quick": Recipe(
        summary="sequences that grow from 60 to 300 points, free-running after 50 steps",
        iterations=4000,
        batch_size=8,
        points=(61, 301),
        learning_rate=2e-2,
        schedule="one_cycle",
        muon_rate=3e-3,
        forced_steps=50,
        free_probability=(1.0, 1.0),
        loss_warm_up=50,
        clip_norm=1.0,
        init="orthogonal",
        rewind_above=10.0,
    ),
    "lab": Recipe(
        summary="the lecture's own, step for step: one sequence an iteration, coin flips",
        iterations=10_000,
        batch_size=1,
        points=(100, 100),
        learning_rate=1e-3,
        schedule="constant",
        muon_rate=None,
        forced_steps=1,
        free_probability="lab",
        loss_warm_up=20,
        clip_norm=None,
        init=None,
    ),
    "best": Recipe(
        summary="as quick, with 16,000 iterations of 16 sequences, up to 500 points",
        iterations=16_000,
        batch_size=16,
        points=(61, 501),
        learning_rate=2e-2,
        schedule="one_cycle",
        muon_rate=3e-3,
        forced_steps=50,
        free_probability=(1.0, 1.0),
        loss_warm_up=50,
        clip_norm=1.0,
        init="orthogonal",
        rewind_above=10.0,
    ),
}


@dataclass(frozen=True, slots=True)
class Batch:
    """What one iteration trains on: sequences of (T, B, I), and ``forced`` (T,)."""

    sequences: Sequences
    forced: NDArray[np.bool_]


def batches(recipe: Recipe, task: Task, seed: int, iterations: int) -> Iterator[Batch]:
    """The training data of ``iterations`` iterations; a seed names the same data everywhere.

    The task's own length and its own forced steps come before the recipe's.
    """
    data = np.random.default_rng((seed, _DATA_STREAM))
    flips = np.random.default_rng((seed, _FORCING_STREAM))
    draw = _drawing(recipe, task, data)
    for iteration in range(iterations):
        done = iteration / max(1, iterations - 1)
        points = task.points or round(_between(recipe.points, done))
        sequences = draw(points)
        if recipe.free_probability == "lab":
            free = lab_free_probability(iteration)
        else:
            free = _between(recipe.free_probability, done)
        first = warm_up(points - 1, sequences.forced_steps or recipe.forced_steps)
        forced = coin_flips(flips, points - 1, free) | first
        yield Batch(sequences, forced)


def _between(ends: tuple[float, float], done: float) -> float:
    """The point between two ends, ``done`` of the way, in [0, 1]."""
    first, last = ends
    return first + (last - first) * done


def _drawing(recipe: Recipe, task: Task, rng: np.random.Generator) -> Callable[[int], Sequences]:
    """What draws a batch of so many points: fresh sequences, or the beginnings of a fixed set's."""
    if recipe.sequences is None:
        return lambda points: task.draw(rng, recipe.batch_size, points)
    known = task.draw(rng, recipe.sequences, task.points or max(recipe.points))

    def some(points: int) -> Sequences:
        columns = rng.integers(recipe.sequences or 1, size=recipe.batch_size)
        return known.part(points - 1, columns)

    return some
