"""The result file: its models, schema version, loading and atomic saving.

The only place that touches JSON.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from bench.config import RunConfig, StrictModel
from bench.errors import BenchError
from impls import GeneratorConfig

SCHEMA_VERSION = 1
LARGEST_FILE_BYTES = 100_000_000

# What comes from somebody else's file must be able to name a file and a row, and nothing else.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]
Positive = Annotated[float, Field(gt=0.0, le=1e30)]
Natural = Annotated[float, Field(ge=0.0, le=1e300)]
Count = Annotated[int, Field(ge=1, le=10**12)]
Index = Annotated[int, Field(ge=0, le=10**12)]

Status = Literal["pending", "ok", "unsupported", "failed"]


class Environment(StrictModel):
    """The machine and its software: no host name, no user name, no path."""

    rnn_bench: str
    python: str
    torch: str
    numpy: str
    cuda: str | None
    cudnn: str | None
    os: str
    cpu: str
    cores: Count
    memory_bytes: int
    gpu: tuple[str, ...]
    threads: Count
    git_commit: str | None
    git_dirty: bool | None
    precision: dict[str, str]


class Parity(StrictModel):
    """Agreement with the float64 reference; an error is None where it was not a number."""

    output_error: Natural | None
    gradient_error: Natural | None
    tolerance: Positive
    passed: bool
    reason: str | None = None


class Training(StrictModel):
    """One training; ``loss`` holds one value an iteration."""

    recipe: str
    seed: int
    iterations: Count
    seconds: Natural
    loss: tuple[Natural, ...] = Field(min_length=1)


class ErrorSummary(StrictModel):
    """Squared errors after the warm-up, over the sequences of the test set.

    ``mse_per_step`` is the mean over the sequences at each step after the warm-up.
    """

    mse_mean: Natural
    mse_median: Natural
    mse_p95: Natural
    mse_best: Natural
    mse_worst: Natural
    best_index: Index
    worst_index: Index
    mse_per_step: tuple[Natural, ...] = Field(min_length=1)


class Trajectory(StrictModel):
    """One sequence of the test set: its true targets and what was predicted for them."""

    target: tuple[float, ...] = Field(min_length=1)
    prediction: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.target) != len(self.prediction):
            raise ValueError("target and prediction must have as many steps")
        return self


class Accuracy(ErrorSummary):
    """A trained implementation's errors, each sequence's own, and the two that stand out."""

    mse_per_sequence: tuple[Natural, ...] = Field(min_length=1)
    best: Trajectory
    worst: Trajectory


class Baselines(StrictModel):
    """What trivial predictors get on the same test set."""

    zero: ErrorSummary
    repeat: ErrorSummary
    recurrence: ErrorSummary

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        summaries = (self.zero, self.repeat, self.recurrence)
        if len({len(summary.mse_per_step) for summary in summaries}) > 1:
            raise ValueError("mse_per_step must have as many steps in every baseline")
        return self


class Sample(StrictModel):
    """One timed block: seconds of one call, the mean over the calls of the block."""

    process: Index
    round: Index
    seconds: Positive


class Estimate(StrictModel):
    """The median of the samples, and the slowest and fastest of them."""

    estimate: Positive
    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self.estimate <= self.high:
            raise ValueError("low, estimate and high must not fall")
        return self


class Throughput(StrictModel):
    """One workload at one batch size. Rates count sequence-steps: T x B over a call's seconds."""

    workload: Name
    batch_size: Count
    steps: Count
    first_call_seconds: Natural
    calls_per_sample: Count
    samples: tuple[Sample, ...] = Field(min_length=1)
    steps_per_second: Estimate
    noise: Natural
    output_error: Natural | None
    peak_memory_bytes: int | None


class Case(StrictModel):
    """One implementation on one device, with everything that was found out about it."""

    implementation: Name
    device: Name
    dtype: Name
    model: GeneratorConfig
    task: Name
    status: Status
    reason: str | None = None
    weights_digest: str | None = None
    parity: Parity | None = None
    training: Training | None = None
    accuracy: Accuracy | None = None
    throughput: tuple[Throughput, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What tells the cases of one run apart."""
        return self.implementation, self.device


class Result(StrictModel):
    """A whole result file."""

    schema_version: Literal[1] = 1
    created_at: str
    config: RunConfig
    environment: Environment
    cases: tuple[Case, ...]
    baselines: Baselines | None = None


def load(path: Path) -> Result:
    """Read a result file.

    Raises:
        BenchError: missing, unreadable, too large, empty, not JSON or cut short, of a newer schema,
            or with a field of the wrong type, which is named.
    """
    text = _read(path)
    try:
        head = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not JSON, or was cut short: {error}") from None
    if not isinstance(head, dict) or "schema_version" not in head:
        raise BenchError(f"{path} is not a result file: it has no schema_version")
    version = head["schema_version"]
    if type(version) is int and version > SCHEMA_VERSION:
        raise BenchError(
            f"{path} has schema version {version}, newer than the {SCHEMA_VERSION} that this "
            "rnn-bench reads; upgrade rnn-bench"
        )
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        if not field:
            raise BenchError(f"{path} is not a result file: {problem['msg']}") from None
        found = repr(problem["input"])
        found = found if len(found) <= 60 else found[:57] + "..."
        raise BenchError(f"{path}: field {field}: {problem['msg']}, got {found}") from None


def save(result: Result, path: Path) -> None:
    """Write a result file whole or not at all, whatever happens meanwhile.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    text = dumps(result.model_dump(mode="json")) + "\n"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would keep a colleague from reading it
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def dumps(value: Any, indent: int = 0) -> str:
    """JSON that people can read and diff: objects spread out, lists of numbers on one line."""
    pad, inner = " " * indent, " " * (indent + 1)
    if isinstance(value, dict) and value:
        items = (f"{inner}{json.dumps(k)}: {dumps(v, indent + 1)}" for k, v in value.items())
        return "{\n" + ",\n".join(items) + f"\n{pad}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, dict | list) for item in value):
        items = (inner + dumps(item, indent + 1) for item in value)
        return "[\n" + ",\n".join(items) + f"\n{pad}]"
    return json.dumps(value, allow_nan=False)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise BenchError(f"{path} is larger than {LARGEST_FILE_BYTES // 1_000_000} MB")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BenchError(f"there is no result file {path}") from None
    except IsADirectoryError:
        raise BenchError(f"{path} is a folder; name a result file in it") from None
    except UnicodeDecodeError:
        raise BenchError(f"{path} is not JSON: it is not text in UTF-8") from None
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from None
    if not text.strip():
        raise BenchError(f"{path} is empty; a result file holds JSON")
    return text
