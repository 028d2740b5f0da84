"""Rows of numbers -> tables of words."""

from collections.abc import Sequence
from dataclasses import replace

from bench import columns, words
from bench.config import RunConfig
from bench.errors import unknown
from bench.messages import Finding
from bench.render import Row, Table
from bench.scaling import ScalingRow, scaling_rows
from bench.schema import Case, Result
from bench.summary import (
    BOUND_BY_HOST_BELOW,
    PREDICTORS,
    AccuracyRow,
    ParityRow,
    ThroughputRow,
    accuracy_rows,
    baseline_rows,
    parity_rows,
    quality,
    throughput_rows,
)
from bench.words import (
    NOTHING,
    error,
    percent,
    plus_minus,
    ratio,
    ratio_within,
    short,
    significant,
    size,
)
from tasks import TASKS
from tasks.waves import Wave

# The lecture's slide "Results - Predictions": one unit sine, 1000 free-running steps.
PUBLISHED_MSE = 0.9695

_WAVE_NOTE = (
    "exact recurrence: x[t+1] = 2 cos(step) x[t] - x[t-1] in float32, the floor. "
    "lecture: the total that its slides publish for one free-running unit sine."
)
_FLOORS = {
    "rotation": "by the angle of a step, in float32, the floor",
    "filter": "the best linear one of the noisy points read so far, the frequency known: the floor",
}
_BUSY_NOTE = (
    "busy: the share of a call's wall time in which the GPU itself was at work, by its profiler. "
    f"host: less than {percent(BOUND_BY_HOST_BELOW)}; such a row is bound by the host, that is by "
    "the time the CPU takes to hand out work, and a faster GPU would hardly help it."
)


def heading(result: Result) -> str:
    """One line that says what was run, and where."""
    config, model, machine = result.config, result.config.model, result.environment
    parts = [
        f"{config.task}, {_trained(config)}",
        f"H={','.join(map(str, config.hidden_sizes))} L={model.num_layers} {model.nonlinearity}"
        + ("" if model.bias else " no bias")
        + (f" dropout {model.dropout}" if model.dropout else "")
        + (" bidirectional" if model.bidirectional else "")
        + (" batch first" if model.batch_first else ""),
        config.dtype,
        *([f"calls of {config.steps:,} steps"] if config.steps and config.batch_sizes else []),
        words.thread_counts(config.threads),
        f"{machine.cpu} ({machine.cores} cores)",
        *(
            (gpu.name for gpu in machine.gpu)
            if any(case.device.startswith("cuda") for case in result.cases)
            else ()
        ),
        f"torch {machine.torch}",
    ]
    return " · ".join(parts)


def _trained(config: RunConfig) -> str:
    """How the weights came about."""
    if given := config.weights:
        return (
            f"given weights {given.digest[:12]} (recipe {given.recipe or NOTHING}, "
            f"{given.implementation or NOTHING}, seed {given.seed or NOTHING})"
        )
    return f"recipe {config.recipe}{_start(config)}, seed {config.seed}"


def _start(config: RunConfig) -> str:
    """Where the training started from, if not where the recipe does."""
    if config.init is None:
        return ""
    gain = "" if config.init_gain == 1.0 else f" x {config.init_gain:g}"
    return f" from {config.init}{gain}"


def result_tables(result: Result, only: str | None = None) -> list[Table]:
    """Accuracy, throughput, costs and parity; or the one that ``only`` names.

    Raises:
        BenchError: no table has that name.
    """
    builders = {
        "overview": lambda: overview(result),
        "accuracy": lambda: accuracy(result),
        "throughput": lambda: throughput(result),
        "costs": lambda: costs(result),
        "parity": lambda: parity(result.cases),
        "scaling": lambda: scaling(result),
    }
    if only is None:
        names = ["accuracy", "throughput", "costs", "parity"]
        if result.config.weights:
            names = ["accuracy", "parity"]
        elif not result.config.trains:
            names = names[1:]
        return [builders[name]() for name in names]
    if only not in builders:
        raise unknown("table", only, builders)
    return [builders[only]()]


