"""The arms of a run and what is known of each: from blocks to rows of the file. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Literal

from bench import limits, statistics
from bench.config import CaseKey, RunConfig
from bench.messages import CANARY, Arm, Block, DeviceWork, Prepared
from bench.schema import (
    Canary,
    Case,
    Ceilings,
    Control,
    Flag,
    Limit,
    Result,
    Sample,
    Throughput,
    WarmUp,
)


@dataclass(slots=True)
class Row:
    """What was found out about one arm so far."""

    steps: int = 1
    forced: tuple[bool, ...] = ()
    warm_ups: list[WarmUp] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    peak_memory_bytes: int | None = None
    memory_is_known: bool = False
    device_work: DeviceWork | None = None
    device_was_asked: bool = False
    output_error: float | None = None
    limit: Limit | None = None  # of an earlier attempt
    is_open: bool = True


class Arms:
    """Every open case's rows, the A/A control of each device, and the canaries.

    Args:
        config: of the run.
        cases: those to be timed.
    """

    def __init__(self, config: RunConfig, cases: list[Case]) -> None:
        self._config = config
        self._rows = {arm: Row() for arm in _planned(config, cases)}
        self._ceilings: dict[tuple[str, int], Ceilings] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def take_over(self, earlier: Result) -> None:
        """Go on from what an earlier attempt had sampled."""
        for arm in _beside_cases(earlier):  # also where no case is open any more
            self._rows.setdefault(arm, Row(is_open=False))
        for arm, row in self._rows.items():
            for found in _throughputs(earlier, arm):
                if found.key == (arm.workload, arm.batch_size, arm.threads):
                    _restore(row, found)
            for canary in earlier.canaries if arm.kind == CANARY else ():
                if canary.device == arm.device:
                    row.samples = [_unflagged(sample) for sample in canary.samples]
        self._ceilings = {(found.device, found.threads): found for found in earlier.ceilings}

    def open(self) -> Iterator[Arm]:
        """The arms that are still sampled; one may be closed meanwhile."""
        return (arm for arm in list(self._rows) if self.is_open(arm))

    def is_open(self, arm: Arm) -> bool:
        """Whether an arm is still sampled."""
        return self._rows[arm].is_open

    def any_case_open(self) -> bool:
        """Whether there is anything left to find out."""
        return any(arm.kind == "case" for arm in self.open())

    def close(self, arm: Arm) -> None:
        """Sample it no more."""
        self._rows[arm].is_open = False

    def close_case(self, arm: Arm) -> None:
        """Sample no arm of the same case any more, its control among them."""
        for other in self.of_case(*arm.case):
            self.close(other)

    def of_case(self, implementation: str, device: str, hidden_size: int) -> list[Arm]:
        """The open arms of one case, its control among them."""
        return [arm for arm in self.open() if arm.case == (implementation, device, hidden_size)]

    def prepared(self, arm: Arm, process: int, prepared: Prepared) -> None:
        """An arm was warmed up."""
        row = self._rows[arm]
        row.steps, row.forced = prepared.steps, prepared.forced
        row.warm_ups.append(
            WarmUp(
                process=process,
                first_call_seconds=prepared.first_call_seconds,
                seconds=prepared.seconds,
                windows=prepared.windows,
                agreed=prepared.agreed,
                calls_per_sample=prepared.calls_per_sample,
            )
        )

    def needs_memory(self, arm: Arm) -> bool:
        """Whether its memory is still to be measured: once a run is enough."""
        return arm.kind == "case" and not self._rows[arm].memory_is_known

    def memory(self, arm: Arm, peak_bytes: int | None) -> None:
        """An arm's memory was measured."""
        self._rows[arm].peak_memory_bytes = peak_bytes
        self._rows[arm].memory_is_known = True

    def needs_device_work(self, arm: Arm) -> bool:
        """Whether its GPU is still to be asked what it does in a call: once a run is enough."""
        if arm.kind != "case" or arm.device == "cpu":
            return False
        return not self._rows[arm].device_was_asked

    def device_work(self, arm: Arm, found: DeviceWork | None) -> None:
        """An arm's GPU was asked; None: it did not tell."""
        self._rows[arm].device_work, self._rows[arm].device_was_asked = found, True

    def ceilings(self, found: Ceilings) -> None:
        """A process measured what a device can do on so many threads; the best of all counts."""
        key = found.device, found.threads
        known = self._ceilings.get(key)
        self._ceilings[key] = limits.best(known, found) if known else found

    def sampled(self, arm: Arm, process: int, round_index: int, block: Block) -> None:
        """An arm had its turn."""
        flags: tuple[Flag, ...] = ("throttled",) if block.throttled else ()
        row = self._rows[arm]
        row.samples.append(
            Sample(process=process, round=round_index, seconds=block.seconds, flags=flags)
        )
        if block.joules_per_call is not None:
            row.joules.append(block.joules_per_call)

    def rechecked(self, arm: Arm, error: float) -> None:
        """What an arm's timed calls computed was compared; the largest error counts."""
        row = self._rows[arm]
        row.output_error = max(error, row.output_error or 0.0)

    def too_fast(self) -> Iterator[tuple[Arm, Throughput]]:
        """The cases' arms that took clearly less than their work takes on this machine."""
        for arm in self._of("case"):
            found = self._throughput(arm)
            if found.limit and found.seconds < limits.IMPOSSIBLE * found.limit.seconds:
                yield arm, found

    def timed_cases(self) -> Iterator[CaseKey]:
        """The keys of the cases that have samples."""
        yield from dict.fromkeys(arm.case for arm in self._of("case"))

    def throughput(
        self, implementation: str, device: str, hidden_size: int
    ) -> tuple[Throughput, ...]:
        """A case's rows so far."""
        return self._throughputs("case", (implementation, device, hidden_size))

    def controls(self) -> tuple[Control, ...]:
        """The A/A arms so far."""
        found = dict.fromkeys(arm.case for arm in self._of("control"))
        return tuple(
            Control(
                implementation=implementation,
                device=device,
                hidden_size=hidden_size,
                throughput=self._throughputs("control", (implementation, device, hidden_size)),
            )
            for implementation, device, hidden_size in found
        )

    def canaries(self) -> tuple[Canary, ...]:
        """The canaries so far."""
        return tuple(
            Canary(device=arm.device, samples=_flagged(self._rows[arm].samples))
            for arm in self._of(CANARY)
        )

    def ceilings_found(self) -> tuple[Ceilings, ...]:
        """The ceilings so far."""
        return tuple(self._ceilings.values())

    def _of(self, kind: str) -> Iterator[Arm]:
        return (arm for arm, row in self._rows.items() if arm.kind == kind and row.samples)

    def _throughputs(self, kind: str, case: CaseKey) -> tuple[Throughput, ...]:
        return tuple(self._throughput(arm) for arm in self._of(kind) if arm.case == case)

    def _throughput(self, arm: Arm) -> Throughput:
        row = self._rows[arm]
        samples = _flagged(row.samples)
        return Throughput(
            workload=arm.workload,
            batch_size=arm.batch_size,
            threads=arm.threads,
            steps=row.steps,
            first_call_seconds=median(warm.first_call_seconds for warm in row.warm_ups),
            warm_ups=tuple(row.warm_ups),
            samples=samples,
            steps_per_second=statistics.rate(samples, row.steps * arm.batch_size),
            noise=statistics.noise(samples),
            output_error=row.output_error,
            limit=self._limit(arm),
            peak_memory_bytes=row.peak_memory_bytes,
            joules_per_call=fmean(row.joules) if row.joules else None,
            device_seconds=row.device_work.seconds if row.device_work else None,
            device_operations=row.device_work.operations if row.device_work else None,
        )

    def _limit(self, arm: Arm) -> Limit | None:
        row, ceilings = self._rows[arm], self._ceilings.get((arm.device, arm.threads))
        if ceilings is None or not row.forced:
            return row.limit
        model, dtype = self._config.model_of(arm.hidden_size), self._config.dtype
        return limits.limit(model, arm.workload, arm.batch_size, row.forced, dtype, ceilings)


