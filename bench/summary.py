"""Result files boiled down to rows of numbers, one dataclass a table; `bench.tables` words them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bench import statistics
from bench.schema import Bound, Case, ErrorSummary, Result, Sample, Throughput

# A row whose device works for less than half of a call's time is bound by the host: the rest, in
# which the device waits for the CPU, would stay as long with the fastest device there can be, so no
# other device could make the call twice as fast.
BOUND_BY_HOST_BELOW = 0.5

# The tasks' trivial predictors, in words.
PREDICTORS = {
    "zero": "always zero",
    "one": "always 1",
    "input": "noisy input",
    "repeat": "repeat last value",
    "recurrence": "exact recurrence",
    "rotation": "exact rotation",
    "filter": "linear filter",
}
Group = tuple[str, int, int]
# Device, hidden size, workload, batch size, threads.
Place = tuple[str, int, str, int, int]


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """One line of the accuracy table; errors are None where the case has none."""

    label: str
    device: str | None
    hidden_size: int | None
    status: str
    mse_mean: float | None
    mse_median: float | None
    mse_p95: float | None
    mse_best: float | None
    mse_worst: float | None
    training_seconds: float | None


@dataclass(frozen=True, slots=True)
class ThroughputRow:
    """One line of the throughput table, and of the table of costs.

    ``best``: of the implementation's counts of threads there, this one has the highest estimate.
    ``low`` and ``high`` end the 95 % interval of ``steps_per_second``, ``ratio_low`` and
    ``ratio_high`` that of ``ratio``: the rate over the baseline's, at its own best count, on the
    same device, process by process. ``noise`` is the standard deviation between processes as a
    fraction.
    ``share_of_limit``: the least time that the work takes on this machine over the time it took.
    ``pays_back_after``: calls after which the first call, compilation and all, is cheaper than the
    baseline's; 0 where it is from the start. None is what was not measured, or never happens.
    ``device_share``: of a call's wall time, what the GPU was at work; at most 1, for the two were
    not measured in the same calls. ``bound_by_host``: that it waited for longer than it worked.
    """

    workload: str
    batch_size: int
    threads: int
    best: bool
    implementation: str
    device: str
    hidden_size: int
    steps_per_second: float
    low: float | None
    high: float | None
    microseconds_per_step: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    noise: float | None
    share_of_limit: float | None
    bound: Bound | None
    first_call_seconds: float
    pays_back_after: int | None
    peak_memory_bytes: int | None
    joules_per_call: float | None
    device_seconds: float | None
    device_operations: int | None
    device_share: float | None
    bound_by_host: bool | None

    @property
    def group(self) -> Group:
        """Workload, hidden size and batch size: who shares them did the same work."""
        return self.workload, self.hidden_size, self.batch_size


@dataclass(frozen=True, slots=True)
class ParityRow:
    """One line of the parity table."""

    implementation: str
    device: str
    hidden_size: int
    status: str
    output_error: float | None
    gradient_error: float | None
    tolerance: float | None
    passed: bool | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the samples of a file are.

    ``processes``: that sampled one row, at most. ``noise_floor``: the largest difference between
    the two arms of the A/A control, as a fraction.
    ``canary_spread``: how far the canary's processes lie apart, slowest over fastest, less 1.
    ``busy_share``: of the timing's seconds, those inside timed and warm-up calls.
    """

    processes: int
    rounds: int
    samples: int
    outliers: int
    throttled: int
    unsettled: int
    noise_floor: float | None
    canary_spread: float | None
    busy_share: float | None


def mean_error(case: Case) -> float:
    """The mean squared error of its predictions, to sort by; infinite where there are none."""
    return case.accuracy.mse_mean if case.accuracy else math.inf


def accuracy_rows(result: Result) -> list[AccuracyRow]:
    """The cases, in the order of the run."""
    return [
        _accuracy_row(
            case.implementation,
            case.device,
            case.model.hidden_size,
            case.status,
            case.accuracy,
            case.training.seconds if case.training else None,
        )
        for case in result.cases
    ]


def baseline_rows(result: Result) -> list[AccuracyRow]:
    """The trivial predictors on the same test set."""
    if result.baselines is None:
        return []
    return [
        _accuracy_row(PREDICTORS.get(name, name), None, None, "ok", summary, None)
        for name, summary in result.baselines.items()
    ]


def throughput_rows(result: Result) -> list[ThroughputRow]:
    """Grouped by workload, hidden and batch size, so that what compares stands together.

    Where several counts of threads were timed, each implementation is judged at its best, and held
    against the baseline at the baseline's best: the most that either can do there.
    """
    found = list(timed(result))
    best: dict[tuple[str, str, Group], Throughput] = {}
    for case, row in found:
        key = _cell(case, row, case.implementation)
        if key not in best or _rate(row) > _rate(best[key]):
            best[key] = row
    rows = [
        _throughput_row(
            case,
            row,
            best.get(_cell(case, row, result.config.baseline)),
            best=row is best[_cell(case, row, case.implementation)],
        )
        for case, row in found
    ]
    groups: dict[Group, int] = {}
    for line in rows:
        groups.setdefault(line.group, len(groups))
    return sorted(rows, key=lambda line: groups[line.group])


def parity_rows(cases: tuple[Case, ...]) -> list[ParityRow]:
    """Every case, also those that were not checked."""
    return [
        ParityRow(
            implementation=case.implementation,
            device=case.device,
            hidden_size=case.model.hidden_size,
            status=case.status,
            output_error=case.parity.output_error if case.parity else None,
            gradient_error=case.parity.gradient_error if case.parity else None,
            tolerance=case.parity.tolerance if case.parity else None,
            passed=case.parity.passed if case.parity else None,
            reason=case.reason,
        )
        for case in cases
    ]


