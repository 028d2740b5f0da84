"""Two result files, case by case: the ratio of what was measured. Pure.

For now a ratio carries no interval, and so no verdict: it says what the two files hold.
"""

from dataclasses import dataclass
from typing import Any

from bench.records import Case, Result
from bench.summary import throughput_rows


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """Mean squared error of one case in both files; None where a file lacks it."""

    implementation: str
    device: str
    base: float | None
    new: float | None
    ratio: float | None


@dataclass(frozen=True, slots=True)
class ThroughputChange:
    """Sequence-steps a second of one row in both files; None where a file lacks it."""

    workload: str
    batch_size: int
    implementation: str
    device: str
    base: float | None
    new: float | None
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that two files have to say about each other.

    ``differences`` names the settings that differ, as "name: base -> new": whoever reads a ratio
    must know them.
    """

    differences: tuple[str, ...]
    accuracy: tuple[AccuracyChange, ...]
    throughput: tuple[ThroughputChange, ...]


def compare(base: Result, new: Result) -> Comparison:
    """Join the cases on implementation and device, and the rows on workload and batch size."""
    return Comparison(_differences(base, new), _accuracy(base, new), _throughput(base, new))


def _accuracy(base: Result, new: Result) -> tuple[AccuracyChange, ...]:
    old, fresh = _errors(base.cases), _errors(new.cases)
    return tuple(
        AccuracyChange(*key, old.get(key), fresh.get(key), _ratio(old.get(key), fresh.get(key)))
        for key in old | fresh
    )


def _throughput(base: Result, new: Result) -> tuple[ThroughputChange, ...]:
    old, fresh = _rates(base), _rates(new)
    return tuple(
        ThroughputChange(*key, old.get(key), fresh.get(key), _ratio(old.get(key), fresh.get(key)))
        for key in old | fresh
    )


def _errors(cases: tuple[Case, ...]) -> dict[tuple[str, str], float]:
    return {case.key: case.accuracy.mse_mean for case in cases if case.accuracy}


def _rates(result: Result) -> dict[tuple[str, int, str, str], float]:
    return {
        (row.workload, row.batch_size, row.implementation, row.device): row.steps_per_second
        for row in throughput_rows(result)
    }


def _ratio(base: float | None, new: float | None) -> float | None:
    return new / base if base and new is not None else None


def _differences(base: Result, new: Result) -> tuple[str, ...]:
    old, fresh = _settings(base), _settings(new)
    return tuple(
        f"{name}: {old.get(name)} -> {fresh.get(name)}"
        for name in old | fresh
        if old.get(name) != fresh.get(name)
    )


def _settings(result: Result) -> dict[str, Any]:
    """What a number depends on, flat; the commit and the date are expected to differ."""
    config = result.config.model_dump(mode="json")
    model, evaluation = config.pop("model"), config.pop("evaluation")
    for name in ("implementations", "devices", "batch_sizes", "rounds", "baseline"):
        config.pop(name)  # these choose the rows, which are joined, and how often they are timed
    machine = result.environment.model_dump(mode="json")
    for name in ("git_commit", "git_dirty", "rnn_bench", "threads"):
        machine.pop(name)
    precision: dict[str, Any] = machine.pop("precision")
    tested = {f"evaluation {name}": value for name, value in evaluation.items()}
    settings: dict[str, Any] = precision | machine | tested | model | config
    return settings