def overview(result: Result) -> Table:
    """One line a case: right or not, how accurate, how fast at each workload and batch size."""
    timed = [row for row in throughput_rows(result) if row.best]
    groups = list(dict.fromkeys((row.workload, row.batch_size) for row in timed))
    cells = {
        (row.implementation, row.device, row.hidden_size, row.workload, row.batch_size): (
            significant(row.microseconds_per_step)
            + ("" if row.ratio is None else f" ({ratio(row.ratio)})")
        )
        for row in timed
    }
    sizes = columns.sizes(result.cases)
    sections = tuple(
        tuple(
            (
                case.implementation,
                case.device,
                *((str(size),) if len(sizes) > 1 else ()),
                error(case.accuracy.mse_mean) if row.passed and case.accuracy else _shortfall(row),
                *(cells.get((*case.key, *group), NOTHING) for group in groups),
            )
            for case, row in zip(result.cases, parity_rows(result.cases), strict=True)
            if case.model.hidden_size == size
        )
        for size in sizes
    )
    # Short, so that a table of 80 columns holds the five default ones.
    short = {"generate": "gen", "train_step": "train", "sequence": "seq"}
    titles = (f"{short.get(workload, workload)} {batch:,}" for workload, batch in groups)
    return Table(
        title="Overview",
        columns=(*columns.case_columns(sizes), "mean MSE", *titles),
        sections=sections,
        notes=(
            f"mean MSE: {_evaluated(result)}, after training; {_most_modest(result)}. gen and "
            "train: generate and train_step by batch size, in microseconds for one step of the "
            "whole batch"
            f"{_against(result)}.",
            *_best_note(result),
            *_precisions(result.cases),
            *_reasons(result.cases),
        ),
    )


def accuracy(result: Result) -> Table:
    """Errors, the trivial predictors beneath, and, of a wave, the lecture's own result."""
    sizes = columns.sizes(result.cases)
    free_column = ("",) if len(sizes) > 1 else ()
    published = ("lecture, published", "sine", *free_column, error(PUBLISHED_MSE))
    of_wave = isinstance(TASKS.get(result.config.task), Wave)
    return Table(
        title=f"Accuracy: squared error {_judged(result)}",
        columns=(*columns.case_columns(sizes), "mean", "median", "best", "worst", "training"),
        sections=(
            tuple(_accuracy(row, sizes) for row in accuracy_rows(result)),
            tuple(_accuracy(row, sizes) for row in baseline_rows(result)),
            *([(published + (NOTHING,) * 4,)] if of_wave else []),
        ),
        notes=(
            _WAVE_NOTE if of_wave else _task_note(result),
            *_reasons(result.cases),
        ),
    )


def throughput(result: Result) -> Table:
    """Rates by workload and batch size, with their intervals."""
    return Table(
        title="Throughput",
        columns=(*columns.timed_columns(result), "steps/s", "±", "ratio", "limit"),
        sections=columns.timed_sections(result, _throughput),
        notes=(
            "steps/s: sequence-steps, T x B over the seconds of one call. ±: half of the 95% "
            f"interval over the processes.{_ratio_note(result)}",
            *_best_note(result),
            "limit: share of what this machine can do at most, by its fastest product, copy and "
            "dependent sum in the same run.",
            *_precisions(result.cases),
            _quality(result),
        ),
    )


def costs(result: Result) -> Table:
    """What the rate does not show: first calls, memory, energy, and who waits for the CPU."""
    rows = throughput_rows(result)
    energy = any(row.joules_per_call is not None for row in rows)
    profiled = any(row.device_share is not None for row in rows)
    return Table(
        title="First calls and memory",
        columns=(
            *columns.timed_columns(result),
            *("first call", "pays back", "memory"),
            *(("energy",) if energy else ()),
            *(("busy",) if profiled else ()),
        ),
        sections=columns.timed_sections(
            result,
            lambda row: (
                *_costs(row),
                *((_energy(row),) if energy else ()),
                *((_busy(row),) if profiled else ()),
            ),
        ),
        notes=(
            "first call: in a fresh process, compilation included. pays back: calls after which "
            f"all calls together took no longer than {result.config.baseline}'s. memory: what one "
            "call adds to the process at its peak; on CUDA all that the process holds there.",
            *((_BUSY_NOTE,) if profiled else ()),
        ),
    )


def scaling(result: Result) -> Table:
    """Who is fastest at each workload, hidden size and batch size, and how surely."""
    rows = scaling_rows(result)
    groups = dict.fromkeys((row.workload, row.hidden_size) for row in rows)
    return Table(
        title="Scaling: the fastest at each size",
        columns=(
            *("workload", "H", "batch", "implementation", "device", "threads"),
            *("us/step", "second", "ratio", "verdict"),
        ),
        sections=tuple(
            tuple(_scaling(row) for row in rows if (row.workload, row.hidden_size) == group)
            for group in groups
        ),
        notes=(
            "us/step: microseconds for one step of the whole batch, each implementation at its "
            "best count of threads. ratio: how many times as fast as the second, round by round, "
            "with half of its own 95% interval.",
            "surely: faster than every other there, by intervals that hold for all of them at once "
            "with 95% confidence; cannot tell: not. Who is fastest was chosen by the same samples, "
            "which flatters a little where two are close.",
        ),
    )


