"""The contract of a study: what it asks, what it varies, how a cell is measured and shown."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import BenchError, unknown
from bench.render import Table
from bench.studies.schema import Axes, Cell, Setting, Settings, StudyConfig, StudyResult, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNLIMITED = "unlimited"
FROM_FILE = "weights"  # instead of a recipe: nothing is trained
Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Axis:
    """Something that a study varies.

    Attributes:
        what: a few words for the list of studies.
        values: what is tried where nobody says otherwise. Their type is that of all values: whole
            numbers, of which None means without a limit, or other numbers, or names.
        known: the names that there are; empty for numbers.
        least: the smallest number; 0.0 is itself too small for numbers that are not whole.
        most: the largest.
    """

    what: str
    values: tuple[Setting, ...]
    known: tuple[str, ...] = ()
    least: float = 1
    most: float = 1_000_000

    def read(self, option: str, text: str) -> tuple[Setting, ...]:
        """The values in a comma list, each kept once.

        Raises:
            BenchError: one is none of this axis.
        """
        parts = dict.fromkeys(part.strip() for part in text.split(","))
        return tuple(self._read(option, part) for part in parts)

    def holds(self, value: Setting) -> bool:
        """Whether this is a value of the axis."""
        if self.known:
            return value in self.known
        if value is None:
            return None in self.values
        kind = int if self._whole else float
        return type(value) is kind and self.least <= value <= self.most and value > 0.0

    @property
    def _whole(self) -> bool:
        return any(type(value) is int for value in self.values)

    def _read(self, option: str, text: str) -> Setting:
        value: Setting = text
        if self.known:
            if text not in self.known:
                raise unknown(option, text, self.known)
            return value
        if text == UNLIMITED:
            value = None
        else:
            try:
                value = int(text) if self._whole and len(text) < 10 else float(text)
            except ValueError:
                value = math.nan
        if not self.holds(value):
            raise BenchError(f"--vary {option}: must be {self._rule()}, got '{text}'")
        return value

    def _rule(self) -> str:
        kind = "whole numbers" if self._whole else "numbers"
        none = f" or {UNLIMITED}" if None in self.values else ""
        return f"{kind} from {self.least:g} to {self.most:,.0f}{none}, such as {said(self.values)}"


def product(axes: Axes) -> tuple[Settings, ...]:
    """Every combination, the last axis fastest."""
    return tuple(
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    )


@dataclass(frozen=True, slots=True)
class Study:
    """One of the lecture's questions.

    Attributes:
        question: the question.
        axes: what is varied, by name.
        measures: the names of what `measure` finds in a cell.
        measure: does a cell's work, in a worker process: the cell, the study's config, and what is
            to be called after every piece of work. `bench.studies.trained.DIVERGED` are answers,
            any other exception a failure.
        tables: name -> table of a result that may have any part of its cells.
        figures: name -> figure of it, made where matplotlib has the house's style.
        grid: the points of the grid that the axes span; the whole of it, where it is left out.
        seeds: how many repetitions.
        alone: whether cells of such settings are measured after all others, never two at once: in
            a fresh process a seed, for what they find is a time.
        weights: whether it can look at a file of trained weights, as `FROM_FILE` says; whatever
            the seed that is one cell.
        tasks: those that it makes sense for; empty for all.
    """

    question: str
    axes: Mapping[str, Axis]
    measures: tuple[str, ...]
    measure: Callable[[Cell, StudyConfig, Tick], Values]
    tables: Callable[[StudyResult], dict[str, Table]]
    figures: Callable[[StudyResult], "dict[str, Figure]"]
    grid: Callable[[Axes], Sequence[Settings]] = product
    seeds: int = 5
    alone: Callable[[Settings], bool] = lambda _: False
    weights: bool = False
    tasks: tuple[str, ...] = ()

    def cells(self, config: StudyConfig) -> tuple[Cell, ...]:
        """Every cell, seed by seed: a study that is cut short has whole repetitions."""
        points = self.grid(config.axes)
        return tuple(
            Cell(settings=point, seed=seed)
            for seed in range(config.seed, config.seed + config.seeds)
            for point in points
            if seed == config.seed or FROM_FILE not in point.values()
        )


def said(values: Sequence[Setting]) -> str:
    """Settings as the command line takes them."""
    return ",".join(in_words(value) for value in values)


def in_words(value: Setting) -> str:
    """One setting, as the command line takes it."""
    if value is None:
        return UNLIMITED
    return f"{value:g}" if isinstance(value, float) else str(value)
