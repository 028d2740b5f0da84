"""The worker's side: runs implementations, in a process of its own that they may take down.

A `Session` answers one question at a time. It holds the threads and the precision pinned for as
long as it lives, and the arms that it has made ready.
"""

import contextlib
import secrets
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import impls
from bench import (
    author,
    cases,
    ceilings,
    environment,
    evaluation,
    gpu,
    measure,
    parity,
    training,
    weights,
    workloads,
)
from bench.clock import Stopwatch
from bench.config import CaseKey, RunConfig, recipe_of
from bench.device_time import device_work
from bench.errors import WrongWorkError
from bench.messages import CANARY, Arm, Block, DeviceWork, Finding, Kind, Prepared
from bench.resources import ThrottleWatch, peak_memory_bytes
from bench.schema import Accuracy, Baselines, Case, Ceilings, Environment, Parity, Training
from impls import Entry
from impls.generator import Generator as Model
from tasks import TASKS

REST_SECONDS = 1.0


@dataclass(slots=True)
class _Row:
    """An arm that was made ready; ``frozen`` is what the last call of each block computed.

    Of blocks that are many, or long to check, some are drawn when their clocks have stopped.
    """

    cell: measure.Cell
    calls: int
    workload: workloads.Workload | None
    rng: np.random.Generator
    frozen: list[workloads.Frozen] = field(default_factory=list)


