"""What a file or a comparison says, in a sentence or two, and what a reader must be warned of."""

import math
from collections import Counter
from collections.abc import Sequence

from bench import words
from bench.compare import Comparison
from bench.config import WORKLOADS
from bench.scaling import ScalingRow, scaling_rows
from bench.schema import Case, Result
from bench.summary import ThroughputRow, mean_error, quality, throughput_rows

# The verdicts of a comparison, worst news first.
_VERDICTS = ("slower", "faster", "same", "cannot tell", "not comparable", "only in base",
             "only in new")  # fmt: skip
MOST_LEADERS = 16  # beyond, nobody reads them all
# Beyond these, a machine was not quiet, or was another at the end than at the beginning.
_LOUD_NOISE, _LOUD_CANARY, _LOUD_LOAD = 0.05, 0.10, 0.5


def headline(result: Result) -> str:
    """The fastest against the baseline where the first workload's batch is smallest."""
    if not (there := _first_place(result)):
        return _most_accurate(result)
    fastest, baseline = there[0], result.config.baseline
    where = f"{fastest.workload} at batch {fastest.batch_size:,} on {fastest.device}"
    where += f", H={fastest.hidden_size}" if len(result.config.hidden_sizes) > 1 else ""
    if fastest.implementation == baseline:
        if len(there) > 1:
            return f"Nothing is faster than {baseline} in {where}."
        microseconds = words.significant(fastest.microseconds_per_step)
        return f"{baseline} takes {microseconds} microseconds for a step of {where}."
    if fastest.ratio is None:
        return f"{fastest.implementation} is the fastest in {where}."
    ratio = f"{fastest.ratio:.1f}" if fastest.ratio < 10.0 else f"{fastest.ratio:.0f}"
    return f"{fastest.implementation} is {ratio}x as fast as {baseline} in {where}."


def details(result: Result) -> list[str]:
    """What stands behind the headline: its interval, and the errors of the two."""
    if not (there := _first_place(result)):
        return []
    fastest, baseline = there[0], result.config.baseline
    if fastest.implementation == baseline or fastest.ratio is None:
        return []
    found = []
    if fastest.ratio_low is not None and fastest.ratio_high is not None:
        low, high = map(words.ratio, (fastest.ratio_low, fastest.ratio_high))
        found.append(f"The 95% interval of that ratio: {low} to {high}.")
    else:
        found.append("One process has no interval: how sure that ratio is, nobody can tell.")
    mine = _case_of(result, fastest.implementation, fastest)
    base = _case_of(result, baseline, fastest)
    if mine and mine.accuracy and base and base.accuracy:
        found.append(
            f"Mean squared error after training: {fastest.implementation} "
            f"{words.error(mine.accuracy.mse_mean)}, {baseline} "
            f"{words.error(base.accuracy.mse_mean)}."
        )
    return found


def places(result: Result) -> list[ScalingRow]:
    """Each workload, hidden size, batch size and device where somebody is faster than another."""
    rows = sorted(scaling_rows(result, by_device=True), key=_place)
    return [row for row in rows if row.second]


def leaders(rows: Sequence[ScalingRow]) -> list[str]:
    """A line a place: the fastest, how surely.

    Where these are many, a line a workload and device: how often who was the fastest.
    """
    if len(rows) > MOST_LEADERS:
        return _winners(rows)
    several = len({row.hidden_size for row in rows}) > 1
    return [_leader(row, with_size=several) for row in rows]


def compared(comparisons: Sequence[Comparison]) -> list[str]:
    """A sentence a file: how many rows have which verdict, and the largest sure change."""
    return [_compared(comparison) for comparison in comparisons]


def warnings(result: Result) -> list[str]:
    """What a reader must know before a number is believed; nothing where all went well."""
    several = len(result.config.hidden_sizes) > 1
    found = [_of_case(case, with_size=several) for case in result.cases if case.status != "ok"]
    found += [
        f"{words.case(case.key, with_size=several)} disagrees with the reference: its times are "
        "not taken."
        for case in result.cases
        if case.parity and not case.parity.passed and case.status == "ok"
    ]
    samples, machine = quality(result), result.environment
    if samples.processes == 1:
        found.append("One process: no interval says how far the next one would lie.")
    if samples.unsettled:
        found.append(f"{samples.unsettled} warm-ups had not settled when the timing began.")
    if samples.throttled:
        found.append(f"{samples.throttled} samples were taken while the clock was held back.")
    if (floor := samples.noise_floor) is not None and floor > _LOUD_NOISE:
        found.append(
            f"The same implementation, timed twice, differs by {words.percent(floor)}: smaller "
            "differences mean nothing here."
        )
    if (spread := samples.canary_spread) is not None and spread > _LOUD_CANARY:
        found.append(
            f"Plain products differ by {words.percent(spread)} between the processes: the machine "
            "did not hold its pace."
        )
    if machine.load_average is not None and machine.load_average > _LOUD_LOAD * machine.cores:
        found.append(
            f"The machine was busy when the run began (load {machine.load_average:.1f} on "
            f"{machine.cores} cores)."
        )
    if machine.git_dirty:
        found.append("The code had changes that no commit holds.")
    found += [
        f"{case.implementation} on {case.device} multiplies in {case.parity.precision}, and is "
        "judged by that."
        for case in result.cases
        if case.parity and case.parity.precision
    ]
    return list(dict.fromkeys(found))


