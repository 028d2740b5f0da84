"""What a result file holds: one definition gives validation, errors that name the field, a schema.

Times are seconds of one call, sizes bytes; rates count sequence-steps, T x B over a call's seconds.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bench.config import CaseKey, RunConfig, StrictModel
from impls import GeneratorConfig

SCHEMA_VERSION = 5

# What comes from somebody else's file must be able to name a file and a row, and nothing else.
NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Positive = Annotated[float, Field(gt=0.0, le=1e30)]
Natural = Annotated[float, Field(ge=0.0, le=1e300)]
Count = Annotated[int, Field(ge=1, le=10**12)]
Index = Annotated[int, Field(ge=0, le=10**12)]
Size = Annotated[int, Field(ge=0, le=10**18)]

Status = Literal["pending", "ok", "unsupported", "failed"]


class Gpu(StrictModel):
    """One GPU as its driver describes it at the start of a run; None is what it does not tell."""

    name: str
    driver: str | None = None
    memory_bytes: Size | None = None
    sm_clock_hertz: Index | None = None
    max_sm_clock_hertz: Index | None = None
    memory_clock_hertz: Index | None = None
    power_watts: Natural | None = None
    power_limit_watts: Natural | None = None
    throttle_reasons: tuple[str, ...] = ()


class Environment(StrictModel):
    """The machine and its software: no host name, no user name, no path.

    ``threads`` is the first count of the run: that of parity, training and evaluation.

    ``caches`` maps L1d, L2, L3 to bytes; ``load_average`` is that of the last minute, at the start.
    None is what this system does not tell.
    """

    rnn_bench: str
    python: str
    torch: str
    numpy: str
    cuda: str | None
    cudnn: str | None
    os: str
    cpu: str
    cores: Count
    physical_cores: Count | None = None
    caches: dict[str, Count] = Field(default_factory=dict)
    governor: str | None = None
    load_average: Natural | None = None
    memory_bytes: Size
    gpu: tuple[Gpu, ...]
    threads: Count
    interop_threads: Count | None = None
    git_commit: str | None
    git_dirty: bool | None
    precision: dict[str, str]

    def unlike(self, other: "Environment", *, of_a_kind: bool = False) -> str | None:
        """The first field in which another machine or its software differs, if any does.

        What passes, such as the load or a GPU's temperature, is no difference; nor is, where a
        machine of the same kind will do, what two nodes of a cluster have a little more or less of.
        """
        passing = {"load_average", "gpu"}
        if of_a_kind:
            passing |= {"memory_bytes", "governor", "interop_threads"}
        mine, others = (each.model_dump(exclude=passing) for each in (self, other))
        for name, value in mine.items():
            if value != others[name]:
                return name
        return "gpu" if [g.name for g in self.gpu] != [g.name for g in other.gpu] else None


class Parity(StrictModel):
    """Agreement with the float64 reference.

    An error is None where it was not a number, which fails. Who passes without a
    ``gradient_error`` computes no gradients. ``precision`` is what the implementation says that it
    multiplies in, where that is less than its dtype. Where
    ``closed_loop`` is False no free step was looked at, for the implementation runs none.
    """

    output_error: Natural | None
    gradient_error: Natural | None
    tolerance: Positive
    precision: Name | None = None
    passed: bool
    reason: str | None = None
    closed_loop: bool = True


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
    """One sequence of the test set: its true targets and what was predicted for them.

    The first feature of each, up to the last step that is judged. ``inputs`` is what was read,
    every feature, of a task that judges something else than all steps after a warm-up.
    """

    target: tuple[float, ...] = Field(min_length=1)
    prediction: tuple[float, ...] = Field(min_length=1)
    inputs: tuple[tuple[float, ...], ...] | None = None

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.target) != len(self.prediction):
            raise ValueError("target and prediction must have as many steps")
        return self


class Answers(StrictModel):
    """Targets and predictions of a task with one judged step a sequence.

    Each a tuple of the features that are judged, which hold a number for every sequence.
    """

    target: tuple[tuple[float, ...], ...] = Field(min_length=1)
    prediction: tuple[tuple[float, ...], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if [*map(len, self.target)] != [*map(len, self.prediction)]:
            raise ValueError("target and prediction must have as many numbers")
        return self


class Accuracy(ErrorSummary):
    """A trained implementation's errors, each sequence's own, and the two that stand out.

    ``forced_steps``: the task's own; None: the evaluation's warm-up.
    """

    mse_per_sequence: tuple[Natural, ...] = Field(min_length=1)
    best: Trajectory
    worst: Trajectory
    forced_steps: Count | None = None
    answers: Answers | None = None


def _as_many_steps(baselines: dict[str, ErrorSummary]) -> dict[str, ErrorSummary]:
    if len({len(summary.mse_per_step) for summary in baselines.values()}) > 1:
        raise ValueError("mse_per_step must have as many steps in every baseline")
    return baselines


# What the task's trivial predictors get on the same test set, by their names.
Baselines = Annotated[dict[Name, ErrorSummary], Field(min_length=1), AfterValidator(_as_many_steps)]


Flag = Literal["outlier", "throttled"]


class Sample(StrictModel):
    """One timed block: seconds of one call, the mean over the calls of the block.

    ``process`` and ``round`` say when it was taken. Flagged samples count like all others:
    ``outlier`` lies beyond the fences, ``throttled`` was taken while the clock was held back.
    """

    process: Index
    round: Index
    seconds: Positive
    flags: tuple[Flag, ...] = ()


class WarmUp(StrictModel):
    """What one process did before it sampled; ``agreed``: its last two windows did."""

    process: Index
    first_call_seconds: Natural
    seconds: Natural
    windows: Count
    agreed: bool
    calls_per_sample: Count


class Estimate(StrictModel):
    """The mean over processes and its 95 % interval, which one process alone does not give."""

    estimate: Positive
    low: Positive | None
    high: Positive | None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low is None or self.high is None:
            if self.low is not self.high:
                raise ValueError("low and high must both be numbers, or both null")
        elif not self.low <= self.estimate <= self.high:
            raise ValueError("low, estimate and high must not fall")
        return self


Bound = Literal["arithmetic", "memory", "latency"]


class Limit(StrictModel):
    """The least seconds that one call's work takes on this machine, and what bounds it."""

    seconds: Positive
    bound: Bound


