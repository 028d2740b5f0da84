"""Where a series of log times changes its level for good. Pure.

The series is cut where that lowers the sum of squares by more than a penalty (PELT; Killick,
Fearnhead and Eckley, 2012), in units of the noise between one run and the next. A cut stays only if
an interval of the two levels' distance, which holds for all cuts at once, lies beyond the margin:
`bench.statistics.verdict`. Where the cut may lie follows from the likelihood of every place for it.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench import statistics
from bench.history.series import Array
from bench.statistics import Interval

FEWEST = 5  # runs that a level needs, lest two slow days in a row be one
PENALTY = 3.0  # times log n: two for the place, one for the level (Zhang and Siegmund, 2007)
OUTLIER = 3.0  # noises; what is farther from its neighbours counts as so far
NEIGHBOURS = 7
EXACT = 1e-4  # no clock and no machine is steadier
PLAUSIBLE = 0.95
PASSES = 4
LARGEST_CORRELATION = 0.9
_MAD = 0.6745  # of a normal distribution with standard deviation 1


@dataclass(frozen=True, slots=True)
class Fit:
    """A series cut into levels.

    Attributes:
        values: (n,), the log times with outliers drawn in.
        noise: standard deviation of one run around its level.
        error: how far a run's level may be off: the noise, or more where runs that follow each
            other are alike, as a machine's good and bad days are.
        cuts: indices of the first runs of all levels but the first.
    """

    values: Array
    noise: float
    error: float
    cuts: tuple[int, ...]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First index, and the one after the last, of every level."""
        ends = (0, *self.cuts, len(self.values))
        return list(itertools.pairwise(ends))

    @property
    def levels(self) -> Array:
        """The mean log time of each span."""
        return np.array([self.values[start:stop].mean() for start, stop in self.spans])


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the level.

    Attributes:
        index: of the run that most likely was the first after it.
        effect: new less old level, with an interval.
        weights: index -> probability that this run was the first, of those which together have
            `PLAUSIBLE`.
    """

    index: int
    effect: Interval
    weights: dict[int, float]


def fitted(logs: Array) -> Fit:
    """Cut a series into levels; one that is too short for two stays whole."""
    noise = _noise(logs)
    if len(logs) < 2 * FEWEST:
        return Fit(logs, noise, noise, ())
    values = _drawn_in(logs, noise)
    fit = Fit(values, noise, noise, _cut(values, noise))
    for _ in range(PASSES):
        error = _error(fit)
        if error <= fit.error:
            break
        # Cut too often, the rest looks calmer than it is: with fewer cuts it may show more.
        fit = Fit(values, noise, error, _cut(values, error))
    return fit


def confirmed(fit: Fit, confidence: float) -> Fit:
    """The fit without the cuts whose effect does not surely go beyond the margin, weakest first."""
    while fit.cuts:
        effects = _effects(fit, confidence)
        doubtful = [
            cut
            for cut, effect in enumerate(effects)
            if statistics.verdict(effect, statistics.SMALLEST_MARGIN) not in ("faster", "slower")
        ]
        if not doubtful:
            break
        weakest = min(doubtful, key=lambda cut: abs(effects[cut].mean) / (effects[cut].half or 1.0))
        cuts = tuple(cut for number, cut in enumerate(fit.cuts) if number != weakest)
        fit = Fit(fit.values, fit.noise, fit.error, cuts)
    return fit


def steps(fit: Fit, confidence: float) -> list[Step]:
    """What the cuts of a fit say."""
    spans = fit.spans
    return [
        _step(fit, before, after, effect)
        for before, after, effect in zip(
            spans[:-1], spans[1:], _effects(fit, confidence), strict=True
        )
    ]


def _noise(logs: Array) -> float:
    """By what neighbours differ; a change of the level, or an outlier, moves that hardly."""
    if len(logs) < 2:
        return EXACT
    apart = float(np.median(np.abs(np.diff(logs))))
    return max(EXACT, apart / (_MAD * math.sqrt(2.0)))


def _drawn_in(logs: Array, noise: float) -> Array:
    """Each value at most so many noises from the median of its neighbours (Hampel, 1974)."""
    reach = NEIGHBOURS // 2
    around = np.lib.stride_tricks.sliding_window_view(np.pad(logs, reach, "reflect"), NEIGHBOURS)
    middle = np.median(around, axis=1)
    drawn: Array = np.clip(logs, middle - OUTLIER * noise, middle + OUTLIER * noise)
    return drawn


def _cut(values: Array, error: float) -> tuple[int, ...]:
    from ruptures import KernelCPD

    scaled = (values - np.median(values)) / error
    search = KernelCPD(kernel="linear", min_size=FEWEST).fit(scaled.reshape(-1, 1))
    *cuts, _ = search.predict(pen=PENALTY * math.log(len(values)))
    return tuple(map(int, cuts))


def _error(fit: Fit) -> float:
    """The noise as a mean of many runs sees it: outliers are in it, and runs that are alike."""
    lengths = [stop - start for start, stop in fit.spans]
    rest = fit.values - np.repeat(fit.levels, lengths)
    squares = float(rest @ rest)
    if squares == 0.0:
        return fit.error
    around = math.sqrt(squares / (len(rest) - len(lengths)))
    correlation = min(LARGEST_CORRELATION, float(rest[:-1] @ rest[1:]) / squares)
    if correlation < 2.0 / math.sqrt(len(rest)):  # as much is chance
        return around
    return around * math.sqrt((1.0 + correlation) / (1.0 - correlation))


def _effects(fit: Fit, confidence: float) -> list[Interval]:
    levels, spans = fit.levels, fit.spans
    freedom = max(1, len(fit.values) - len(spans))
    found = []
    for number, change in enumerate(np.diff(levels)):
        (start, cut), (_, stop) = spans[number : number + 2]
        error = fit.error * math.sqrt(1.0 / (cut - start) + 1.0 / (stop - cut))
        found.append(statistics.student(float(change), error, freedom, confidence))
    return found


def _step(fit: Fit, before: tuple[int, int], after: tuple[int, int], effect: Interval) -> Step:
    (start, cut), (_, stop) = before, after
    values = fit.values[start:stop]
    old, new = values[: cut - start].mean(), values[cut - start :].mean()
    # One more run on the old level costs this; summed up, every place for the cut has its cost.
    cost = np.cumsum((values - old) ** 2 - (values - new) ** 2)[:-1] / (2.0 * fit.error**2)
    weights = np.exp(cost.min() - cost)
    weights /= weights.sum()
    likely = np.argsort(-weights, kind="stable")
    enough = int(np.searchsorted(np.cumsum(weights[likely]), PLAUSIBLE)) + 1
    kept = {start + 1 + int(place): float(weights[place]) for place in likely[:enough]}
    return Step(start + 1 + int(likely[0]), effect, dict(sorted(kept.items())))


def candidates(fits: Sequence[Fit]) -> int:
    """How many cuts there are to confirm: all their intervals are to hold at once."""
    return sum(len(fit.cuts) for fit in fits)