def parity(cases: tuple[Case, ...]) -> Table:
    """The largest errors against the float64 reference."""
    sizes = columns.sizes(cases)
    return Table(
        title="Parity with the float64 reference",
        columns=(*columns.case_columns(sizes), "verdict", "output", "gradient", "tolerance"),
        sections=(tuple(_parity(row, sizes) for row in parity_rows(cases)),),
        notes=(
            "largest error of predictions and states, and of all gradients, relative to the "
            "largest magnitude of each where that is above 1.",
            *_precisions(cases),
        ),
    )


def check_table(cases: tuple[Case, ...]) -> Table:
    """Parity alone, with the reason of every case that did not pass."""
    table = parity(cases)
    return replace(table, notes=table.notes + _reasons(cases))


def findings_table(implementation: str, device: str, findings: Sequence[Finding]) -> Table:
    """What an author must know of one implementation on one device."""
    failed = sum(finding.verdict == "FAIL" for finding in findings)
    passed = sum(finding.verdict == "ok" for finding in findings)
    open_ = len(findings) - failed - passed
    return Table(
        title=f"Findings: {implementation} on {device}",
        columns=("finding", "verdict", "what was found"),
        sections=(tuple((each.name, each.verdict, each.text) for each in findings),),
        notes=(f"{failed} FAIL, {passed} ok, {open_} not checked.",),
    )


def _judged(result: Result) -> str:
    """What the errors are of, for the title."""
    task, evaluation = result.config.task, result.config.evaluation
    summaries = [*(result.baselines or {}).values(), *(c.accuracy for c in result.cases)]
    steps = next((len(each.mse_per_step) for each in summaries if each), 0)
    if isinstance(TASKS.get(task), Wave):
        steps = evaluation.points - 1 - evaluation.warm_up
        return f"over {steps:,} free-running steps of {evaluation.sequences:,} {task}s"
    if steps == 1:
        return f"of one answer to each of {evaluation.sequences:,} sequences of {task}"
    return f"over {steps:,} steps of {evaluation.sequences:,} sequences of {task}"


def _evaluated(result: Result) -> str:
    """Whether predictions were fed back."""
    task = TASKS.get(result.config.task)
    return "closed loop" if task is None or task.feedback else "all steps forced"


def _most_modest(result: Result) -> str:
    """The first of the trivial predictors, and what it gets."""
    for name, found in (result.baselines or {}).items():
        return f"{PREDICTORS.get(name, name)} gets {error(found.mse_mean)}"
    return f"always zero gets {NOTHING}"


def _task_note(result: Result) -> str:
    """What sets the task apart from a wave, and what its floor is."""
    name = result.config.task
    parts = [f"{name}: {task.problem}"] if (task := TASKS.get(name)) else [name]
    if task and not task.feedback:
        parts.append("nothing is fed back: all steps are forced, whatever the recipe")
    floors = [
        f"{PREDICTORS[name]}: {words}"
        for name, words in _FLOORS.items()
        if name in (result.baselines or {})
    ]
    return ". ".join(["; ".join(parts), *floors]) + "."


def _has_baseline(result: Result) -> bool:
    return any(row.ratio is not None for row in throughput_rows(result))


def _against(result: Result) -> str:
    return f" (times as fast as {result.config.baseline})" if _has_baseline(result) else ""


def _ratio_note(result: Result) -> str:
    baseline = result.config.baseline
    if not _has_baseline(result):
        return f" No ratios, for the baseline {baseline} was not timed."
    best = " at its best count of threads" if len(result.config.threads) > 1 else ""
    return (
        f" ratio: over {baseline}{best} on the same device, round by round, with half of its own "
        "interval; above 1 is faster."
    )


def _best_note(result: Result) -> tuple[str, ...]:
    """How several counts of threads become one rate."""
    if len(result.config.threads) < 2:
        return ()
    baseline = f", {result.config.baseline} too" if _has_baseline(result) else ""
    return (
        f"threads: each row was timed on {words.thread_counts(result.config.threads)}, in turn in "
        f"the same rounds. An implementation counts at its best count there (*){baseline}: the one "
        "with the highest estimate, which flatters a little where two are close.",
    )


def _throughput(row: ThroughputRow) -> Row:
    return (
        short(row.steps_per_second),
        plus_minus(row.low, row.high),
        ratio_within(row.ratio, row.ratio_low, row.ratio_high),
        percent(row.share_of_limit),
    )


