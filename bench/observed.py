"""What a comparison needs of a file, whichever kind: ours, or one that pytest-benchmark saved.

A file becomes timed rows, each with the log seconds of every process and the conditions that must
be the same on both sides, and accuracies, one error a sequence.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import records, saved, statistics
from bench.schema import Case, Result, Throughput
from bench.summary import noise_floors, timed
from impls import GeneratorConfig


@dataclass(frozen=True, slots=True)
class Key:
    """What names a row: the same key in two files is the same work."""

    implementation: str
    device: str
    dtype: str
    model: str
    task: str
    workload: str = ""
    batch_size: int = 0
    threads: int = 0
    hidden_size: int = 0


@dataclass(frozen=True, slots=True)
class Timed:
    """One timed row.

    Attributes:
        logs: process -> log of the median seconds of one call.
        work: sequence-steps of one call, or None where the file does not tell.
        conditions: field -> value; a comparison needs them equal, where both are known.
        floor: how far the file's A/A arms lie apart there, as a log ratio.
    """

    logs: Mapping[int, float]
    work: int | None
    conditions: Mapping[str, Any]
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Errors:
    """One case's error of each sequence, under conditions that a comparison needs equal."""

    per_sequence: tuple[float, ...]
    conditions: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything of one file that can be compared.

    Attributes:
        name: the file's, for the tables.
        machine: what makes seconds of two files comparable.
        settings: what else the numbers depend on, for the reader.
        rows: by key.
        accuracy: by key, workload left out.
        baseline: whom ratios are taken against.
        canary: device -> process -> log seconds.
        error_floor: how far apart the file's own implementations got with the same training, as a
            log ratio: they compute the same function, so rounding did it.
    """

    name: str
    machine: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[Key, Timed] = field(default_factory=dict)
    accuracy: Mapping[Key, Errors] = field(default_factory=dict)
    baseline: str | None = None
    canary: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    error_floor: float = 0.0


def load(path: Path) -> Observed:
    """Read a result file, or one that pytest-benchmark saved.

    Raises:
        BenchError: it is neither; see `bench.records.load`.
    """
    text = records.read(path)
    if result := records.quickly(text):
        return of_result(result, str(path))
    head = records.from_json(path, text)
    if saved.looks_like(head):
        return of_saved(saved.parse(path, text), str(path))
    return of_result(records.parse(path, text, head), str(path))


def of_result(result: Result, name: str) -> Observed:
    """A result file of ours."""
    machine, floors = result.environment, noise_floors(result)
    return Observed(
        name=name,
        machine={
            "cpu": machine.cpu,
            "cores": machine.cores,
            # Virtual machines give processors of several generations one name.
            "caches": machine.caches or None,
            "gpu": [gpu.name for gpu in machine.gpu] or None,
        },
        settings=_settings(result),
        rows={
            _key(case, row): Timed(
                logs=statistics.by_process(row.samples),
                work=row.steps * row.batch_size,
                conditions=_conditions(result, case, row),
                floor=floors.get((*case.key[1:], *row.key), 0.0),
            )
            for case, row in timed(result)
        },
        accuracy={
            _key(case): Errors(case.accuracy.mse_per_sequence, _task_data(result))
            for case in result.cases
            if case.accuracy
        },
        baseline=result.config.baseline,
        canary={c.device: statistics.by_process(c.samples) for c in result.canaries},
        error_floor=_error_floor(result),
    )


def of_saved(file: saved.SavedFile, name: str) -> Observed:
    """A file of pytest-benchmark's: one process, and so no interval."""
    return Observed(
        name=name,
        machine={"cpu": file.cpu, "cores": file.cores},
        rows={
            _saved_key(benchmark): Timed(
                logs={0: math.log(benchmark.stats.median)},
                work=_saved_work(benchmark),
                conditions={
                    "weights": benchmark.extra_info.get("weights_digest"),
                    "parity tolerance": benchmark.extra_info.get("tolerance"),
                    "steps": benchmark.extra_info.get("steps"),
                },
            )
            for benchmark in file.benchmarks
        },
    )


def _key(case: Case, row: Throughput | None = None) -> Key:
    return Key(
        implementation=case.implementation,
        device=case.device,
        dtype=case.dtype,
        model=_model_name(asdict(case.model)),
        task=case.task,
        workload=row.workload if row else "",
        batch_size=row.batch_size if row else 0,
        threads=row.threads if row else 0,
        hidden_size=case.model.hidden_size,
    )


def _model_name(model: Mapping[str, Any]) -> str:
    """What the hidden size leaves to be told."""
    return " ".join(f"{name}={model[name]}" for name in sorted(model) if name != "hidden_size")


def _conditions(result: Result, case: Case, row: Throughput) -> dict[str, Any]:
    return {
        "weights": case.weights_digest,
        "parity tolerance": case.parity.tolerance if case.parity else None,
        "steps": row.steps,
        **{f"precision {name}": flag for name, flag in result.environment.precision.items()},
    }


def _task_data(result: Result) -> dict[str, Any]:
    evaluation = result.config.evaluation.model_dump()
    return {f"evaluation {name}": value for name, value in evaluation.items()}


def _error_floor(result: Result) -> float:
    known: dict[int, list[float]] = defaultdict(list)  # by size: others compute another function
    for case in result.cases:
        if case.accuracy and case.accuracy.mse_mean > 0.0:
            known[case.model.hidden_size].append(math.log(case.accuracy.mse_mean))
    return max((max(logs) - min(logs) for logs in known.values()), default=0.0)


def _settings(result: Result) -> dict[str, Any]:
    """What a number may depend on, flat; the commit and the date are expected to differ."""
    config = result.config.model_dump(mode="json")
    model = config.pop("model")
    # Two files of one name can hold two recipes.
    own = {f"recipe {name}": value for name, value in (config.pop("own_recipe") or {}).items()}
    config["weights"] = (config["weights"] or {}).get("digest")
    config.pop("evaluation")
    for name in (
        "implementations", "devices", "batch_sizes", "processes", "rounds", "baseline", "threads",
        "more_hidden_sizes", "sampling_seconds", "time_budget", "time_limit",
    ):  # fmt: skip
        config.pop(name)  # these choose the rows, which are joined, and how often they are timed
    machine = result.environment.model_dump(
        mode="json",
        exclude={"git_commit", "git_dirty", "rnn_bench", "threads", "precision", "load_average",
                 "gpu", "interop_threads", "caches", "memory_bytes", "cpu", "cores"},
    )  # fmt: skip
    settings: dict[str, Any] = machine | model | config | own
    return settings


def _saved_key(benchmark: saved.SavedBenchmark) -> Key:
    """Our own benchmarks say what they are; of others the name is all there is."""
    info = benchmark.extra_info
    names = ("implementation", "device", "dtype", "task", "workload")
    numbers, model = ("batch_size", "threads"), info.get("model")
    ours = all(isinstance(info.get(name), str) for name in names)
    if ours and all(type(info.get(name)) is int for name in numbers) and isinstance(model, dict):
        size = model.get("hidden_size")
        return Key(
            **{name: info[name] for name in names + numbers},
            model=_model_name(asdict(GeneratorConfig()) | model),  # what came later is at rest
            hidden_size=size if type(size) is int else 0,
        )
    return Key(benchmark.fullname, "", "", "", "")


def _saved_work(benchmark: saved.SavedBenchmark) -> int | None:
    work = 1
    for name in ("steps", "batch_size"):
        size = benchmark.extra_info.get(name)
        if type(size) is not int or not 1 <= size <= 10**12:
            return None  # anybody's file: it can say anything
        work *= size
    return work
