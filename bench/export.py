"""A result in the forms that other tools read: pytest-benchmark's, pyperf's and tidy CSV. Pure.

All times are seconds of one call. Nothing that is written names a host, a user or a path; why a
case failed stays behind too, for that is anybody's text.
"""

import csv
import io
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import mean, median, stdev
from typing import Any, NamedTuple

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from bench.errors import BenchError
from bench.records import dumps
from bench.render import printable
from bench.schema import Case, Environment, Result, Sample, Throughput
from bench.statistics import FENCE
from bench.summary import bound_by_host

# Where the same rows are timed under pytest-benchmark, whose names these must be to line up.
TIMED_TEST = "tests/test_benchmark.py::test_throughput"
# Whose files these are: the release of pytest-benchmark, and pyperf's own number of its format.
PYTEST_BENCHMARK_VERSION = "5.3.1"
PYPERF_FORMAT = "1.0"

_DATE: TypeAdapter[AwareDatetime] = TypeAdapter(AwareDatetime)


def to_pytest_benchmark(result: Result) -> dict[str, Any]:
    """The JSON that ``pytest --benchmark-save`` writes, one benchmark a timed row.

    Raises:
        BenchError: there is no timed row, or two have one name.
    """
    environment = result.environment
    return {
        "machine_info": _machine_info(environment),
        "commit_info": {
            "id": environment.git_commit or "unversioned",
            "time": None,
            "author_time": None,
            "dirty": bool(environment.git_dirty),
            "project": "rnn-bench",
            "branch": "(unknown)",
        },
        "benchmarks": [_saved_benchmark(result, *timed) for timed in _timed(result)],
        "datetime": result.created_at,
        "version": PYTEST_BENCHMARK_VERSION,
    }


def to_pyperf(result: Result) -> dict[str, Any]:
    """The JSON of ``pyperf``, one benchmark a timed row and one run a process.

    Raises:
        BenchError: there is no timed row, or two have one name.
    """
    environment = result.environment
    metadata = {
        "unit": "second",
        "inner_loops": 1,
        "cpu_model_name": environment.cpu,
        "cpu_count": environment.cores,
        "gpu": ", ".join(gpu.name for gpu in environment.gpu),
        "platform": environment.os,
        "load_avg_1min": environment.load_average,
        "python_version": environment.python,
        "torch_version": environment.torch,
        "numpy_version": environment.numpy,
        "rnn_bench_version": environment.rnn_bench,
        "commit_id": environment.git_commit,
    }
    return {
        "version": PYPERF_FORMAT,
        "metadata": _metadata(metadata),
        "benchmarks": [_pyperf_benchmark(result, *timed) for timed in _timed(result)],
    }


def to_csv(result: Result) -> str:
    """Tidy: a header, then one line a sample; a field is empty where nothing is known.

    Raises:
        BenchError: there is no timed row, or two have one name.
    """
    lines = [_line(*timed, sample) for timed in _timed(result) for sample in timed[1].samples]
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _timed(result: Result) -> list[tuple[Case, Throughput]]:
    """Every row that was timed, also those of a case that failed afterwards: it says so itself."""
    rows: dict[tuple[str, int], tuple[Case, Throughput]] = {}
    for case in result.cases:
        for row in case.throughput:
            name = _name(case, row, "")
            if (name, case.model.hidden_size) in rows:
                raise BenchError(f"this result has two rows '{name}'; no other tool takes both")
            rows[name, case.model.hidden_size] = case, row
    if not rows:
        raise BenchError("this result has no timed rows to export")
    return list(rows.values())


def _name(case: Case, row: Throughput, size: str) -> str:
    return (
        f"{case.implementation} {case.device} {row.workload} {row.batch_size}{_threads(row)}{size}"
    )


def _size(result: Result, case: Case) -> str:
    """What tells rows of several hidden sizes apart; with one size the names are as ever."""
    several = len({other.model.hidden_size for other in result.cases}) > 1
    return f" H={case.model.hidden_size}" if several else ""


def _threads(row: Throughput) -> str:
    """What tells rows on several threads from those on one, which other tools time too."""
    return f" {row.threads} threads" if row.threads > 1 else ""


def _facts(case: Case, row: Throughput) -> dict[str, Any]:
    """What a row's times are those of, and what they rest on."""
    return {
        "implementation": case.implementation,
        "device": case.device,
        "dtype": case.dtype,
        "model": asdict(case.model),
        "task": case.task,
        "status": case.status,
        "workload": row.workload,
        "batch_size": row.batch_size,
        "steps": row.steps,
        "steps_per_second": row.steps_per_second.estimate,
        "output_error": row.output_error,
        "threads": row.threads,
        "tolerance": case.parity.tolerance if case.parity else None,
        "weights_digest": case.weights_digest,
    }


def _machine_info(environment: Environment) -> dict[str, Any]:
    return {
        "node": "",
        "processor": environment.cpu,
        "python_version": environment.python,
        "cpu": {"brand_raw": environment.cpu, "count": environment.cores},
        "environment": environment.model_dump(mode="json"),
    }


def _saved_benchmark(result: Result, case: Case, row: Throughput) -> dict[str, Any]:
    param = f"{row.workload}-{row.batch_size}-{case.device}-{case.implementation}"
    param += (_threads(row) + _size(result, case)).replace(" ", "-")
    return {
        "group": f"{row.workload}, batch {row.batch_size}, {case.device}",
        "name": f"{TIMED_TEST.partition('::')[2]}[{param}]",
        "fullname": f"{TIMED_TEST}[{param}]",
        "params": {
            "cell": [row.workload, row.batch_size],
            "device": case.device,
            "implementation": case.implementation,
        },
        "param": param,
        "extra_info": _facts(case, row),
        "options": {},
        "stats": _stats(row),
    }


