"""Rows of numbers -> tables of words."""

from dataclasses import replace

from bench.compare import Comparison
from bench.errors import unknown
from bench.records import Case, Result
from bench.render import Row, Table
from bench.summary import (
    AccuracyRow,
    ParityRow,
    accuracy_rows,
    baseline_rows,
    parity_rows,
    throughput_rows,
)

NOTHING = "-"
# The lecture's slide "Results - Predictions": one unit sine, 1000 free-running steps.
PUBLISHED_MSE = 0.9695


def heading(result: Result) -> str:
    """One line that says what was run, and where."""
    config, model, machine = result.config, result.config.model, result.environment
    threads = f"{machine.threads} thread{'s' if machine.threads > 1 else ''}"
    parts = [
        f"{config.task}, recipe {config.recipe}, seed {config.seed}",
        f"H={model.hidden_size} L={model.num_layers} {model.nonlinearity}"
        + ("" if model.bias else " no bias")
        + (f" dropout {model.dropout}" if model.dropout else ""),
        config.dtype,
        threads,
        f"{machine.cpu} ({machine.cores} cores)",
        *(machine.gpu if any(case.device.startswith("cuda") for case in result.cases) else ()),
        f"torch {machine.torch}",
    ]
    return " · ".join(parts)


def result_tables(result: Result, only: str | None = None) -> list[Table]:
    """Accuracy, throughput and parity; or the one that ``only`` names, `overview` among them.

    Raises:
        BenchError: no table has that name.
    """
    builders = {
        "overview": lambda: overview(result),
        "accuracy": lambda: accuracy(result),
        "throughput": lambda: throughput(result),
        "parity": lambda: parity(result.cases),
    }
    if only is None:
        return [builders[name]() for name in ("accuracy", "throughput", "parity")]
    if only not in builders:
        raise unknown("table", only, builders)
    return [builders[only]()]


def overview(result: Result) -> Table:
    """One line a case: right or not, how accurate, how fast at each workload and batch size."""
    timed = throughput_rows(result)
    groups = list(dict.fromkeys((row.workload, row.batch_size) for row in timed))
    cells = {
        (row.implementation, row.device, row.workload, row.batch_size): (
            _significant(row.microseconds_per_step)
            + ("" if row.ratio is None else f" ({_ratio(row.ratio)})")
        )
        for row in timed
    }
    rows = tuple(
        (
            case.implementation,
            case.device,
            _error(case.accuracy.mse_mean) if row.passed and case.accuracy else _shortfall(row),
            *(cells.get((*case.key, *group), NOTHING) for group in groups),
        )
        for case, row in zip(result.cases, parity_rows(result.cases), strict=True)
    )
    # Short, so that a table of 80 columns holds the five default ones.
    short = {"generate": "gen", "train_step": "train", "sequence": "seq"}
    titles = (f"{short.get(workload, workload)} {batch:,}" for workload, batch in groups)
    return Table(
        title="Overview",
        columns=("implementation", "device", "mean MSE", *titles),
        sections=(rows,),
        notes=(
            "mean MSE: closed loop, after training; always zero gets "
            f"{_error(result.baselines.zero.mse_mean if result.baselines else None)}. gen and "
            "train: generate and train_step by batch size, in microseconds for one step of the "
            "whole batch"
            f"{_against(result)}.",
            *_reasons(result.cases),
        ),
    )


def accuracy(result: Result) -> Table:
    """Closed-loop errors, the trivial predictors beneath, and the lecture's own result."""
    evaluation = result.config.evaluation
    free = evaluation.points - 1 - evaluation.warm_up
    published = ("lecture, published", "sine", _error(PUBLISHED_MSE)) + (NOTHING,) * 4
    return Table(
        title=f"Accuracy: squared error over {free:,} free-running steps of "
        f"{evaluation.sequences:,} {result.config.task}s",
        columns=("implementation", "device", "mean", "median", "best", "worst", "training"),
        sections=(
            tuple(_accuracy(row) for row in accuracy_rows(result)),
            tuple(_accuracy(row) for row in baseline_rows(result)),
            (published,),
        ),
        notes=(
            "exact recurrence: x[t+1] = 2 cos(step) x[t] - x[t-1] in float32, the floor. "
            "lecture: the total that its slides publish for one free-running unit sine.",
            *_reasons(result.cases),
        ),
    )


def throughput(result: Result) -> Table:
    """Rates by workload and batch size."""
    rows = throughput_rows(result)
    groups = dict.fromkeys((row.workload, row.batch_size) for row in rows)
    sections = tuple(
        tuple(
            (
                row.workload,
                f"{row.batch_size:,}",
                row.implementation,
                row.device,
                _significant(row.steps_per_second),
                _significant(row.microseconds_per_step),
                _ratio(row.ratio),
                f"{100 * row.spread:.0f}%",
            )
            for row in rows
            if (row.workload, row.batch_size) == group
        )
        for group in groups
    )
    rounds = result.config.rounds
    return Table(
        title="Throughput",
        columns=(
            "workload",
            "batch",
            "implementation",
            "device",
            "steps/s",
            "us/step",
            "ratio",
            "spread",
        ),
        sections=sections,
        notes=(
            "steps/s: sequence-steps, T x B over the seconds of one call; us/step: microseconds "
            "for one step of the whole batch.",
            f"{_ratio_note(result)} spread: fastest less slowest of {rounds} rounds, over their "
            "median; all in one process.",
        ),
    )


