"""Series -> histories: the levels of each, what changed them, and which commit most likely did."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench import statistics
from bench.history import steps
from bench.history.series import Array, Run, Series
from bench.history.steps import Fit, Step


@dataclass(frozen=True, slots=True)
class Level:
    """Runs between two changes: their number, the first and the last day, and seconds of a call."""

    files: int
    first: str
    last: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the level.

    ``date`` and ``file`` are of the run that most likely was the first after it. ``commit`` most
    likely did it, with the probability ``share``, if one of those that were timed did; None where
    nobody knows the commits, or where it was ``same_commit`` on both sides. ``before`` is the last
    commit that surely had the old level and ``latest`` the last that may have been the first with
    the new one: what did it is among them with 95 % probability, so ``git log before..latest`` has
    it, commits that nobody timed included. ``plausible`` counts those that were timed.

    ``ratio`` is new over old of the steps a second, with the ends of an interval that holds for all
    changes of the table at once. ``software`` names what else was another between ``before`` and
    ``latest``.
    """

    date: str
    file: str
    commit: str | None
    share: float
    before: str | None
    latest: str | None
    plausible: int
    same_commit: bool
    ratio: float
    low: float
    high: float
    verdict: statistics.Verdict
    software: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class History:
    """A series with what was found in it.

    ``noise`` is the standard deviation of one run around its level, as a fraction. ``judged``:
    whether there are runs enough for two levels.
    """

    series: Series
    fit: Fit
    levels: tuple[Level, ...]
    changes: tuple[Change, ...]
    noise: float
    judged: bool

    @property
    def largest_change(self) -> float:
        """The largest factor between two levels, as a log."""
        return max((abs(math.log(change.ratio)) for change in self.changes), default=0.0)

    @property
    def microseconds_per_step(self) -> Array:
        """(n,), of each run, for one step of the whole batch."""
        scaled: Array = 1e6 / self.series.key.steps * np.exp(self.series.logs)
        return scaled


def histories(series: Sequence[Series]) -> list[History]:
    """What happened to each; all intervals hold at once."""
    fits = [steps.fitted(each.logs) for each in series]
    confidence = statistics.corrected(steps.candidates(fits))
    return [
        _history(each, steps.confirmed(fit, confidence), confidence)
        for each, fit in zip(series, fits, strict=True)
    ]


def _history(series: Series, fit: Fit, confidence: float) -> History:
    levels = tuple(
        Level(stop - start, series.runs[start].date, series.runs[stop - 1].date, math.exp(level))
        for (start, stop), level in zip(fit.spans, fit.levels, strict=True)
    )
    return History(
        series=series,
        fit=fit,
        levels=levels,
        changes=tuple(_change(series.runs, step) for step in steps.steps(fit, confidence)),
        noise=math.expm1(fit.noise),
        judged=len(series.runs) >= 2 * steps.FEWEST,
    )


def _change(runs: Sequence[Run], step: Step) -> Change:
    earliest, latest = min(step.weights), max(step.weights)
    before = runs[earliest - 1]
    shares: dict[str | None, float] = defaultdict(float)
    for index, weight in step.weights.items():
        shares[runs[index].label] += weight
    commit = max(shares, key=lambda label: shares[label])
    same = commit is not None and set(shares) == {before.label}
    effect, half = step.effect, step.effect.half or 0.0
    return Change(
        date=runs[step.index].date,
        file=runs[step.index].file,
        commit=None if same else commit,
        share=shares[commit] / sum(shares.values()),
        before=before.label,
        latest=runs[latest].label,
        plausible=len(shares),
        same_commit=same,
        ratio=statistics.exp(-effect.mean),
        low=statistics.exp(-effect.mean - half),
        high=statistics.exp(-effect.mean + half),
        verdict=statistics.verdict(effect, statistics.SMALLEST_MARGIN),
        software=_differences(before, runs[latest]),
    )


def _differences(old: Run, new: Run) -> tuple[str, ...]:
    """Such as "torch 2.12.0 -> 2.13.0"."""
    before, after = dict(old.software), dict(new.software)
    return tuple(
        f"{name} {before.get(name, 'unknown')} -> {after.get(name, 'unknown')}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    )
