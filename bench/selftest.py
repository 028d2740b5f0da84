"""The harness tests itself: does it tell slower code from code that is the same?

Two pools of runs of the hand-written cell, ``generate`` at batch 1, on this machine as it is:

- ``quick`` runs of it alone. `compare` must not say faster or slower of random pairs of them.
- ``default`` runs of it beside a version that takes 5 % longer (`bench.slowed`). The 95 % interval
  of the ratio must lie wholly beyond the margin of `compare`, and must hold the true ratio.

In every run of both the A/A control's two arms must not lie beyond that margin. All are counted
from the same runs, so the pairs are not independent of each other.
"""

import math
import random
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Literal, Protocol

from pydantic import Field, ValidationError

from bench import records, statistics
from bench.arms import Arms
from bench.clock import Stopwatch, now
from bench.compare import compare
from bench.config import PRESETS, RunConfig, StrictModel, WorkloadName, validated
from bench.errors import BenchError
from bench.messages import Arm
from bench.observed import Key, Observed, Timed
from bench.remote import Remote, Start
from bench.schema import Case, Environment, Natural, Result
from bench.slowed import TRUE_RATIO
from bench.timing import Timing
from impls import Entry

PLAIN, SLOWED = "manual_cell", "manual_cell_slowed"
ENTRIES = {
    PLAIN: Entry("impls.manual_cell:ManualCell", "the code under test"),
    SLOWED: Entry("bench.slowed:SlowedCell", "the same, and busy for 5 % of its time more"),
}
WORKLOAD: WorkloadName = "generate"
BATCH_SIZE = 1


class SelfTestConfig(StrictModel):
    """What to do: ``runs`` in each pool, ``pairs`` of them compared."""

    device: str = "cpu"
    runs: Annotated[int, Field(ge=2, le=10_000)] = 40
    pairs: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    threads: Annotated[int, Field(ge=1)] = 1


Logs = dict[int, float]


class PooledRun(StrictModel):
    """One run, by process: log seconds of one call, and how far two arms lie apart.

    ``plain``, ``slowed`` and ``canary`` are log seconds; ``control_apart`` and ``slowed_apart`` the
    median logs, round by round, of that arm over the plain one.
    """

    preset: Literal["quick", "default"]
    plain: Logs = Field(min_length=1)
    canary: Logs = Field(min_length=1)
    control_apart: Logs = Field(min_length=1)
    slowed: Logs | None = None
    slowed_apart: Logs | None = None


