"""What several seeds say together; every study's tables and figures go by it. Pure.

Errors of trainings span orders of magnitude, so they are averaged as logs: a geometric mean with
Student's t interval over the seeds. Where seeds end in different basins no mean tells the story:
the median, the range and how many lie apart are beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench import statistics

# Ten times better or worse than the median is another outcome, not luck.
APART = 10.0
SMALLEST = 1e-300


@dataclass(frozen=True, slots=True)
class Spread:
    """Positive numbers of several seeds.

    Attributes:
        values: one a seed that found one.
        without: seeds that found none: diverged or failed.
        mean: geometric.
        low, high: its 95 % interval; None from one seed.
        apart: seeds more than `APART` times above or below the median.
    """

    values: tuple[float, ...]
    without: int
    mean: float
    low: float | None
    high: float | None
    median: float
    apart: int

    @property
    def best(self) -> float:
        """The smallest."""
        return min(self.values)

    @property
    def worst(self) -> float:
        """The largest."""
        return max(self.values)


def spread(values: Sequence[float], without: int = 0) -> Spread | None:
    """Sum up what the seeds found; None where none found anything."""
    if not values:
        return None
    logs = [math.log(max(value, SMALLEST)) for value in values]
    found, centre = statistics.mean(logs), median(logs)
    low = high = None
    if found.half is not None:
        # Two seeds that differ wildly say: anything.
        low, high = (_exp(found.mean + sign * min(found.half, 100.0)) for sign in (-1, 1))
    return Spread(
        values=tuple(values),
        without=without,
        mean=_exp(found.mean),
        low=low,
        high=high,
        median=median(values),
        apart=sum(abs(log - centre) > math.log(APART) for log in logs),
    )


def _exp(log: float) -> float:
    return math.exp(min(log, 690.0))  # what a float can hold
