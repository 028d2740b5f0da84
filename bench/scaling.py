"""How implementations scale: who is fastest at each workload, hidden size and batch size. Pure."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from bench import statistics
from bench.schema import Result, Sample
from bench.summary import Group, ThroughputRow, throughput_rows, timed

# From so many on a line tells more than a table.
FEWEST_HIDDEN_SIZES, FEWEST_BATCH_SIZES = 3, 4
Verdict = Literal["surely", "cannot tell", "alone"]


@dataclass(frozen=True, slots=True)
class ScalingRow:
    """The fastest at one workload, hidden size and batch size, each at its best count of threads.

    ``ratio``, with the ends of its 95 % interval, is its rate over that of the ``second``, round by
    round. ``surely``: it is faster than every other there, by intervals that hold for all of these
    at once; ``alone``: nobody else was timed there.
    """

    workload: str
    hidden_size: int
    batch_size: int
    implementation: str
    device: str
    threads: int
    microseconds_per_step: float
    share_of_limit: float | None
    second: str | None
    second_device: str | None
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Point:
    """One dot of a line: microseconds of a step, and the ends of their 95 % interval."""

    x: int
    microseconds: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines by implementation and device over one size, the other being ``fixed``."""

    fixed: int
    lines: dict[tuple[str, str], list[Point]]
    limit: list[tuple[int, float]]


Against = Literal["batch size", "hidden size"]


def scaling_rows(result: Result, *, by_device: bool = False) -> list[ScalingRow]:
    """A row for every workload, hidden size and batch size that was timed.

    Args:
        result: of a run.
        by_device: each device has its own fastest.
    """
    samples = {(*case.key, *row.key): row.samples for case, row in timed(result)}
    groups: dict[tuple[Group, str], list[ThroughputRow]] = defaultdict(list)
    for row in throughput_rows(result):
        if row.best:
            groups[row.group, row.device if by_device else ""].append(row)
    return [_scaling_row(rows, samples) for rows in groups.values()]


def against(result: Result, workload: str) -> list[Against]:
    """Over which sizes a workload was timed often enough to draw a line."""
    groups = {row.group for row in throughput_rows(result) if row.workload == workload}
    hidden_sizes, batch_sizes = ({group[part] for group in groups} for part in (1, 2))
    many_hidden = len(hidden_sizes) >= FEWEST_HIDDEN_SIZES
    found: list[Against] = []
    if len(batch_sizes) >= FEWEST_BATCH_SIZES or (many_hidden and len(batch_sizes) > 1):
        found.append("batch size")
    if many_hidden:
        found.append("hidden size")
    return found


def panels(result: Result, workload: str, over: Against) -> list[Panel]:
    """What to draw of a workload, a panel for each of the sizes that the lines do not go over.

    Each implementation at its best count of threads; the limit is the lowest of all counts.
    """
    rows = [row for row in throughput_rows(result) if row.workload == workload]
    by_panel: dict[int, list[ThroughputRow]] = defaultdict(list)
    for row in rows:
        by_panel[row.hidden_size if over == "batch size" else row.batch_size].append(row)
    return [_panel(fixed, by_panel[fixed], over) for fixed in sorted(by_panel)]


def _panel(fixed: int, rows: list[ThroughputRow], over: Against) -> Panel:
    lines: dict[tuple[str, str], list[Point]] = defaultdict(list)
    floors: dict[int, float] = {}
    for row in rows:
        x = row.batch_size if over == "batch size" else row.hidden_size
        if row.best:
            lines[row.implementation, row.device].append(_point(x, row))
        if row.share_of_limit is not None:
            floor = row.share_of_limit * row.microseconds_per_step
            floors[x] = min(floor, floors.get(x, math.inf))
    ordered = {name: sorted(points, key=lambda point: point.x) for name, points in lines.items()}
    return Panel(fixed, ordered, sorted(floors.items()))


def _point(x: int, row: ThroughputRow) -> Point:
    """A rate's interval as one of times; without one, nothing beside the estimate."""
    work = 1e6 * row.batch_size
    high = work / row.low if row.low else row.microseconds_per_step
    low = work / row.high if row.high else row.microseconds_per_step
    return Point(x, row.microseconds_per_step, low, high)


def _key(row: ThroughputRow) -> tuple[str, str, int, str, int, int]:
    """Of the case and of its row."""
    case = row.implementation, row.device, row.hidden_size
    return *case, row.workload, row.batch_size, row.threads


def _scaling_row(
    rows: list[ThroughputRow],
    samples: dict[tuple[str, str, int, str, int, int], tuple[Sample, ...]],
) -> ScalingRow:
    first, *others = sorted(rows, key=lambda row: row.steps_per_second, reverse=True)
    confidence = statistics.corrected(len(others))
    mine = samples[_key(first)]
    apart = [list(statistics.apart(mine, samples[_key(row)]).values()) for row in others]
    # The log of another's seconds over the fastest's: above zero is slower.
    sure = all(logs and statistics.mean(logs, confidence).low > 0.0 for logs in apart)
    ratio = statistics.mean(apart[0]) if apart and apart[0] else None
    return ScalingRow(
        workload=first.workload,
        hidden_size=first.hidden_size,
        batch_size=first.batch_size,
        implementation=first.implementation,
        device=first.device,
        threads=first.threads,
        microseconds_per_step=first.microseconds_per_step,
        share_of_limit=first.share_of_limit,
        second=others[0].implementation if others else None,
        second_device=others[0].device if others else None,
        ratio=statistics.exp(ratio.mean) if ratio else None,
        low=statistics.exp(ratio.low) if ratio and ratio.half is not None else None,
        high=statistics.exp(ratio.high) if ratio and ratio.half is not None else None,
        verdict="alone" if not others else "surely" if sure else "cannot tell",
    )
