"""Pure functions from samples to estimates, intervals and verdicts.

Runs of one process agree with each other far better than two processes do, so the process is the
unit: its figure is the log of the median of its samples, an estimate the mean of these over the
processes, an interval Student's t over them. Logs, because what disturbs a machine multiplies, and
because the ratio of two estimates is then a difference. No sample is ever dropped.

Natural logs of seconds everywhere; a difference of 0.01 is one percent.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np

from bench.schema import Estimate, Sample

CONFIDENCE = 0.95
SMALLEST_MARGIN = 0.01
FENCE = 1.5  # Tukey's: quartiles apart, beyond the quartiles

Verdict = Literal["faster", "slower", "same", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and how far its interval reaches to either side; None from less than two values."""

    mean: float
    half: float | None

    @property
    def low(self) -> float:
        """The lower end, minus infinity where there is no interval."""
        return -math.inf if self.half is None else self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end, infinity where there is no interval."""
        return math.inf if self.half is None else self.mean + self.half


def by_process(samples: Iterable[Sample]) -> dict[int, float]:
    """Process -> log of the median of its samples' seconds."""
    found: dict[int, list[float]] = defaultdict(list)
    for sample in samples:
        found[sample.process].append(sample.seconds)
    return {process: math.log(median(seconds)) for process, seconds in sorted(found.items())}


def mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student's t interval of the mean (Student, 1908); no interval from fewer than two values."""
    count = len(values)
    centre = math.fsum(values) / count
    if count < 2:
        return Interval(centre, None)
    error = math.sqrt(_variance(values) / count)
    return Interval(centre, _quantile(count - 1, confidence) * error)


def difference(
    base: Sequence[float], new: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """The mean of ``new`` less that of ``base``, with Welch's interval (Welch, 1947).

    The values are independent; their variances may differ, as those of two days do.
    """
    centre = math.fsum(new) / len(new) - math.fsum(base) / len(base)
    if len(base) < 2 or len(new) < 2:
        return Interval(centre, None)
    parts = [_variance(values) / len(values) for values in (base, new)]
    total = sum(parts)
    if total == 0.0:
        return Interval(centre, 0.0)
    freedom = total**2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (base, new), strict=True)
    )
    return Interval(centre, _quantile(freedom, confidence) * math.sqrt(total))


def exp(log: float) -> float:
    """A factor from its log, within what a file may hold."""
    return math.exp(max(-50.0, min(50.0, log)))


def student(
    centre: float, error: float, freedom: float, confidence: float = CONFIDENCE
) -> Interval:
    """Student's t interval around ``centre``, whose standard error has ``freedom`` degrees."""
    return Interval(centre, _quantile(freedom, confidence) * error)


def widened(change: Interval, by: float) -> Interval:
    """The interval with ``by`` more on either side, for what its values cannot know of."""
    return change if change.half is None else Interval(change.mean, change.half + by)


def apart(base: Iterable[Sample], new: Iterable[Sample]) -> dict[int, float]:
    """Process -> median, over its rounds, of the log of new over base in the same round.

    Two samples of one round were taken within a moment of each other: what the machine did then
    met both, and goes.
    """
    seconds = {(sample.process, sample.round): sample.seconds for sample in base}
    found: dict[int, list[float]] = defaultdict(list)
    for sample in new:
        other = seconds.get((sample.process, sample.round))
        if other is not None:
            found[sample.process].append(math.log(sample.seconds / other))
    return {process: median(logs) for process, logs in sorted(found.items())}


def ratio(base: Iterable[Sample], new: Iterable[Sample]) -> Interval | None:
    """The log of new over base with its 95 % interval over the processes; None if none has both."""
    logs = apart(base, new)
    return mean(list(logs.values())) if logs else None


def rate(samples: Sequence[Sample], work: int) -> Estimate:
    """Work done in a second, with its 95 % interval.

    Args:
        samples: at least one.
        work: sequence-steps of one call, T x B.
    """
    seconds = mean(list(by_process(samples).values()))
    estimate = work / math.exp(seconds.mean)
    if seconds.half is None:
        return Estimate(estimate=estimate, low=None, high=None)
    factor = math.exp(min(seconds.half, 50.0))  # two processes that differ wildly say: anything
    return Estimate(estimate=estimate, low=estimate / factor, high=estimate * factor)


def noise(samples: Sequence[Sample]) -> float | None:
    """Standard deviation between processes, as a fraction; None with fewer than two."""
    logs = list(by_process(samples).values())
    return math.expm1(math.sqrt(_variance(logs))) if len(logs) > 1 else None


def outliers(samples: Sequence[Sample]) -> list[bool]:
    """Which samples lie beyond Tukey's fences, measured from their own process's median."""
    centres = by_process(samples)
    offsets = np.array([math.log(sample.seconds) - centres[sample.process] for sample in samples])
    low, high = np.quantile(offsets, (0.25, 0.75))
    reach = FENCE * (high - low)
    found: list[bool] = ((offsets < low - reach) | (offsets > high + reach)).tolist()
    return found


def corrected(comparisons: int, confidence: float = CONFIDENCE) -> float:
    """The confidence of each of several intervals that holds for all at once (Bonferroni)."""
    return 1.0 - (1.0 - confidence) / max(1, comparisons)


def verdict(change: Interval, margin: float) -> Verdict:
    """What a change of log seconds amounts to.

    ``slower`` and ``faster``: the interval lies wholly beyond the margin. ``same``: it lies inside.
    Everything else: there may be a difference, or none; nobody can tell from these samples.
    """
    if change.low > margin:
        return "slower"
    if change.high < -margin:
        return "faster"
    return "same" if -margin <= change.low and change.high <= margin else "cannot tell"


def smallest_visible(change: Interval, margin: float) -> float | None:
    """The smallest difference that such an interval would have called by name."""
    return None if change.half is None else margin + change.half


def _variance(values: Sequence[float]) -> float:
    found = np.asarray(values)
    return float(found.var(ddof=1))


@functools.cache
def _quantile(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit  # takes a fifth of a second: only who needs it waits

    return float(stdtrit(freedom, 0.5 + confidence / 2.0))
