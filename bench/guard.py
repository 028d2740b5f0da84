"""``compare --fail-slower``: from comparisons to an exit status. Pure."""

import math
from collections.abc import Iterable, Iterator

from bench import words
from bench.compare import Comparison, ThroughputChange, several
from bench.errors import BenchError

SLOWER, UNGUARDED, LESS_ACCURATE = 1, 3, 4
Finding = tuple[int, str]


def threshold(text: str) -> float:
    """A percentage, such as 5%, as a fraction.

    Raises:
        BenchError: it is none, or not between 0 and 1000 %.
    """
    number = text.strip().removesuffix("%").strip()
    try:
        percent = float(number)
    except ValueError:
        percent = math.nan
    if not text.strip().endswith("%") or not 0.0 <= percent <= 1000.0:
        raise BenchError(f"--fail-slower must be a percentage such as 5%, got '{text}'")
    return percent / 100.0


def findings(comparisons: Iterable[Comparison], slower: float) -> list[Finding]:
    """What stands in the way, each with its exit status; the gravest first.

    1: a row's interval lies wholly beyond ``slower``, and beyond its margin. 4: accuracy fell.
    3: a row or an accuracy of the base is missing, cannot be compared, or has no interval, and so
    is not guarded.
    """
    found = [finding for comparison in comparisons for finding in _of(comparison, slower)]
    return sorted(found, key=lambda finding: (SLOWER, LESS_ACCURATE, UNGUARDED).index(finding[0]))


def _of(comparison: Comparison, slower: float) -> Iterator[Finding]:
    if not any(row.base is not None for row in comparison.throughput):
        yield UNGUARDED, f"{comparison.base} has no timed rows"
    yield from _times(comparison, slower)
    yield from _accuracies(comparison)


def _times(comparison: Comparison, slower: float) -> Iterator[Finding]:
    counts = several(row.threads for row in comparison.throughput)
    sizes = several(row.hidden_size for row in comparison.throughput)
    for row in comparison.throughput:
        threads = f" on {words.thread_counts([row.threads])}" if counts and row.threads else ""
        name = f"{row.workload} at batch {row.batch_size:,}{threads} of " if row.workload else ""
        size = f" with H={row.hidden_size}" if sizes and row.hidden_size else ""
        name = f"{comparison.new}: {name}{row.implementation}{_on(row.device)}{size}"
        baseline = row.reason is not None and row.reason.endswith("the baseline itself")
        if row.verdict == "only in base":
            yield UNGUARDED, f"{name} is missing"
        elif row.verdict == "not comparable" and not baseline:
            yield UNGUARDED, f"{name} cannot be compared ({row.reason})"
        elif row.verdict == "cannot tell" and row.high is None:
            yield UNGUARDED, f"{name} is not guarded: {row.reason}"
        elif row.high is not None and row.ratio and row.high < _worst(row, slower):
            yield SLOWER, f"{name} is slower: {row.ratio:.3f}x"


def _worst(row: ThroughputChange, slower: float) -> float:
    """The least ratio that passes; below the margin nothing is called slower by anybody."""
    return 1.0 / (1.0 + max(slower, row.margin or 0.0))


def _accuracies(comparison: Comparison) -> Iterator[Finding]:
    sizes = several(row.hidden_size for row in comparison.accuracy)
    for row in comparison.accuracy:
        size = f" with H={row.hidden_size}" if sizes and row.hidden_size else ""
        name = f"{comparison.new}: accuracy of {row.implementation}{_on(row.device)}{size}"
        if row.verdict == "worse":
            yield LESS_ACCURATE, f"{name} fell: MSE {row.base:.2g} -> {row.new:.2g}"
        elif row.verdict == "only in base":
            yield UNGUARDED, f"{name} is missing"
        elif row.verdict == "not comparable":
            yield UNGUARDED, f"{name} cannot be compared ({row.reason})"


def _on(device: str) -> str:
    return f" on {device}" if device else ""