class Throughput(StrictModel):
    """One workload at one batch size on so many CPU threads.

    Rates count sequence-steps: T x B over a call's seconds.

    ``noise`` is the standard deviation between processes, as a fraction; ``first_call_seconds``
    the median of the processes' first calls. ``device_seconds`` is how long a GPU itself was at
    work in one call, and ``device_operations`` how many kernels, copies and memsets it was given
    for it; None on the CPU, and where no profiler tells.
    """

    workload: Name
    batch_size: Count
    threads: Count
    steps: Count
    first_call_seconds: Natural
    warm_ups: tuple[WarmUp, ...] = Field(min_length=1)
    samples: tuple[Sample, ...] = Field(min_length=1)
    steps_per_second: Estimate
    noise: Natural | None
    output_error: Natural | None
    limit: Limit | None
    peak_memory_bytes: Size | None
    joules_per_call: Natural | None
    device_seconds: Natural | None
    device_operations: Index | None

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells the rows of one case apart."""
        return self.workload, self.batch_size, self.threads

    @property
    def seconds(self) -> float:
        """Seconds of one call, by the estimate."""
        return self.steps * self.batch_size / self.steps_per_second.estimate


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
    def key(self) -> CaseKey:
        """What tells the cases of one run apart."""
        return self.implementation, self.device, self.model.hidden_size

    @property
    def differentiable(self) -> bool:
        """Whether it can be trained: False once it passed parity without a gradient."""
        return not (self.parity and self.parity.passed and self.parity.gradient_error is None)

    @property
    def closed_loop(self) -> bool:
        """Whether it runs free steps: what it does not run is neither trained nor generates."""
        return self.parity is None or self.parity.closed_loop

    @property
    def trainable(self) -> bool:
        """Whether it can be trained: on the lecture's coin flips, which leave steps free."""
        return self.differentiable and self.closed_loop


class Control(StrictModel):
    """The A/A arm: the baseline once more on one device, timed as if it were another."""

    implementation: Name
    device: Name
    hidden_size: Count
    throughput: tuple[Throughput, ...] = ()

    @property
    def key(self) -> CaseKey:
        """That of the case which it repeats."""
        return self.implementation, self.device, self.hidden_size


class Canary(StrictModel):
    """Plain matrix products on one device, timed in every round: the machine's own pace.

    On the run's first count of threads.
    """

    device: Name
    samples: tuple[Sample, ...] = Field(min_length=1)


class Ceilings(StrictModel):
    """The most that one device did on so many threads in this run: the best of every process.

    ``step_seconds`` is one dependent addition, which every step of a recurrence needs at least;
    None where it was not measured.
    """

    device: Name
    threads: Count
    flops_per_second: Positive
    bytes_per_second: Positive
    cached_bytes_per_second: Positive
    step_seconds: Positive | None


class Process(StrictModel):
    """One fresh process of the timing; ``complete`` when no case ended it and no one cut it short.

    ``busy_seconds`` of its ``seconds`` were spent inside timed and warm-up calls.
    """

    index: Index
    created_at: str
    rounds: Index
    complete: bool
    seconds: Natural
    busy_seconds: Natural


class Result(StrictModel):
    """A whole result file."""

    schema_version: Literal[5] = 5
    created_at: str
    config: RunConfig
    environment: Environment
    cases: tuple[Case, ...]
    controls: tuple[Control, ...] = ()
    canaries: tuple[Canary, ...] = ()
    ceilings: tuple[Ceilings, ...] = ()
    processes: tuple[Process, ...] = ()
    baselines: Baselines | None = None

    @model_validator(mode="after")
    def _each_case_once(self) -> Self:
        if len({case.key for case in self.cases}) < len(self.cases):
            raise ValueError(
                "cases must not have an implementation twice on one device with one hidden size"
            )
        return self