def _scaling(row: ScalingRow) -> Row:
    return (
        *(row.workload, str(row.hidden_size), f"{row.batch_size:,}"),
        *(row.implementation, row.device, str(row.threads)),
        significant(row.microseconds_per_step),
        row.second or NOTHING,
        ratio_within(row.ratio, row.low, row.high),
        row.verdict,
    )


def _costs(row: ThroughputRow) -> Row:
    calls = row.pays_back_after
    return (
        words.seconds(row.first_call_seconds),
        NOTHING if calls is None else "at once" if calls == 0 else f"{calls:,}",
        size(row.peak_memory_bytes),
    )


def _energy(row: ThroughputRow) -> str:
    return NOTHING if row.joules_per_call is None else f"{significant(row.joules_per_call)} J"


def _busy(row: ThroughputRow) -> str:
    return percent(row.device_share) + (" host" if row.bound_by_host else "")


def _quality(result: Result) -> str:
    """What the control, the canary and the flags say, in one note."""
    found = quality(result)
    plural = "process" if found.processes == 1 else "processes"
    parts = [
        f"{found.samples:,} samples from {found.processes} {plural}: {found.outliers} beyond the "
        f"fences, {found.throttled} while the clock was held back, none dropped",
    ]
    if found.unsettled:
        parts.append(f"{found.unsettled} warm-ups had not settled")
    if found.noise_floor is not None:
        timed_twice = " and ".join(dict.fromkeys(c.implementation for c in result.controls))
        parts.append(
            f"A/A: {timed_twice} timed twice differs by at most {percent(found.noise_floor)}"
        )
    if found.canary_spread is not None:
        parts.append(f"canary (plain products): processes within {percent(found.canary_spread)}")
    if found.busy_share is not None:
        parts.append(f"{percent(found.busy_share)} of the time inside timed or warm-up calls")
    return "; ".join(parts) + "."


def _accuracy(row: AccuracyRow, sizes: list[int]) -> Row:
    size = (str(row.hidden_size or ""),) if len(sizes) > 1 else ()
    name = (row.label, row.device or "", *size)
    if row.mse_mean is None:
        status = NOTHING if row.status == "ok" else row.status
        return (*name, status) + (NOTHING,) * 3 + (_seconds(row),)
    errors = (row.mse_mean, row.mse_median, row.mse_best, row.mse_worst)
    return (*name, *(error(value) for value in errors), _seconds(row))


def _parity(row: ParityRow, sizes: list[int]) -> Row:
    errors = (row.output_error, row.gradient_error, row.tolerance)
    cells = (NOTHING if value is None else f"{value:.1e}" for value in errors)
    return (*columns.case_name(row, sizes), _verdict(row), *cells)


def _verdict(row: ParityRow) -> str:
    return {True: "pass", False: "FAIL", None: row.status}[row.passed]


def _shortfall(row: ParityRow) -> str:
    """What stands where a case has no error to show: it was wrong, or how far it got.

    Nothing where all went well, and none was to be found out.
    """
    return "FAIL" if row.passed is False else NOTHING if row.status == "ok" else row.status


def _reasons(cases: tuple[Case, ...]) -> tuple[str, ...]:
    several = len(columns.sizes(cases)) > 1
    names = {case.key: words.case(case.key, with_size=several) for case in cases}
    reasons = [f"{names[case.key]} {case.status}: {case.reason}." for case in cases if case.reason]
    unfinished = [names[case.key] for case in cases if case.status == "pending"]
    if unfinished:
        reasons.append(f"The run was cut short before it finished {', '.join(unfinished)}.")
    reasons += [
        f"{names[case.key]} computes no gradients: it is not trained, and has no train_step."
        for case in cases
        if not case.differentiable
    ]
    reasons += [
        f"{names[case.key]} runs no free steps: forced ones are checked, sequence alone is timed."
        for case in cases
        if not case.closed_loop
    ]
    return tuple(reasons)


def _precisions(cases: tuple[Case, ...]) -> tuple[str, ...]:
    """Who is fast, or off, because it multiplies in less than its dtype."""
    found = {
        case.implementation: case.parity.precision
        for case in cases
        if case.parity and case.parity.precision
    }
    return tuple(
        f"{name} multiplies in {what}, and is judged by that." for name, what in found.items()
    )


def _seconds(row: AccuracyRow) -> str:
    return NOTHING if row.training_seconds is None else f"{row.training_seconds:.1f} s"