class Session:
    """One worker's life.

    An arm runs on its own count of threads, everything else on the run's first.

    Args:
        config: of the run.
        entries: the implementations of the run, for a registry is not inherited.
        tick: called now and then while a long question is worked on.
    """

    def __init__(
        self, config: RunConfig, entries: Mapping[str, Entry], tick: Callable[[], None]
    ) -> None:
        self.config, self.task, self.tick = config, TASKS[config.task], tick
        self._names, self._pins = contextlib.ExitStack(), contextlib.ExitStack()
        self._names.enter_context(impls.registered(entries))
        self._pins.enter_context(environment.pinned(config.threads[0]))
        self._dtype: torch.dtype = getattr(torch, config.dtype)
        self._rows: dict[Arm, _Row] = {}
        self._models: dict[tuple[str, str, str, int, int], Model] = {}
        self._pool = workloads.Pool()
        self._trained: Model | None = None
        self._subjects: dict[CaseKey, author.Subject] = {}
        # From the system, so that no implementation can foresee the data; the same for all arms.
        self._entropy = secrets.randbits(64)

    def close(self) -> None:
        """Give the threads, the precision and the registry back."""
        self._pins.close()
        self._names.close()

    def environment(self) -> Environment:
        """The machine as it is now."""
        return environment.describe()

    def fault(self, name: str) -> str | None:
        """Why the target of ``name`` is no implementation."""
        return cases.fault(name)

    def plan(self, *names: str) -> tuple[Case, ...]:
        """The cases, of ``names`` alone where any are given; pending or with a reason."""
        return cases.plan(self.config, names)

    def baselines(self) -> Baselines:
        """What trivial predictors get."""
        sequences = evaluation.test_set(self.task, self.config.evaluation)
        return evaluation.baselines(self.task, sequences, self.config.evaluation)

    def parity(self, case: Case) -> Parity:
        """The gate."""
        where = cases.target(case)
        return parity.check(
            case.implementation,
            case.model,
            where.device,
            where.dtype,
            self.config.seed,
            on_trial=self.tick,
        )

    def findings_planned(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What `findings` can look at, each with what makes no sense to look at it without."""
        return author.planned()

    def findings(self, case: Case, name: str) -> tuple[Finding, ...]:
        """One thing that an author must know."""
        subject = self._subjects.setdefault(case.key, self._subject(case))
        try:
            return author.look(subject, name)
        finally:
            if environment.changed(self.config.threads[0]):
                self._pin_again()

    def weights_digest(self, case: Case) -> str:
        """The digest of the case's initial weights."""
        return cases.weights_digest(cases.create(case, self.config.seed).weights())

    def train(self, case: Case) -> Training:
        """Train a fresh generator, and keep it for `accuracy`; ticks after every iteration."""
        return training.finished(self.training_of(case), self.tick)

    def training_of(self, case: Case) -> Generator[None, None, Training]:
        """The same, one iteration at a time; no question, for it cannot be sent."""
        self._trained = cases.create(case, self.config.seed)
        return training.steps(
            self._trained,
            self.config.recipe,
            recipe_of(self.config),
            self.task,
            self.config.seed,
            iterations=self.config.iterations,
            init=self.config.init,
            init_gain=self.config.init_gain if self.config.init else None,
        )

    def take_weights(self, case: Case, path: str) -> str:
        """Keep a generator with the weights in a file for `accuracy`; gives their digest."""
        self._trained = cases.create(case, self.config.seed)
        self._trained.load_weights(weights.load(Path(path)).weights)
        return cases.weights_digest(self._trained.weights())

    def accuracy(self) -> Accuracy:
        """Errors of the generator that was trained or given last, or is just being trained."""
        if self._trained is None:
            raise RuntimeError("nothing was trained")
        sequences = evaluation.test_set(self.task, self.config.evaluation)
        mode = self._trained.training
        try:
            return evaluation.evaluate(self._trained, sequences, self.config.evaluation)
        finally:
            self._trained.train(mode)

    def save_weights(self, case: Case, path: str) -> None:
        """Write down the weights of the generator that was trained last."""
        if self._trained is None:
            raise RuntimeError("nothing was trained")
        weights.save(self._trained, Path(path), weights.Origin.of(case, self.config))

    def prepare(self, arm: Arm, process: int) -> Prepared:
        """Build an arm and warm it up."""
        self._use_threads_of(arm)
        workload, cell = self._built(arm, process)
        ready = measure.warm_up(cell, self.tick)
        if workload:
            workload.provide(ready.calls_per_sample)
        # Other data on other threads: no answer can be kept from one count for the next.
        rng = np.random.default_rng((self._entropy, arm.threads))
        self._rows[arm] = _Row(cell, ready.calls_per_sample, workload, rng)
        self._check_settings(arm)
        return Prepared(
            steps=workload.steps if workload else 1,
            forced=tuple(workload.forced.tolist()) if workload else (),
            first_call_seconds=ready.first_call_seconds,
            seconds=ready.seconds,
            windows=ready.windows,
            agreed=ready.agreed,
            calls_per_sample=ready.calls_per_sample,
        )

    def peak_memory_bytes(self, arm: Arm) -> int | None:
        """Memory of one call."""
        self._use_threads_of(arm)
        cell = self._rows[arm].cell
        return peak_memory_bytes(cell.call, cell.device)

    def device_work(self, arm: Arm) -> DeviceWork | None:
        """What the GPU did for one call, as in a sample; it slows the samples that come after."""
        row = self._about_to_call(arm)
        found = device_work(row.cell, row.calls)
        self._check_settings(arm)
        return found

    def sample(self, arm: Arm) -> Block:
        """Time one block, and copy what its last call computed, as it was just then."""
        row = self._about_to_call(arm)
        device = row.cell.device
        watch, before = ThrottleWatch(device), gpu.joules(device)
        seconds, outcome = measure.block(row.cell, row.calls)
        if row.workload:
            row.frozen.append(row.workload.freeze(outcome))
            if len(row.frozen) > row.workload.most_frozen:  # which, nobody can foresee
                del row.frozen[secrets.randbelow(len(row.frozen))]
        self._check_settings(arm)
        after = gpu.joules(device)
        used = None if before is None or after is None else (after - before) / row.calls
        return Block(seconds / row.calls, row.calls, watch.throttled(), used)

    def recheck(self, arm: Arm) -> float | None:
        """The largest error of what was timed, every block's last call; None where none is."""
        row = self._rows[arm]
        if row.workload is None or not row.frozen:
            return None
        return row.workload.error(*row.frozen)

    def probe(self, device: str) -> None:
        """Find out whether the device still answers this process."""
        torch.ones(1, device=device).add_(1).cpu()

    def rest(self) -> None:
        """Do nothing for a second: some crashes come late."""
        threading.Event().wait(REST_SECONDS)

    def ceilings(self, device: str, threads: int) -> tuple[Ceilings, float]:
        """What the device can do on ``threads``, and the seconds that it took to find out."""
        torch.set_num_threads(threads)
        watch = Stopwatch()
        found = ceilings.measure_ceilings(device, torch.device(device), self._dtype)
        return found, watch.seconds()

    def _subject(self, case: Case) -> author.Subject:
        where = cases.target(case)
        return author.Subject(
            case.implementation,
            case.model,
            where.device,
            where.dtype,
            self.config.seed,
            self.config.threads[0],
        )

    def _about_to_call(self, arm: Arm) -> _Row:
        """An arm with its threads and with data that no call has seen."""
        self._use_threads_of(arm)
        row = self._rows[arm]
        if row.workload:
            row.workload.refresh(row.rng)
        return row

    def _use_threads_of(self, arm: Arm) -> None:
        torch.set_num_threads(arm.threads)

    def _check_settings(self, arm: Arm) -> None:
        """Put back what an implementation has changed for everybody, and tell.

        Raises:
            WrongWorkError: it has.
        """
        if what := environment.changed(arm.threads):
            self._pin_again()
            raise WrongWorkError(what)

    def _pin_again(self) -> None:
        self._pins.close()
        self._pins.enter_context(environment.pinned(self.config.threads[0]))

    def _built(self, arm: Arm, process: int) -> tuple[workloads.Workload | None, measure.Cell]:
        device = torch.device(arm.device)
        if arm.kind == CANARY:
            return None, ceilings.canary(device)
        model = self._model(arm, process)
        config = self.config
        workload = workloads.build(
            arm.workload,
            model,
            self.task,
            arm.batch_size,
            config.seed,
            config.steps,
            pool=self._pool,
            owner=arm.implementation,
        )
        return workload, measure.Cell(workload.call, device)

    def _model(self, arm: Arm, process: int) -> Model:
        """One generator a case or control and count of threads; other weights in every process."""
        key = (arm.kind, *arm.case, arm.threads)
        if key not in self._models:
            model = impls.create(
                arm.implementation,
                self.config.model_of(arm.hidden_size),
                device=arm.device,
                dtype=self._dtype,
                seed=self.config.seed,
            )
            workloads.load_timed_weights(model, timed_seed(self.config.seed, process))
            self._models[key] = model
        return self._models[key]


def timed_seed(seed: int, process: int) -> int:
    """The seed of the weights that process ``process`` times: no other part of a run uses it."""
    return int(np.random.SeedSequence((seed, 5, process)).generate_state(1)[0])


def failure(error: BaseException) -> tuple[Kind, str]:
    """What kind of failure an exception is, and what it says."""
    if isinstance(error, WrongWorkError):
        return "wrong", str(error)
    if type(error).__module__.startswith("bench."):
        return "told", str(error)
    return "raised", parity.one_line(error)