def parity(cases: tuple[Case, ...]) -> Table:
    """The largest errors against the float64 reference."""
    return Table(
        title="Parity with the float64 reference",
        columns=("implementation", "device", "verdict", "output", "gradient", "tolerance"),
        sections=(tuple(_parity(row) for row in parity_rows(cases)),),
        notes=(
            "largest error of predictions and states, and of all gradients, relative to the "
            "largest magnitude of each where that is above 1.",
        ),
    )


def check_table(cases: tuple[Case, ...]) -> Table:
    """Parity alone, with the reason of every case that did not pass."""
    table = parity(cases)
    return replace(table, notes=table.notes + _reasons(cases))


def comparison_tables(comparison: Comparison, base: str, new: str) -> list[Table]:
    """Accuracy and throughput of two files, side by side."""
    notes: Row = (f"base: {base}. new: {new}.", "ratio: new over base.")
    if comparison.differences:
        notes += ("The two files differ in: " + "; ".join(comparison.differences) + ".",)
    accuracy_section = tuple(
        (row.implementation, row.device, _error(row.base), _error(row.new), _ratio(row.ratio))
        for row in comparison.accuracy
    )
    throughput_section = tuple(
        (
            row.workload,
            f"{row.batch_size:,}",
            row.implementation,
            row.device,
            _significant(row.base),
            _significant(row.new),
            _ratio(row.ratio),
        )
        for row in comparison.throughput
    )
    return [
        Table(
            "Accuracy: mean squared error, lower is better",
            ("implementation", "device", "base", "new", "ratio"),
            (accuracy_section,),
        ),
        Table(
            "Throughput: steps per second, higher is better",
            ("workload", "batch", "implementation", "device", "base", "new", "ratio"),
            (throughput_section,),
            notes,
        ),
    ]


def _has_baseline(result: Result) -> bool:
    return any(row.ratio is not None for row in throughput_rows(result))


def _against(result: Result) -> str:
    return f" (times as fast as {result.config.baseline})" if _has_baseline(result) else ""


def _ratio_note(result: Result) -> str:
    baseline = result.config.baseline
    if not _has_baseline(result):
        return f"ratio: none, for the baseline {baseline} was not timed."
    return f"ratio: steps/s over {baseline}'s on the same device, above 1 is faster."


def _accuracy(row: AccuracyRow) -> Row:
    if row.mse_mean is None:
        return (row.label, row.device or "", row.status) + (NOTHING,) * 3 + (_seconds(row),)
    errors = (row.mse_mean, row.mse_median, row.mse_best, row.mse_worst)
    return (row.label, row.device or "", *(_error(error) for error in errors), _seconds(row))


def _parity(row: ParityRow) -> Row:
    errors = (row.output_error, row.gradient_error, row.tolerance)
    words = (NOTHING if error is None else f"{error:.1e}" for error in errors)
    return (row.implementation, row.device, _verdict(row), *words)


def _verdict(row: ParityRow) -> str:
    return {True: "pass", False: "FAIL", None: row.status}[row.passed]


def _shortfall(row: ParityRow) -> str:
    """What stands where a case has no error to show: it was wrong, or how far it got."""
    return "FAIL" if row.passed is False else row.status


def _reasons(cases: tuple[Case, ...]) -> tuple[str, ...]:
    reasons = [
        f"{case.implementation} on {case.device} {case.status}: {case.reason}."
        for case in cases
        if case.reason
    ]
    unfinished = [f"{c.implementation} on {c.device}" for c in cases if c.status == "pending"]
    if unfinished:
        reasons.append(f"The run was cut short before it finished {', '.join(unfinished)}.")
    return tuple(reasons)


def _seconds(row: AccuracyRow) -> str:
    return NOTHING if row.training_seconds is None else f"{row.training_seconds:.1f} s"


def _error(value: float | None) -> str:
    """Four decimals where they say something, two digits and an exponent below."""
    if value is None:
        return NOTHING
    return f"{value:.4f}" if value >= 1e-3 else f"{value:.1e}"


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}x"


def _significant(value: float | None) -> str:
    """Three significant digits, thousands set apart, never an exponent."""
    if value is None:
        return NOTHING
    rounded = float(f"{value:.3g}")
    decimals = max(0, 2 - len(str(int(rounded))) + 1) if rounded >= 1 else 3
    return f"{rounded:,.{decimals}f}"
