"""A whole run: parity, training, evaluation, timing; the file is saved after every case of each.

A run starts workers, asks them, and writes down what they answer: it runs no implementation itself.
Whatever goes wrong in a case ends that case, with its reason, and the others go on.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from bench import findings, records, words
from bench.arms import Arms
from bench.clock import now
from bench.config import LONG_FACTOR, CaseKey, RunConfig, recipe_of
from bench.errors import BenchError
from bench.findings import Checked
from bench.messages import Arm, Finding
from bench.remote import CaseError, Remote, Start, Worker, WorkerLostError
from bench.schema import Baselines, Case, Environment, Result
from bench.timing import Timing, describe
from impls import REGISTRY, Entry


class Progress(Protocol):
    """Whom a run tells how far it is."""

    def start(self, stage: str, total: int) -> None:
        """A stage of ``total`` steps begins."""

    def advance(self) -> None:
        """One step is done."""

    def note(self, text: str) -> None:
        """Something worth a line, such as a case that failed."""


class Run:
    """One run, its file always as complete as the run is.

    Args:
        config: what to do; the names in it are known.
        path: the result file, written at once and after every case; None for none.
        progress: told how far the run is.
        start: gives a fresh worker.
        entries: the implementations, by name; the registry's where it is left out.
        earlier: what an attempt that was cut short has found, to go on from.
        named: implementations that were asked for by name: what is none of those is bad input.

    Raises:
        BenchError: no worker starts, the earlier attempt was made elsewhere, or one of ``named``
            is no implementation.
        OSError: the file cannot be written.
    """

    def __init__(
        self,
        config: RunConfig,
        path: Path | None,
        progress: Progress,
        *,
        start: Start = Remote,
        entries: Mapping[str, Entry] | None = None,
        earlier: Result | None = None,
        named: Collection[str] = (),
    ) -> None:
        self.config, self.path, self.progress, self._named = config, path, progress, named
        self._start, self._entries = start, entries or _registered(config)
        self._worker: Worker | None = None
        self._untimed: set[CaseKey] = set()  # cases whose timed work was wrong
        self._arms: Arms | None = None
        self._timing: Timing | None = None
        try:
            self.result = earlier or self._begun()
            self._cases = {case.key: case for case in self.result.cases}
            if path and not earlier:
                _forget_weights(path)
            if earlier:
                check_same_place(earlier.environment, self._ask_itself("environment"))
            self.save()
        except BaseException:
            self._close_worker()
            raise

    def execute(self) -> Result:
        """Do everything; when cut short, save what is finished and let the reason through."""
        try:
            self._check_parity()
            self._train_and_evaluate()
            self._close_worker()
            self._measure()
            for case in self._open_cases():
                self._update(case.key, status="ok")
        except BaseException:
            with contextlib.suppress(OSError):  # the first trouble is the one to tell
                self.save()
            raise
        finally:
            self._close_worker()
        self.save()
        return self.result

    def evaluate(self, weights: Path) -> Result:
        """Parity, then the errors of given weights in every implementation that runs free steps."""
        try:
            self._check_parity()
            self._tell_baselines()
            open_cases = self._open_cases()
            self.progress.start("evaluation", len(open_cases))
            for case in open_cases:
                with self._guarded(case.key, "evaluation"):
                    self._update(
                        case.key, weights_digest=self._ask("take_weights", case, str(weights))
                    )
                    if case.closed_loop:
                        self._update(case.key, accuracy=self._ask("accuracy"))
                    self._update(case.key, status="ok")
                self.save()
                self.progress.advance()
        finally:
            self._close_worker()
        return self.result

    def check(self) -> Checked:
        """Parity, and what an author must know beside it; what passes parity is ok."""
        try:
            self._check_parity()
            found = {case.key: self._investigated(case) for case in self._cases.values()}
        finally:
            self._close_worker()
        for case in self._open_cases():
            self._update(case.key, status="ok")
        return Checked(tuple(self._cases.values()), found)

    def save(self) -> None:
        """Write down what is known so far."""
        if self._arms and self._timing:
            self._collect(self._arms, self._timing)
        self.result = self.result.model_copy(update={"cases": tuple(self._cases.values())})
        if self.path:
            records.save(self.result, self.path)

    def failed(self, arm: Arm, reason: str) -> None:
        """An arm gives no more times; only a case's own arm is the case's fault."""
        if arm.kind == "case":
            self._fail(arm.case, reason)
        else:
            self.progress.note(f"{arm.kind} {self._name(arm.case)}: {reason}")

    def wrong(self, arm: Arm, reason: str) -> None:
        """What an arm computed while it was timed was wrong: its case keeps no times at all."""
        if arm.kind == "case":
            self._untimed.add(arm.case)
        self.failed(arm, reason)

    def advance(self) -> None:
        """An arm had its turn."""
        self.progress.advance()

    def _begun(self) -> Result:
        return Result(
            created_at=now(),
            config=self.config,
            environment=self._ask_itself("environment"),
            cases=self._planned(),
        )

    def _planned(self) -> tuple[Case, ...]:
        """The cases; importing an implementation may take the worker down."""
        found: list[Case] = []
        for name in self.config.implementations:
            try:
                if fault := self._ask("fault", name):
                    if name in self._named:
                        raise BenchError(fault)
                    self.progress.note(fault)
                found += self._ask("plan", name)
            except (CaseError, WorkerLostError) as error:
                self._close_worker()
                found += lost_cases(self.config, name, f"import: {error}")
        sizes, devices = self.config.hidden_sizes, self.config.devices
        return tuple(
            sorted(found, key=lambda c: (sizes.index(c.model.hidden_size), devices.index(c.device)))
        )

    def _investigated(self, case: Case) -> tuple[Finding, ...]:
        """What an author must know; nothing of what cannot run here."""
        if case.status == "unsupported":
            return ()
        return findings.investigate(case, self._ask, self._close_worker)

    def _check_parity(self) -> None:
        pending = [case for case in self._open_cases() if case.parity is None]
        self.progress.start("parity", len(pending))
        for case in pending:
            with self._guarded(case.key, "parity"):
                outcome = self._ask("parity", case)
                if not outcome.passed:  # first of all: a Ctrl-C must not leave it open
                    self._fail(case.key, outcome.reason or "parity failed")
                self._update(case.key, parity=outcome)
            self.save()
            self.progress.advance()

    def _train_and_evaluate(self) -> None:
        if self.config.trains:
            self._tell_baselines()
        for case in self._open_cases():
            if case.accuracy is None:
                with self._guarded(case.key, "training"):
                    self._update(case.key, weights_digest=self._ask("weights_digest", case))
                    if self.config.trains and case.trainable:
                        self._train(case)
                self.save()

    def _tell_baselines(self) -> None:
        if self.result.baselines is None:
            baselines: Baselines = self._ask_itself("baselines")
            self.result = self.result.model_copy(update={"baselines": baselines})

    def _train(self, case: Case) -> None:
        iterations = self.config.iterations or recipe_of(self.config).iterations
        self.progress.start(f"training {self._name(case.key)}", iterations)
        training = self._ask("train", case, on_tick=self.progress.advance)
        self._update(case.key, training=training)
        self._update(case.key, accuracy=self._ask("accuracy"))
        if self.path:
            file = weights_file(self.path, case, self.config)
            file.parent.mkdir(exist_ok=True)
            self._ask("save_weights", self._cases[case.key], str(file))

    def _measure(self) -> None:
        self._arms = Arms(self.config, self._open_cases())
        self._arms.take_over(self.result)
        self._timing = Timing(
            self.config,
            self._arms,
            self._new_worker,
            self,
            processes=self.result.processes,
            tolerance=self._tolerance,
        )
        turns = len(self._arms) * (1 + self.config.rounds)
        left = self._timing.processes_left if self._arms.any_case_open() else 0
        self.progress.start("timing", max(0, left) * turns)
        self._timing.execute()
        for arm, row in self._arms.too_fast():
            floor = row.limit.seconds if row.limit else 0.0
            self.wrong(
                arm,
                f"{describe(arm)}: {row.seconds:.2g} s a call is less than the {floor:.2g} s that "
                "its work takes on this machine at least: the work was not done",
            )

    def _tolerance(self, key: CaseKey) -> float:
        """The largest error of a case's timed work, which is long: by what its parity was held to.

        What passed no gate is not timed.
        """
        passed = self._cases[key].parity
        return LONG_FACTOR * passed.tolerance if passed else 0.0

    def _collect(self, arms: Arms, timing: Timing) -> None:
        """Bring the result up to what the timing knows."""
        for key in arms.timed_cases():
            rows = () if key in self._untimed else arms.throughput(*key)
            self._update(key, throughput=rows)
        self.result = self.result.model_copy(
            update={
                "controls": arms.controls(),
                "canaries": arms.canaries(),
                "ceilings": arms.ceilings_found(),
                "processes": tuple(timing.processes.values()),
            }
        )

    def _open_cases(self) -> list[Case]:
        return [case for case in self._cases.values() if case.status == "pending"]

    def _update(self, key: CaseKey, **changes: Any) -> None:
        self._cases[key] = self._cases[key].model_copy(update=changes)

    def _fail(self, key: CaseKey, reason: str) -> None:
        earlier = self._cases[key].reason  # another batch size may have failed before
        self._update(key, status="failed", reason=f"{earlier}; {reason}" if earlier else reason)
        self.progress.note(f"{self._name(key)} failed: {reason}")

    def _name(self, key: CaseKey) -> str:
        return words.case(key, with_size=len(self.config.hidden_sizes) > 1)

    @contextmanager
    def _guarded(self, key: CaseKey, stage: str) -> Iterator[None]:
        """Turn whatever an implementation raises, or takes down, into the case's reason."""
        try:
            yield
        except CaseError as error:
            self._fail(key, f"{stage}: {error}" if error.kind == "raised" else str(error))
        except WorkerLostError as error:
            self._close_worker()
            self._fail(key, f"{stage}: {error}")

    def _ask(
        self, question: str, *arguments: Any, on_tick: Callable[[], None] = lambda: None
    ) -> Any:
        if self._worker is None:
            self._worker = self._new_worker()
        return self._worker.ask(question, *arguments, on_tick=on_tick)

    def _ask_itself(self, question: str) -> Any:
        """What no case is to blame for when it fails.

        Raises:
            BenchError: it fails.
        """
        try:
            return self._ask(question)
        except (CaseError, WorkerLostError) as error:
            raise BenchError(f"the worker cannot tell its {question}: {error}") from None

    def _new_worker(self) -> Worker:
        return self._start(self.config, self._entries)

    def _close_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def run(
    config: RunConfig,
    path: Path | None,
    progress: Progress,
    on_start: Callable[[Run], None] = lambda _: None,
    **options: Any,
) -> Result:
    """Execute a `Run`, whose other arguments ``options`` are; ``on_start`` gets the run itself."""
    current = Run(config, path, progress, **options)
    on_start(current)
    return current.execute()


