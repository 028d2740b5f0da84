"""A whole run: parity, training, evaluation, timing; the file is saved after every case of each.

Whatever goes wrong in a case ends that case, with its reason, and the others go on.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from bench import cases, environment, evaluation, measure, parity, records, statistics, workloads
from bench.config import RunConfig
from bench.recipes import RECIPES
from bench.records import Baselines, Case, Result, Sample, Throughput
from bench.training import train
from impls.generator import Generator
from tasks import TASKS, Sequences


class Progress(Protocol):
    """Whom a run tells how far it is."""

    def start(self, stage: str, total: int) -> None:
        """A stage of ``total`` steps begins."""

    def advance(self) -> None:
        """One step is done."""

    def note(self, text: str) -> None:
        """Something worth a line, such as a case that failed."""


@dataclass(slots=True)
class Row:
    """One throughput row in the making."""

    key: tuple[str, str]
    workload: workloads.Workload
    cell: measure.Cell
    ready: measure.Readiness
    peak_memory_bytes: int | None
    samples: list[Sample] = field(default_factory=list)
    outcome: Any = None
    output_error: float | None = None
    failed: bool = False

    def record(self) -> Throughput:
        """The row as the result file holds it."""
        work = self.workload.steps * self.workload.batch_size
        estimate = statistics.rate([sample.seconds for sample in self.samples], work)
        return Throughput(
            workload=self.workload.name,
            batch_size=self.workload.batch_size,
            steps=self.workload.steps,
            first_call_seconds=self.ready.first_call_seconds,
            calls_per_sample=self.ready.calls_per_sample,
            samples=tuple(self.samples),
            steps_per_second=estimate,
            noise=statistics.spread(estimate),
            output_error=self.output_error,
            peak_memory_bytes=self.peak_memory_bytes,
        )


class Run:
    """One run, its file always as complete as the run is.

    Args:
        config: what to do; the names in it are known.
        path: the result file; written at once and after every case.
        progress: told how far the run is.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, config: RunConfig, path: Path, progress: Progress) -> None:
        self.config, self.path, self.progress = config, path, progress
        self.task, self.recipe = TASKS[config.task], RECIPES[config.recipe]
        self._cases = {case.key: case for case in cases.plan(config)}
        self._baselines: Baselines | None = None
        self._untimed: set[tuple[str, str]] = set()  # cases whose timed work was wrong
        self._created_at = measure.now()
        self._environment = environment.describe()
        self._save()

    @property
    def result(self) -> Result:
        """What is known so far."""
        return Result(
            created_at=self._created_at,
            config=self.config,
            environment=self._environment,
            cases=tuple(self._cases.values()),
            baselines=self._baselines,
        )

    def execute(self) -> Result:
        """Do everything; when cut short, save what is finished and let the reason through."""
        try:
            self._execute()
        except BaseException:
            with contextlib.suppress(OSError):  # the first trouble is the one to tell
                self._save()
            raise
        self._save()
        return self.result

    def _execute(self) -> None:
        sequences = evaluation.test_set(self.task, self.config.evaluation)
        self._baselines = evaluation.baselines(self.task, sequences, self.config.evaluation)
        self._check_parity()
        self._train_and_evaluate(sequences)
        self._measure()
        for case in self._open_cases():
            self._update(case.key, status="ok")

    def _check_parity(self) -> None:
        pending = self._open_cases()
        self.progress.start("parity", len(pending))
        for case in pending:
            outcome = _parity(case, self.config.seed)
            self._update(case.key, parity=outcome)
            if not outcome.passed:
                self._fail(case.key, outcome.reason or "parity failed")
            self._save()
            self.progress.advance()

    def _train_and_evaluate(self, sequences: Sequences) -> None:
        iterations = self.config.iterations or self.recipe.iterations
        for case in self._open_cases():
            self.progress.start(f"training {case.implementation} on {case.device}", iterations)
            with self._guarded(case.key, "training"):
                model = cases.create(case, self.config.seed)
                self._update(case.key, weights_digest=cases.weights_digest(model))
                self._train(case, model, iterations)
                accuracy = evaluation.evaluate(model, sequences, self.config.evaluation)
                self._update(case.key, accuracy=accuracy)
            self._save()

    def _train(self, case: Case, model: Generator, iterations: int) -> None:
        outcome = train(
            model,
            self.config.recipe,
            self.recipe,
            self.task,
            self.config.seed,
            iterations=iterations,
            on_iteration=self.progress.advance,
        )
        self._update(case.key, training=outcome)

    def _measure(self) -> None:
        rows = self._warmed_up()
        rounds = self.config.rounds
        self.progress.start("timing", len(rows) * rounds)
        turns = measure.turns(len(rows), rounds, self.config.seed)
        for count, (round_index, index) in enumerate(turns, start=1):
            row = rows[index]
            if not row.failed:
                with self._guarded(row.key, f"timing {row.workload.name}", row):
                    sample, row.outcome = measure.sample(row.cell, row.ready, round_index)
                    row.samples.append(sample)
            self.progress.advance()
            if count % len(rows) == 0:
                self._keep(rows)  # a round is over
        self._recheck(rows)
        self._keep(rows)

    def _warmed_up(self) -> list[Row]:
        sizes = [(name, size) for name, many in self.config.batch_sizes.items() for size in many]
        pending = self._open_cases()
        self.progress.start("warm-up", len(pending) * len(sizes))
        rows: list[Row] = []
        for case in pending:
            with self._guarded(case.key, "timing"):
                model = cases.create(case, self.config.seed)
                for name, size in sizes:
                    with self._guarded(case.key, f"timing {name} at batch {size:,}"):
                        rows.append(self._warm_up(case, model, name, size))
                    self.progress.advance()
        return rows

    def _warm_up(self, case: Case, model: Generator, name: str, batch_size: int) -> Row:
        workload = workloads.build(name, model, self.task, batch_size, self.config.seed)
        cell = measure.Cell(workload.call, cases.target(case).device)
        ready = measure.warm_up(cell)
        return Row(case.key, workload, cell, ready, measure.peak_memory_bytes(cell))

    def _recheck(self, rows: list[Row]) -> None:
        """Hold the outcome of each row's last timed call against the reference.

        An implementation whose timed work was wrong keeps no time at all.
        """
        self.progress.start("checking the timed work", len(rows))
        tolerance = parity.TOLERANCE[getattr(torch, self.config.dtype)]
        for row in rows:
            if row.samples and not row.failed:
                with self._guarded(row.key, "checking the timed work", row):
                    row.output_error = row.workload.error(row.outcome)
                    if row.output_error is not None and not row.output_error <= tolerance:
                        self._fail(row.key, _wrong_work(row))
                        self._untimed.add(row.key)
            self.progress.advance()

    def _keep(self, rows: list[Row]) -> None:
        """Save the samples so far, also those of a case that failed at another batch size."""
        for key in {row.key for row in rows} - self._untimed:
            mine = [row for row in rows if row.key == key and row.samples and not row.failed]
            self._update(key, throughput=tuple(row.record() for row in mine))
        for key in self._untimed:
            self._update(key, throughput=())
        self._save()

    def _is_open(self, key: tuple[str, str]) -> bool:
        return self._cases[key].status == "pending"

    def _open_cases(self) -> list[Case]:
        return [case for case in self._cases.values() if self._is_open(case.key)]

    def _update(self, key: tuple[str, str], **changes: Any) -> None:
        self._cases[key] = self._cases[key].model_copy(update=changes)

    def _fail(self, key: tuple[str, str], reason: str) -> None:
        earlier = self._cases[key].reason  # another batch size may have failed before
        self._update(key, status="failed", reason=f"{earlier}; {reason}" if earlier else reason)
        self.progress.note(f"{key[0]} on {key[1]} failed: {reason}")

    @contextmanager
    def _guarded(self, key: tuple[str, str], stage: str, row: Row | None = None) -> Iterator[None]:
        """Turn whatever an implementation raises into the case's reason; ``row`` ends with it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever an implementation raises is its result
            if row is not None:
                row.failed = True
            own_words = type(error).__module__.startswith("bench.")
            self._fail(key, str(error) if own_words else f"{stage}: {parity.one_line(error)}")

    def _save(self) -> None:
        records.save(self.result, self.path)


def _wrong_work(row: Row) -> str:
    name, error = row.workload.name, row.output_error
    return f"{name} at batch {row.workload.batch_size:,}: error {error:.1e} of the timed work"


def run(
    config: RunConfig,
    path: Path,
    progress: Progress,
    on_start: Callable[[Run], None] = lambda _: None,
) -> Result:
    """Execute a run with its threads and precision pinned; ``on_start`` gets the run itself."""
    with environment.pinned(config.threads):
        current = Run(config, path, progress)
        on_start(current)
        return current.execute()


def check(config: RunConfig) -> tuple[Case, ...]:
    """Parity alone."""
    with environment.pinned(config.threads):
        return tuple(_checked(case, config.seed) for case in cases.plan(config))


def _parity(case: Case, seed: int) -> records.Parity:
    where = cases.target(case)
    return parity.check(case.implementation, case.model, where.device, where.dtype, seed)


def _checked(case: Case, seed: int) -> Case:
    if case.status == "unsupported":
        return case
    outcome = _parity(case, seed)
    status = "ok" if outcome.passed else "failed"
    changes = {"parity": outcome, "status": status, "reason": outcome.reason}
    return case.model_copy(update=changes)