def _stats(row: Throughput) -> dict[str, Any]:
    """The figures that pytest-benchmark shows, by the formulas of its ``stats.Stats``."""
    data = [sample.seconds for sample in row.samples]
    ordered, total, centre = sorted(data), sum(data), mean(data)
    spread = stdev(data) if len(data) > 1 else 0.0
    q1, q3 = _quartile(ordered), _quartile(ordered[::-1])
    low, high = q1 - FENCE * (q3 - q1), q3 + FENCE * (q3 - q1)
    far, farther = _beyond(ordered, centre - spread, centre + spread), _beyond(ordered, low, high)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": centre,
        "stddev": spread,
        "rounds": len(data),
        "median": median(data),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": farther,
        "stddev_outliers": far,
        "outliers": f"{far};{farther}",
        "ld15iqr": ordered[bisect_left(ordered, low)],
        "hd15iqr": ordered[bisect_right(ordered, high) - 1],
        "ops": min(len(data) / total, sys.float_info.max),  # JSON knows no infinity
        "total": total,
        "data": data,
        # One number for all processes: the fewest calls that any sample is the mean of.
        "iterations": min((warm.calls_per_sample for warm in row.warm_ups), default=1),
    }


def _quartile(ordered: Sequence[float]) -> float:
    """The quartile at the front, as pytest-benchmark has it.

    Methods 2, for even counts, and 3, for odd ones, of Wikipedia's article on the quartile.
    """
    quarter, rest = divmod(len(ordered), 4)
    if len(ordered) == 1:
        return ordered[0]
    if rest == 1:
        return 0.25 * ordered[quarter - 1] + 0.75 * ordered[quarter]
    if rest == 3:
        return 0.75 * ordered[quarter] + 0.25 * ordered[quarter + 1]
    return median(ordered[: len(ordered) // 2])


def _beyond(ordered: Sequence[float], low: float, high: float) -> int:
    return bisect_left(ordered, low) + len(ordered) - bisect_right(ordered, high)


def _pyperf_benchmark(result: Result, case: Case, row: Throughput) -> dict[str, Any]:
    dates = {process.index: _date(process.created_at) for process in result.processes}
    facts = _facts(case, row) | {"name": _name(case, row, _size(result, case))}
    return {"metadata": _metadata(facts), "runs": list(_runs(row, dates))}


def _runs(row: Throughput, dates: Mapping[int, str | None]) -> Iterator[dict[str, Any]]:
    """Each process's values in the order of its rounds; its warm-up is the first call alone."""
    warm_ups = {warm.process: warm for warm in row.warm_ups}
    for process in sorted({sample.process for sample in row.samples}):
        mine = sorted((s for s in row.samples if s.process == process), key=lambda s: s.round)
        metadata: dict[str, Any] = {"date": dates.get(process)}
        run: dict[str, Any] = {"values": [sample.seconds for sample in mine]}
        if warm := warm_ups.get(process):
            metadata["loops"] = warm.calls_per_sample
            run["warmups"] = [[1, warm.first_call_seconds]]
        yield run | {"metadata": _metadata(metadata)}


def _metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """What pyperf takes, flat: numbers, and text that is one line and not empty."""
    taken: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            taken |= _metadata({f"{name}_{part}": inner for part, inner in value.items()})
        elif isinstance(value, str):
            taken[name] = " ".join(printable(value).split())
        else:
            taken[name] = value
    return {name: value for name, value in taken.items() if value not in (None, "")}


def _date(text: str) -> str | None:
    """``text`` as pyperf takes it, or None: it would stop at what is no date."""
    try:
        return _DATE.validate_python(text).isoformat(" ")
    except ValidationError:
        return None


def _line(case: Case, row: Throughput, sample: Sample) -> dict[str, Any]:
    """One line of the CSV. All text is a `Name` or a `Literal`: a spreadsheet finds no ``=(+@``."""
    return {
        "implementation": case.implementation,
        "device": case.device,
        "dtype": case.dtype,
        "task": case.task,
        "hidden_size": case.model.hidden_size,
        "num_layers": case.model.num_layers,
        "nonlinearity": case.model.nonlinearity,
        "workload": row.workload,
        "batch_size": row.batch_size,
        "threads": row.threads,
        "steps": row.steps,
        "process": sample.process,
        "round": sample.round,
        "seconds": sample.seconds,
        "flags": " ".join(sample.flags),
        "status": case.status,
        "steps_per_second": row.steps_per_second.estimate,
        "steps_per_second_low": row.steps_per_second.low,
        "steps_per_second_high": row.steps_per_second.high,
        "output_error": row.output_error,
        "peak_memory_bytes": row.peak_memory_bytes,
        "device_seconds": row.device_seconds,
        "device_operations": row.device_operations,
        "bound_by_host": bound_by_host(row),
    }


class Format(NamedTuple):
    """One form: how a result becomes its text, and how its files' names end."""

    text: Callable[[Result], str]
    suffix: str


def _as_json(form: Callable[[Result], dict[str, Any]]) -> Callable[[Result], str]:
    return lambda result: dumps(form(result)) + "\n"


# No suffix is .json alone: beside the result it is made from, an export would take its name.
FORMATS: dict[str, Format] = {
    "pytest-benchmark": Format(_as_json(to_pytest_benchmark), ".pytest-benchmark.json"),
    "pyperf": Format(_as_json(to_pyperf), ".pyperf.json"),
    "csv": Format(to_csv, ".csv"),
}