def check_same_place(before: Environment, here: Environment, *, of_a_kind: bool = False) -> None:
    """Samples of two machines, versions or commits must not get into one file.

    Args:
        before: of the file.
        here: of who goes on.
        of_a_kind: whether a machine of the same kind will do.

    Raises:
        BenchError: something differs, which is named.
    """
    name = before.unlike(here, of_a_kind=of_a_kind)
    if name == "gpu":
        raise BenchError("cannot go on: the file was made with other GPUs")
    if name is not None:
        made, found = getattr(before, name), getattr(here, name)
        raise BenchError(f"cannot go on: the file was made with {name} {made}, here is {found}")


def lost_cases(config: RunConfig, name: str, reason: str) -> list[Case]:
    """The cases of an implementation that takes down whoever imports it."""
    return [
        Case(
            implementation=name,
            device=device,
            dtype=config.dtype,
            model=config.model,
            task=config.task,
            status="failed",
            reason=reason,
        )
        for device in config.devices
    ]


def weights_file(path: Path, case: Case, config: RunConfig) -> Path:
    """Where a case's trained weights lie, in the folder of the figures."""
    size = f"_h{case.model.hidden_size}" if len(config.hidden_sizes) > 1 else ""
    name = f"weights_{case.implementation}_{case.device.replace(':', '')}{size}.safetensors"
    return path.with_suffix("") / name


def _forget_weights(path: Path) -> None:
    """Those of the file that this run replaces would pass for its own."""
    for file in path.with_suffix("").glob("weights_*.safetensors"):
        file.unlink()


def _registered(config: RunConfig) -> dict[str, Entry]:
    return {name: REGISTRY[name] for name in config.implementations}
