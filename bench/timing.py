"""The timing of a run: fresh processes, rounds of turns, and what becomes of their samples.

Every process warms every arm up, measures the machine's ceilings, and lets all arms take their
turns, round after round; the first has calls on a GPU profiled when that is done. An implementation
that takes its process down, or hangs it, ends there; the others start over in a fresh process, and
what the lost one had sampled stays, as a process of its own with fewer rounds.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from bench.arms import Arms
from bench.clock import Stopwatch, now
from bench.config import CaseKey, RunConfig
from bench.errors import BenchError
from bench.messages import CANARY, Arm, Block, Prepared
from bench.remote import CaseError, Worker, WorkerLostError
from bench.schema import Ceilings, Process

# Processes that may be lost without a case to blame before the run gives up.
BLAMELESS_LOSSES = 3


class Listener(Protocol):
    """Who is told what happens: the run."""

    def failed(self, arm: Arm, reason: str) -> None:
        """An arm gives no more times, for ``reason``."""

    def wrong(self, arm: Arm, reason: str) -> None:
        """What an arm computed while it was timed was wrong: its case keeps no times at all."""

    def advance(self) -> None:
        """An arm had its turn."""

    def save(self) -> None:
        """A good moment to write the file: nothing is being timed."""


class Timing:
    """Samples every arm of a run.

    Args:
        config: processes, rounds, time budget and seed.
        arms: what to sample, with what is already known of it.
        start: gives a fresh worker.
        listener: told what happens.
        processes: those of an earlier attempt.
        tolerance: gives the largest error of a case's timed work.
        with_ceilings: measure what the machine can do at most, too.
    """

    def __init__(
        self,
        config: RunConfig,
        arms: Arms,
        start: Callable[[], Worker],
        listener: Listener,
        *,
        processes: Iterable[Process] = (),
        tolerance: Callable[[CaseKey], float],
        with_ceilings: bool = True,
    ) -> None:
        self.config, self.arms, self.start = config, arms, start
        self.listener, self.tolerance = listener, tolerance
        self.with_ceilings = with_ceilings
        self.processes = {process.index: process for process in processes}
        self._losses: Counter[CaseKey | None] = Counter()

    @property
    def processes_left(self) -> int:
        """Complete processes that are still to come."""
        return self.config.processes - sum(p.complete for p in self.processes.values())

    def execute(self) -> None:
        """Run processes until enough are complete, or no arm is left.

        Raises:
            BenchError: workers end and no case is to blame.
        """
        while self.processes_left > 0 and self.arms.any_case_open():
            _OneProcess(self, max(self.processes, default=-1) + 1).execute()
            self.listener.save()

    def settle(self, loss: WorkerLostError, suspect: Arm | None) -> None:
        """Find out who ended the worker: some crashes come late, when somebody else is asked.

        Everyone is tried alone in a worker of its own, the one that was asked last first. Whoever
        ends it there fails, or who was asked last for the second time.

        Raises:
            BenchError: there is nobody to blame, for the third time.
        """
        if suspect and suspect.kind == CANARY:
            suspect = None
        if suspect and loss.hung:
            self._blame(suspect, loss)
            return
        cases = [arm.case for arm in self.arms.open() if arm.kind == "case"]
        if suspect:
            cases.insert(0, suspect.case)
        taken = max(process.rounds for process in self.processes.values())
        rounds = max(self.config.rounds, taken + 1)  # it may have been lost in the next one
        for case in dict.fromkeys(cases):
            if found := self._alone(self.arms.of_case(*case), rounds):
                self._blame(*found)
                return
        key = suspect.case if suspect else None
        self._losses[key] += 1
        if suspect and self._losses[key] > 1:
            self._blame(suspect, loss)
        elif sum(self._losses.values()) >= BLAMELESS_LOSSES:
            raise BenchError(f"the worker process keeps ending: {loss}")

    def _blame(self, arm: Arm, ending: WorkerLostError) -> None:
        self._losses.clear()
        self.arms.close_case(arm)
        self.listener.failed(replace(arm, kind="case"), f"timing {describe(arm)}: {ending}")

    def _alone(self, arms: list[Arm], rounds: int) -> tuple[Arm, WorkerLostError] | None:
        """At which arm, and how, the worker ends that has only these to do; None if it does not.

        It has to do as much as in the process that was lost, for some crashes need that.
        """
        worker, last = self.start(), arms[0]
        try:
            for last in arms:
                with contextlib.suppress(CaseError):
                    worker.ask("prepare", last, 0)
                    for _ in range(rounds):
                        worker.ask("sample", last)
            worker.ask("rest")
        except WorkerLostError as loss:
            return last, loss
        finally:
            worker.close()
        return None


class _OneProcess:
    """One worker, from its start to its end."""

    def __init__(self, timing: Timing, index: int) -> None:
        self._timing, self._index = timing, index
        self._config, self._arms = timing.config, timing.arms
        self._listener = timing.listener
        self._watch, self._created_at = Stopwatch(), now()
        self._busy_seconds, self._rounds = 0.0, 0
        self._asked: Arm | None = None
        self._record(complete=False)
        self._worker = timing.start()

    def execute(self) -> None:
        loss = None
        try:
            self._warm_up()
            self._measure_ceilings()
            self._take_turns()
            self._recheck()
            self._record(complete=True)
            self._ask_devices()
        except WorkerLostError as error:
            loss = error
            self._record(complete=False)
        finally:
            self._worker.close()
        if loss:
            self._timing.settle(loss, self._asked)

    def _warm_up(self) -> None:
        for arm in self._arms.open():
            prepared: Prepared | None = self._ask(arm, "prepare", self._index)
            if prepared is not None:
                self._arms.prepared(arm, self._index, prepared)
                self._busy_seconds += prepared.seconds
                if self._arms.needs_memory(arm):
                    self._arms.memory(arm, self._ask(arm, "peak_memory_bytes"))
            self._listener.advance()

    def _measure_ceilings(self) -> None:
        if not self._timing.with_ceilings:
            return
        for device in self._config.devices:
            for threads in self._config.threads:
                found: tuple[Ceilings, float] = self._ask_machine("ceilings", device, threads)
                self._arms.ceilings(found[0])
                self._busy_seconds += found[1]

    def _take_turns(self) -> None:
        arms = list(self._arms.open())
        seed, began = (self._config.seed, self._index), self._watch.seconds()
        for round_index, order in enumerate(turns(len(arms), seed)):
            started = self._watch.seconds()
            for number in order:
                self._sample(arms[number], round_index)
            self._rounds = round_index + 1
            self._record(complete=False)
            self._listener.save()
            ended = self._watch.seconds()
            if self._enough(ended - began) or self._beyond_budget(ended + (ended - started)):
                return

    def _enough(self, sampled_seconds: float) -> bool:
        """Whether there are the rounds that were asked for, and as much time as tells something."""
        if not self._arms.any_case_open():
            return True
        config = self._config
        return self._rounds >= config.rounds and sampled_seconds >= config.sampling_seconds

    def _beyond_budget(self, seconds: float) -> bool:
        """Whether so long a process takes more than its share of the time budget."""
        budget = self._config.time_budget
        return budget is not None and seconds > budget / self._config.processes

    def _sample(self, arm: Arm, round_index: int) -> None:
        if self._arms.is_open(arm):
            block: Block | None = self._ask(arm, "sample")
            if block is not None:
                self._arms.sampled(arm, self._index, round_index, block)
                self._busy_seconds += block.seconds * block.calls
        if round_index < self._config.rounds:  # how many more there will be nobody knows
            self._listener.advance()

    def _recheck(self) -> None:
        """Hold what each arm computed in its timed calls against the reference."""
        for arm in list(self._arms.open()):
            error = self._ask(arm, "recheck")
            if not self._arms.is_open(arm) or error is None:
                continue
            if error <= self._timing.tolerance(arm.case):
                self._arms.rechecked(arm, error)
            else:
                self._arms.close_case(arm)
                self._listener.wrong(arm, f"{describe(arm)}: error {error:.1e} of the timed work")

    def _ask_devices(self) -> None:
        """Have a call of each row profiled, once a run and last of all: it slows what comes after.

        Whoever loses the worker here has been sampled and checked, and may have lost it to the
        profiler: the process counts, nobody is to blame, and nothing is profiled again in this run.
        """
        try:
            for arm in self._arms.open():
                if self._arms.needs_device_work(arm):
                    self._arms.device_work(arm, self._ask(arm, "device_work"))
        except WorkerLostError:
            for arm in self._arms.open():
                if self._arms.needs_device_work(arm):
                    self._arms.device_work(arm, None)

    def _ask(self, arm: Arm, question: str, *arguments: Any) -> Any:
        """The answer, or None where the arm failed.

        Raises:
            WorkerLostError: the worker is gone.
        """
        self._asked = arm
        try:
            return self._worker.ask(question, arm, *arguments)
        except CaseError as error:
            self._failed(arm, error)
            if arm.device != "cpu":
                self._probe(arm)
            return None

    def _failed(self, arm: Arm, error: CaseError) -> None:
        stage = f"timing {describe(arm)}"
        if error.kind == "wrong":
            self._arms.close_case(arm)
            self._listener.wrong(arm, f"{stage}: {error}")
        else:
            self._arms.close(arm)
            self._listener.failed(
                arm, f"{stage}: {error}" if error.kind == "raised" else str(error)
            )

    def _probe(self, arm: Arm) -> None:
        """After some errors a GPU refuses this process everything: then it is lost too."""
        try:
            self._worker.ask("probe", arm.device)
        except (CaseError, WorkerLostError) as error:
            raise WorkerLostError(f"{arm.device} no longer answers: {error}", hung=True) from None

    def _ask_machine(self, question: str, *arguments: Any) -> Any:
        self._asked = None
        try:
            return self._worker.ask(question, *arguments)
        except CaseError as error:
            raise BenchError(f"cannot measure the machine itself: {error}") from None

    def _record(self, *, complete: bool) -> None:
        self._timing.processes[self._index] = Process(
            index=self._index,
            created_at=self._created_at,
            rounds=self._rounds,
            complete=complete,
            seconds=self._watch.seconds(),
            busy_seconds=self._busy_seconds,
        )


def turns(arms: int, seed: tuple[int, ...]) -> Iterator[list[int]]:
    """Yield each round's order, for ever: every arm once, each round reversing the last.

    A drift of the machine then meets all arms alike.
    """
    order = list(range(arms))
    random.Random(repr(seed)).shuffle(order)  # noqa: S311 - an order of timing, not a secret
    while True:
        yield list(order)
        order.reverse()


def describe(arm: Arm) -> str:
    """The row of an arm, in words."""
    threads = f" on {arm.threads} threads" if arm.threads > 1 else ""
    return f"{arm.workload} at batch {arm.batch_size:,}{threads}"