def _place(row: ThroughputRow | ScalingRow) -> tuple[int, int, int, str]:
    return WORKLOADS.index(row.workload), row.hidden_size, row.batch_size, row.device


def _case_of(result: Result, name: str, row: ThroughputRow) -> Case | None:
    wanted = (name, row.device, row.hidden_size)
    return next((case for case in result.cases if case.key == wanted), None)


def _first_place(result: Result) -> list[ThroughputRow]:
    """The rows of the first workload's smallest batch, each at its best threads, fastest first."""
    rows = [row for row in throughput_rows(result) if row.best]
    if not rows:
        return []
    first = min(map(_place, rows))
    there = (row for row in rows if _place(row) == first)
    return sorted(there, key=lambda row: row.steps_per_second, reverse=True)


def _most_accurate(result: Result) -> str:
    evaluated = [case for case in result.cases if case.accuracy]
    if not evaluated:
        passed = sum(bool(case.parity and case.parity.passed) for case in result.cases)
        return f"{passed} of {len(result.cases)} cases agree with the reference; none was timed."
    best = min(evaluated, key=mean_error)
    return (
        f"{best.implementation} on {best.device} has the smallest mean squared error, "
        f"{words.error(mean_error(best))}; nothing was timed."
    )


def _leader(row: ScalingRow, *, with_size: bool) -> str:
    size = f", H={row.hidden_size}" if with_size else ""
    head = f"{row.workload}, batch {row.batch_size:,}{size}, {row.device}: {row.implementation}"
    ratio = words.ratio_within(row.ratio, row.low, row.high)
    tail = "" if row.verdict == "surely" else ", though nobody can tell"
    return f"{head}, {ratio} as fast as {row.second}{tail}"


def _winners(rows: Sequence[ScalingRow]) -> list[str]:
    """How many of a workload's places on a device each implementation wins, and how many surely."""
    places: dict[tuple[str, str], list[ScalingRow]] = {}
    for row in rows:
        places.setdefault((row.workload, row.device), []).append(row)
    found = []
    for (workload, device), theirs in places.items():
        wins = Counter(row.implementation for row in theirs)
        sure = Counter(row.implementation for row in theirs if row.verdict == "surely")
        said = [f"{name} in {count}, surely in {sure[name]}" for name, count in wins.most_common()]
        found.append(
            f"{workload}, {device}, of {len(theirs)} hidden and batch sizes: {'; '.join(said)}"
        )
    return found


def _compared(comparison: Comparison) -> str:
    counts = Counter[str](row.verdict for row in comparison.throughput)
    said = [f"{counts[verdict]} {verdict}" for verdict in _VERDICTS if counts[verdict]]
    rows = len(comparison.throughput)
    text = f"{comparison.new} against {comparison.base}: "
    text += "no timed rows." if not rows else f"of {rows} timed rows {words.listed(said)}."
    sure = [r for r in comparison.throughput if r.ratio and r.verdict in ("faster", "slower")]
    if sure:
        largest = max(sure, key=lambda row: abs(math.log(row.ratio or 1.0)))
        text += (
            f" The largest change: {largest.implementation} on {largest.device}, "
            f"{largest.workload} at batch {largest.batch_size:,}, {words.ratio(largest.ratio)}."
        )
    errors = Counter[str](row.verdict for row in comparison.accuracy)
    if errors["worse"] or errors["better"]:
        text += f" Accuracy: {errors['worse']} worse, {errors['better']} better."
    return text


def _of_case(case: Case, *, with_size: bool) -> str:
    reason = f": {case.reason}" if case.reason else ""
    return f"{words.case(case.key, with_size=with_size)} {case.status}{reason}."
