"""Trials on Ray: drawn and written down here, trained on the nodes, which need no storage.

A thread a trial under way owns a worker on some node; that it learns of the others' trials is the
storage's doing, as with any processes that share one.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna

from bench.cluster.needs import Needs, check_devices
from bench.cluster.worker import OnNode, Order
from bench.remote import Killable
from bench.tuning.plan import Plan
from bench.tuning.storage import finished, opened, told
from bench.tuning.trials import SESSION, StoppedError, Trying, go_on, interrupts_kept
from impls import Entry


def demand(plan: Plan) -> Needs:
    """What a trial asks of its node.

    Raises:
        BenchError: a GPU by its number, which only a node can give.
    """
    config = plan.config
    check_devices("a trial", config.devices)
    return Needs(config.threads[0], gpu=config.devices[0] != "cpu")


def worker(ray: Any, plan: Plan, entries: Mapping[str, Entry]) -> OnNode:
    """One that tries recipes, on some node."""
    return OnNode(ray, Order(plan.config, entries, SESSION, demand(plan), files={}))


def search(plan: Plan, jobs: int, begin: Callable[[], Killable], tell: Callable[[], bool]) -> None:
    """Try until the study has enough.

    Args:
        plan: what is searched.
        jobs: trials at once.
        begin: gives a worker.
        tell: called here after every trial.

    Raises:
        BenchError: no worker starts, or the storage cannot be used.
    """
    done: queue.SimpleQueue[_Job | Exception | None] = queue.SimpleQueue()
    busy = _Busy()
    threads = [_Job(plan, opened(plan), begin, busy, done) for _ in range(jobs)]
    try:
        for job in threads:
            job.start()
        left = len(threads)
        while left:
            event = done.get()
            if isinstance(event, Exception):
                raise event
            left -= event is not None
            with interrupts_kept(), told(plan.storage):
                tell()
    finally:
        for job in threads:
            job.stop()
        for job in threads:
            job.join()


@dataclass(slots=True)
class _Busy:
    """How many trials are under way; with the lock, that none begins that nobody needs."""

    trials: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Job(threading.Thread):
    """One trial after the other; puts None after each, and itself when there are no more."""

    def __init__(
        self,
        plan: Plan,
        study: optuna.Study,
        begin: Callable[[], Killable],
        busy: _Busy,
        done: "queue.SimpleQueue[_Job | Exception | None]",
    ) -> None:
        super().__init__(daemon=True)
        self._plan, self._study, self._begin, self._done = plan, study, begin, done
        self._busy, self._is_busy = busy, False
        self._worker: Killable | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        """Until the study has enough; what ends the search is put too."""
        try:
            with contextlib.closing(Trying(self._plan, self._begun, self._look)) as trying:
                go_on(self._plan, self._study, trying, self._go_on, self._wanted)
        except Exception as error:  # noqa: BLE001 - the search raises it in its own thread
            self._done.put(error)
        else:
            self._done.put(self)

    def stop(self) -> None:
        """End it, whatever its worker is doing."""
        self._stopped.set()
        if self._worker:
            self._worker.kill()

    def _begun(self) -> Killable:
        self._look()
        self._worker = self._begin()
        return self._worker

    def _wanted(self) -> bool:
        with self._busy.lock:
            self._busy.trials -= self._is_busy
            known = len(finished(self._study)) + self._busy.trials
            self._is_busy = known < self._plan.trials
            self._busy.trials += self._is_busy
        return self._is_busy

    def _go_on(self) -> bool:
        self._done.put(None)
        return not self._stopped.is_set()

    def _look(self) -> None:
        if self._stopped.is_set():
            raise StoppedError("the search was stopped")