class SelfTest(StrictModel):
    """A self-test's file."""

    kind: Literal["selftest"] = "selftest"
    schema_version: Literal[1] = 1
    created_at: str
    seconds: Natural
    config: SelfTestConfig
    environment: Environment
    true_ratio: Natural
    pool: tuple[PooledRun, ...]


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened: ``count`` of ``of``."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """As a fraction."""
        return self.count / self.of if self.of else math.nan


@dataclass(frozen=True, slots=True)
class Rates:
    """What a self-test found.

    ``false_files``, ``false_arms``: identical code called faster or slower, between two files and
    between the two arms of one. ``power_arms``, ``power_files``: 5 % slower code called slower;
    ``wrong_files``: called the same, or faster.
    ``coverage_arms``: 95 % intervals of the ratio within a run that hold the true one.
    ``half_arms``, ``half_files``: the median half width of these intervals, in log seconds.
    """

    false_files: Rate
    false_arms: Rate
    power_arms: Rate
    power_files: Rate
    wrong_files: Rate
    coverage_arms: Rate
    half_arms: float
    half_files: float


def configured(
    devices: tuple[str, ...], runs: int, pairs: int, seed: int, threads: int
) -> SelfTestConfig:
    """Check the options.

    Raises:
        BenchError: another device than the CPU, or a number out of range.
    """
    # On a GPU `bench.slowed` would be busy while the GPU still works: no one knows the true ratio.
    if devices != ("cpu",):
        raise BenchError(f"selftest runs on the CPU: --device cpu, got {','.join(devices)}")
    validated({"threads": (threads,), "seed": seed})
    try:
        return SelfTestConfig(device=devices[0], runs=runs, pairs=pairs, seed=seed, threads=threads)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}"
        raise BenchError(f"{option}: {first['msg']}, got {first['input']!r}") from None


class Watcher(Protocol):
    """Whom a self-test tells how far it is."""

    def start(self, stage: str, total: int) -> None:
        """A stage of ``total`` steps begins."""

    def advance(self) -> None:
        """One step is done."""


def execute(config: SelfTestConfig, watcher: Watcher, *, start: Start = Remote) -> SelfTest:
    """Make both pools.

    Raises:
        BenchError: no worker starts, or the code under test fails.
    """
    watch, created_at = Stopwatch(), now()
    pool: list[PooledRun] = []
    with tempfile.TemporaryDirectory(prefix="rnn-bench-") as folder:
        path = Path(folder) / "run.json"
        runner = _Runner(config, path, start)
        for preset in ("quick", "default"):
            watcher.start(f"{preset} runs", config.runs)
            for number in range(config.runs):
                pool.append(runner.run(preset, config.seed + number))
                watcher.advance()
    return SelfTest(
        created_at=created_at,
        seconds=watch.seconds(),
        config=config,
        environment=runner.environment,
        true_ratio=TRUE_RATIO,
        pool=tuple(pool),
    )


def load(path: Path) -> SelfTest:
    """Read a saved self-test.

    Raises:
        BenchError: it is none, or damaged.
    """
    text = records.read(path)
    head = records.from_json(path, text)
    if not isinstance(head, dict) or head.get("kind") != "selftest":
        raise BenchError(f"{path} is not a file of the self-test: its kind is not selftest")
    try:
        return SelfTest.model_validate_json(text)
    except ValidationError as error:
        raise BenchError(records.problem(path, error)) from None


def judge(test: SelfTest) -> Rates:
    """Count what the harness says about the pools."""
    quick = [run for run in test.pool if run.preset == "quick"]
    default = [run for run in test.pool if run.preset == "default"]
    rng = random.Random(test.config.seed)  # noqa: S311 - pairs of files, not a secret
    same = [compare_files(*rng.sample(quick, 2)) for _ in range(test.config.pairs)]
    slower = [compare_files(*rng.sample(default, 2), slowed=True) for _ in range(test.config.pairs)]
    arms = [_interval(run.control_apart) for run in test.pool]
    slowed = [(run, _interval(run.slowed_apart)) for run in default if run.slowed_apart]
    truth = math.log(test.true_ratio)
    return Rates(
        false_files=_rate(verdict in ("faster", "slower") for verdict, _ in same),
        false_arms=_rate(
            statistics.verdict(change, statistics.SMALLEST_MARGIN) in ("faster", "slower")
            for change in arms
        ),
        power_arms=_rate(
            statistics.verdict(change, _margin(run)) == "slower" for run, change in slowed
        ),
        power_files=_rate(verdict == "slower" for verdict, _ in slower),
        wrong_files=_rate(verdict in ("same", "faster") for verdict, _ in slower),
        coverage_arms=_rate(change.low <= truth <= change.high for _, change in slowed),
        half_arms=_median(change.half for _, change in slowed),
        half_files=_median(half for _, half in slower),
    )


def compare_files(
    base: PooledRun, new: PooledRun, *, slowed: bool = False
) -> tuple[str, float | None]:
    """The verdict on one run against another, and the half width of its interval."""
    [comparison] = compare(_observed(base, base.plain), [
        _observed(new, new.slowed if slowed and new.slowed else new.plain)
    ])  # fmt: skip
    [row] = comparison.throughput
    half = None if row.low is None or row.high is None else math.log(row.high / row.low) / 2.0
    return row.verdict, half


_KEY = Key(PLAIN, "", "", "", "", WORKLOAD, BATCH_SIZE)


def _observed(run: PooledRun, logs: Logs) -> Observed:
    return Observed(
        name="",
        machine={},
        rows={_KEY: Timed(logs, work=None, conditions={}, floor=_floor(run))},
        canary={"": run.canary},
    )


def _interval(logs: Logs) -> statistics.Interval:
    return statistics.mean(list(logs.values()))


def _floor(run: PooledRun) -> float:
    return abs(_interval(run.control_apart).mean)


def _margin(run: PooledRun) -> float:
    return max(statistics.SMALLEST_MARGIN, _floor(run))


def _rate(happened: Iterable[bool]) -> Rate:
    found = list(happened)
    return Rate(sum(found), len(found))


def _median(values: Iterable[float | None]) -> float:
    found = [value for value in values if value is not None]
    return median(found) if found else math.nan


class _Runner:
    """Makes the runs: a file each, written and read like any other."""

    def __init__(self, config: SelfTestConfig, path: Path, start: Start) -> None:
        self._config, self._path, self._start = config, path, start
        worker = start(self._run_config("quick", 0), ENTRIES)
        try:
            self.environment: Environment = worker.ask("environment")
        finally:
            worker.close()

    def run(self, preset: Literal["quick", "default"], seed: int) -> PooledRun:
        """One run, and what its file says."""
        config = self._run_config(preset, seed)
        names = [PLAIN] if preset == "quick" else [PLAIN, SLOWED]
        records.save(self._timed(config, names), self._path)
        found = records.load(self._path)
        samples = {case.implementation: case.throughput[0].samples for case in found.cases}
        [control], [canary] = found.controls, found.canaries
        plain, slowed = samples[PLAIN], samples.get(SLOWED)
        return PooledRun(
            preset=preset,
            plain=statistics.by_process(plain),
            canary=statistics.by_process(canary.samples),
            control_apart=statistics.apart(plain, control.throughput[0].samples),
            slowed=statistics.by_process(slowed) if slowed else None,
            slowed_apart=statistics.apart(plain, slowed) if slowed else None,
        )

    def _timed(self, config: RunConfig, names: list[str]) -> Result:
        cases = [
            Case(
                implementation=name,
                device=self._config.device,
                dtype=config.dtype,
                model=config.model,
                task=config.task,
                status="ok",
            )
            for name in names
        ]
        arms = Arms(config, cases)
        timing = Timing(
            config,
            arms,
            lambda: self._start(config, ENTRIES),
            _Strict(),
            tolerance=lambda _: math.inf,
            with_ceilings=False,
        )
        timing.execute()
        return Result(
            created_at=now(),
            config=config,
            environment=self.environment,
            cases=tuple(
                case.model_copy(update={"throughput": arms.throughput(*case.key)}) for case in cases
            ),
            controls=arms.controls(),
            canaries=arms.canaries(),
            processes=tuple(timing.processes.values()),
        )

    def _run_config(self, preset: str, seed: int) -> RunConfig:
        return RunConfig(
            implementations=(PLAIN,),
            devices=(self._config.device,),
            seed=seed % 2**32,
            batch_sizes={WORKLOAD: (BATCH_SIZE,)},
            processes=PRESETS[preset].processes,
            rounds=PRESETS[preset].rounds,
            sampling_seconds=PRESETS[preset].seconds,
            threads=(self._config.threads,),
            baseline=PLAIN,
        )


class _Strict:
    """Whatever goes wrong in a self-test ends it: its implementations are known to be right."""

    def failed(self, arm: Arm, reason: str) -> None:
        raise BenchError(f"selftest: {arm.implementation}: {reason}")

    wrong = failed

    def advance(self) -> None:
        pass

    def save(self) -> None:
        pass