def quality(result: Result) -> Quality:
    """What the control, the canary and the flags say about the samples."""
    rows = [row for _, row in timed(result)]
    samples = [sample for row in rows for sample in row.samples]
    complete = [process for process in result.processes if process.complete]
    spreads = [_spread(canary.samples) for canary in result.canaries]
    seconds = sum(process.seconds for process in result.processes)
    busy = sum(process.busy_seconds for process in result.processes)
    return Quality(
        processes=max((len({s.process for s in row.samples}) for row in rows), default=0),
        rounds=max((process.rounds for process in complete), default=0),
        samples=len(samples),
        outliers=sum("outlier" in sample.flags for sample in samples),
        throttled=sum("throttled" in sample.flags for sample in samples),
        unsettled=sum(not warm_up.agreed for row in rows for warm_up in row.warm_ups),
        noise_floor=max(map(math.expm1, noise_floors(result).values()), default=None),
        canary_spread=max(spreads, default=None),
        busy_share=busy / seconds if seconds else None,
    )


def noise_floors(result: Result) -> dict[Place, float]:
    """Where -> how far the two A/A arms lie apart there, as a log ratio."""
    controls = {control.key for control in result.controls}
    firsts = {(*case.key, *row.key): row for case, row in timed(result) if case.key in controls}
    found = {}
    for control in result.controls:
        for row in control.throughput:
            first = firsts.get((*control.key, *row.key))
            apart = statistics.ratio(first.samples, row.samples) if first else None
            if apart:
                found[control.device, control.hidden_size, *row.key] = abs(apart.mean)
    return found


def timed(result: Result) -> Iterator[tuple[Case, Throughput]]:
    """Every row that was timed, with its case."""
    for case in result.cases:
        for row in case.throughput:
            yield case, row


def device_share(row: Throughput) -> float | None:
    """Of one call's wall time, what its device was at work; None where that is not known."""
    return None if row.device_seconds is None else min(1.0, row.device_seconds / row.seconds)


def bound_by_host(row: Throughput) -> bool | None:
    """Whether its device waited for longer than it worked; None where that is not known."""
    share = device_share(row)
    return None if share is None else share < BOUND_BY_HOST_BELOW


def _cell(case: Case, row: Throughput, implementation: str) -> tuple[str, str, Group]:
    """What the rows of one implementation that differ only in their threads have in common."""
    group = row.workload, case.model.hidden_size, row.batch_size
    return implementation, case.device, group


def _rate(row: Throughput) -> float:
    return row.steps_per_second.estimate


def _spread(samples: tuple[Sample, ...]) -> float:
    logs = statistics.by_process(samples).values()
    return math.expm1(min(max(logs) - min(logs), 50.0))


def _throughput_row(
    case: Case, row: Throughput, baseline: Throughput | None, *, best: bool
) -> ThroughputRow:
    rate = row.steps_per_second
    change = statistics.ratio(row.samples, baseline.samples) if baseline else None
    ratio, low, high = _ratio(change, itself=row is baseline)
    return ThroughputRow(
        workload=row.workload,
        batch_size=row.batch_size,
        threads=row.threads,
        best=best,
        implementation=case.implementation,
        device=case.device,
        hidden_size=case.model.hidden_size,
        steps_per_second=rate.estimate,
        low=rate.low,
        high=rate.high,
        microseconds_per_step=1e6 * row.batch_size / rate.estimate,
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        noise=row.noise,
        share_of_limit=row.limit.seconds / row.seconds if row.limit else None,
        bound=row.limit.bound if row.limit else None,
        first_call_seconds=row.first_call_seconds,
        pays_back_after=_pays_back_after(row, baseline),
        peak_memory_bytes=row.peak_memory_bytes,
        joules_per_call=row.joules_per_call,
        device_seconds=row.device_seconds,
        device_operations=row.device_operations,
        device_share=device_share(row),
        bound_by_host=bound_by_host(row),
    )


def _ratio(
    change: statistics.Interval | None, *, itself: bool
) -> tuple[float | None, float | None, float | None]:
    """Exponentiate a difference of logs and of the ends of its interval."""
    if change is None:
        return None, None, None
    if change.half is None or itself:
        return math.exp(change.mean), None, None
    half = min(change.half, 50.0)
    return math.exp(change.mean), math.exp(change.mean - half), math.exp(change.mean + half)


def _pays_back_after(row: Throughput, baseline: Throughput | None) -> int | None:
    """Calls after which a row has cost no more than the baseline, first calls included."""
    if baseline is None or row is baseline:
        return None
    behind = row.first_call_seconds - baseline.first_call_seconds
    if behind <= 0.0:
        return 0 if row.seconds <= baseline.seconds else None
    # Both have made their first call; each further one wins back the difference.
    won = baseline.seconds - row.seconds
    return 1 + math.ceil(behind / won) if won > 0.0 else None


def _accuracy_row(
    label: str,
    device: str | None,
    hidden_size: int | None,
    status: str,
    summary: ErrorSummary | None,
    training_seconds: float | None,
) -> AccuracyRow:
    return AccuracyRow(
        label=label,
        device=device,
        hidden_size=hidden_size,
        status=status,
        mse_mean=summary.mse_mean if summary else None,
        mse_median=summary.mse_median if summary else None,
        mse_p95=summary.mse_p95 if summary else None,
        mse_best=summary.mse_best if summary else None,
        mse_worst=summary.mse_worst if summary else None,
        training_seconds=training_seconds,
    )
