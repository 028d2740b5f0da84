"""The Pareto front: what nothing else beats in both error and rate (Pareto, 1906)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """Something that has an error, of which less is better, and a rate, of which more is."""

    name: str
    error: float
    rate: float


def dominates(one: Point, other: Point) -> bool:
    """Whether ``one`` is as good as ``other`` in both, and better in one of them."""
    as_good = one.error <= other.error and one.rate >= other.rate
    return as_good and (one.error < other.error or one.rate > other.rate)


def front(points: Sequence[Point]) -> list[Point]:
    """Those that none of ``points`` dominates, the smallest error first; equals all stay."""
    found = [one for one in points if not any(dominates(other, one) for other in points)]
    return sorted(found, key=lambda point: (point.error, -point.rate, point.name))