def control_of(config: RunConfig, names: list[str]) -> str | None:
    """Who is timed twice: the baseline, or the first there is in a run without it."""
    return config.baseline if config.baseline in names else next(iter(names), None)


def _planned(config: RunConfig, cases: list[Case]) -> Iterator[Arm]:
    cells = [
        (name, size, threads)
        for name, sizes in config.batch_sizes.items()
        for size in sizes
        for threads in config.threads
    ]

    def arms(kind: Literal["case", "control"], case: Case) -> Iterator[Arm]:
        return (Arm(kind, *case.key, *cell) for cell in cells if _can(case, cell[0]))

    for case in cases:
        yield from arms("case", case)
    for key in dict.fromkeys(case.key[1:] for case in cases):
        there = [case for case in cases if case.key[1:] == key]
        there.sort(key=lambda case: not case.trainable)  # who can do all is the better control
        control = control_of(config, [case.implementation for case in there])
        for case in there:
            if case.implementation == control:
                yield from arms("control", case)
    for device in dict.fromkeys(case.device for case in cases):
        yield _canary(device, config)


def _canary(device: str, config: RunConfig) -> Arm:
    """The first count of threads tells the machine's pace; another would tell it again."""
    return Arm("canary", CANARY, device, 0, CANARY, 1, config.threads[0])


def _can(case: Case, workload: str) -> bool:
    return workload == "sequence" or (
        case.closed_loop and (case.differentiable or workload != "train_step")
    )


def _beside_cases(result: Result) -> Iterator[Arm]:
    """The controls and canaries that have samples."""
    for control in result.controls:
        for found in control.throughput:
            yield Arm("control", *control.key, *found.key)
    for canary in result.canaries:
        yield _canary(canary.device, result.config)


def _throughputs(result: Result, arm: Arm) -> tuple[Throughput, ...]:
    holders: tuple[Case | Control, ...] = ()
    if arm.kind != CANARY:
        holders = result.cases if arm.kind == "case" else result.controls
    return tuple(row for holder in holders if holder.key == arm.case for row in holder.throughput)


def _restore(row: Row, found: Throughput) -> None:
    row.steps, row.warm_ups = found.steps, list(found.warm_ups)
    row.samples = [_unflagged(sample) for sample in found.samples]
    row.peak_memory_bytes = found.peak_memory_bytes
    row.memory_is_known = True
    if found.device_seconds is not None and found.device_operations is not None:
        # Where it is not known the earlier attempt may have been cut short before it asked.
        row.device_work = DeviceWork(found.device_seconds, found.device_operations)
        row.device_was_asked = True
    row.output_error = found.output_error
    row.limit = found.limit
    if found.joules_per_call is not None:
        row.joules = [found.joules_per_call] * len(found.samples)


def _flagged(samples: list[Sample]) -> tuple[Sample, ...]:
    """The samples, those beyond the fences flagged: which these are changes with every sample."""
    return tuple(
        sample.model_copy(update={"flags": ("outlier", *sample.flags)}) if beyond else sample
        for sample, beyond in zip(samples, statistics.outliers(samples), strict=True)
    )


def _unflagged(sample: Sample) -> Sample:
    flags = tuple(flag for flag in sample.flags if flag != "outlier")
    return sample.model_copy(update={"flags": flags})
