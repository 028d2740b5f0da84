"""Result files boiled down to rows of numbers, one dataclass a table; `bench.tables` words them."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.records import Case, ErrorSummary, Result, Throughput


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """One line of the accuracy table; errors are None where the case has none."""

    label: str
    device: str | None
    status: str
    mse_mean: float | None
    mse_median: float | None
    mse_p95: float | None
    mse_best: float | None
    mse_worst: float | None
    training_seconds: float | None


@dataclass(frozen=True, slots=True)
class ThroughputRow:
    """One line of the throughput table.

    ``ratio`` is the rate over the baseline's on the same device; None where that was not timed.
    """

    workload: str
    batch_size: int
    implementation: str
    device: str
    steps_per_second: float
    low: float
    high: float
    microseconds_per_step: float
    ratio: float | None
    spread: float
    first_call_seconds: float


@dataclass(frozen=True, slots=True)
class ParityRow:
    """One line of the parity table."""

    implementation: str
    device: str
    status: str
    output_error: float | None
    gradient_error: float | None
    tolerance: float | None
    passed: bool | None
    reason: str | None


def accuracy_rows(result: Result) -> list[AccuracyRow]:
    """The cases, in the order of the run."""
    return [
        _accuracy_row(
            case.implementation,
            case.device,
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
    labels = {
        "always zero": result.baselines.zero,
        "repeat last value": result.baselines.repeat,
        "exact recurrence": result.baselines.recurrence,
    }
    return [_accuracy_row(name, None, "ok", summary, None) for name, summary in labels.items()]


def throughput_rows(result: Result) -> list[ThroughputRow]:
    """Grouped by workload and batch size, so that what compares stands together."""
    found = list(_timed(result))
    rates = {
        (case.device, row.workload, row.batch_size): row.steps_per_second.estimate
        for case, row in found
        if case.implementation == result.config.baseline
    }
    rows = [
        _throughput_row(case, row, rates.get((case.device, row.workload, row.batch_size)))
        for case, row in found
    ]
    groups = list(dict.fromkeys((row.workload, row.batch_size) for row in rows))
    return sorted(rows, key=lambda row: groups.index((row.workload, row.batch_size)))


def parity_rows(cases: tuple[Case, ...]) -> list[ParityRow]:
    """Every case, also those that were not checked."""
    return [
        ParityRow(
            implementation=case.implementation,
            device=case.device,
            status=case.status,
            output_error=case.parity.output_error if case.parity else None,
            gradient_error=case.parity.gradient_error if case.parity else None,
            tolerance=case.parity.tolerance if case.parity else None,
            passed=case.parity.passed if case.parity else None,
            reason=case.reason,
        )
        for case in cases
    ]


def _timed(result: Result) -> Iterator[tuple[Case, Throughput]]:
    for case in result.cases:
        for row in case.throughput:
            yield case, row


def _throughput_row(case: Case, row: Throughput, baseline: float | None) -> ThroughputRow:
    rate = row.steps_per_second
    return ThroughputRow(
        workload=row.workload,
        batch_size=row.batch_size,
        implementation=case.implementation,
        device=case.device,
        steps_per_second=rate.estimate,
        low=rate.low,
        high=rate.high,
        microseconds_per_step=1e6 * row.batch_size / rate.estimate,
        ratio=rate.estimate / baseline if baseline else None,
        spread=row.noise,
        first_call_seconds=row.first_call_seconds,
    )


def _accuracy_row(
    label: str,
    device: str | None,
    status: str,
    summary: ErrorSummary | None,
    training_seconds: float | None,
) -> AccuracyRow:
    return AccuracyRow(
        label=label,
        device=device,
        status=status,
        mse_mean=summary.mse_mean if summary else None,
        mse_median=summary.mse_median if summary else None,
        mse_p95=summary.mse_p95 if summary else None,
        mse_best=summary.mse_best if summary else None,
        mse_worst=summary.mse_worst if summary else None,
        training_seconds=training_seconds,
    )
