"""The result file: its models, schema version, loading and atomic saving.

The only place that touches JSON.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bench.config import RunConfig, StrictModel
from bench.errors import BenchError
from impls import GeneratorConfig

SCHEMA_VERSION = 1
LARGEST_FILE_BYTES = 100_000_000

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
    cores: int
    memory_bytes: int
    gpu: tuple[str, ...]
    threads: int
    git_commit: str | None
    git_dirty: bool | None
    precision: dict[str, str]


class Parity(StrictModel):
    """Agreement with the float64 reference; an error is None where it was not a number."""

    output_error: float | None
    gradient_error: float | None
    tolerance: float
    passed: bool
    reason: str | None = None


class Training(StrictModel):
    """One training; ``loss`` holds one value an iteration."""

    recipe: str
    seed: int
    iterations: int
    seconds: float
    loss: tuple[float, ...]


class ErrorSummary(StrictModel):
    """Squared errors after the warm-up, over the sequences of the test set.

    ``mse_per_step`` is the mean over the sequences at each step after the warm-up.
    """

    mse_mean: float
    mse_median: float
    mse_p95: float
    mse_best: float
    mse_worst: float
    best_index: int
    worst_index: int
    mse_per_step: tuple[float, ...]


class Trajectory(StrictModel):
    """One sequence of the test set: its true targets and what was predicted for them."""

    target: tuple[float, ...]
    prediction: tuple[float, ...]


class Accuracy(ErrorSummary):
    """A trained implementation's errors, each sequence's own, and the two that stand out."""

    mse_per_sequence: tuple[float, ...]
    best: Trajectory
    worst: Trajectory


class Baselines(StrictModel):
    """What trivial predictors get on the same test set."""

    zero: ErrorSummary
    repeat: ErrorSummary
    recurrence: ErrorSummary


class Sample(StrictModel):
    """One timed block: seconds of one call, the mean over the calls of the block."""

    process: int
    round: int
    seconds: float = Field(gt=0.0)


class Estimate(StrictModel):
    """The median of the samples, and the slowest and fastest of them."""

    estimate: float
    low: float
    high: float


class Throughput(StrictModel):
    """One workload at one batch size. Rates count sequence-steps: T x B over a call's seconds."""

    workload: str
    batch_size: int
    steps: int = Field(ge=1)
    first_call_seconds: float
    calls_per_sample: int
    samples: tuple[Sample, ...]
    steps_per_second: Estimate
    noise: float
    output_error: float
    peak_memory_bytes: int | None


class Case(StrictModel):
    """One implementation on one device, with everything that was found out about it."""

    implementation: str
    device: str
    dtype: str
    model: GeneratorConfig
    task: str
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
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BenchError(
            f"{path} has schema version {version}, newer than the {SCHEMA_VERSION} that this "
            "rnn-bench reads; upgrade rnn-bench"
        )
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
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
