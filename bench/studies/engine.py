"""Runs the cells of a study by workers, here or on a cluster; the file is saved after every cell.

A thread a job owns a worker and asks it for one cell after the other. Whatever goes wrong in a cell
ends that cell, with its reason; a worker that is lost is replaced, and a cell whose machine is lost
begins anew.
"""

import contextlib
import functools
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench import gate, records, words
from bench.clock import now
from bench.remote import (
    MOST_RETRIES,
    CaseError,
    Killable,
    NodeLostError,
    Remote,
    WorkerLostError,
    on_some_machine,
)
from bench.runner import Progress, check_same_place
from bench.studies.registry import STUDIES
from bench.studies.schema import Cell, CellResult, StudyConfig, StudyResult
from bench.studies.study import in_words
from impls import REGISTRY

if TYPE_CHECKING:
    from bench.schema import Environment

SESSION = "bench.studies.worker:Session"
Done = CellResult | BaseException


class Place(Protocol):
    """Where workers are."""

    def started(self, config: StudyConfig, *, alone: bool) -> Killable:
        """A fresh one; ``alone``: for times, which nothing else of ours may disturb.

        Raises:
            BenchError: none starts.
        """

    def settle(self, worker: Killable) -> None:
        """The machine of this worker is the study's; what is timed belongs there."""


class Here:
    """This machine: a worker is a process, and who measures times is started when no other is."""

    def started(self, config: StudyConfig, *, alone: bool) -> Killable:  # noqa: ARG002
        """A fresh process."""
        entries = {config.implementation: REGISTRY[config.implementation]}
        return Remote(config, entries, session=SESSION)

    def settle(self, worker: Killable) -> None:
        """There is one machine."""


class StudyRun:
    """One study, its file always as complete as the study is.

    Args:
        config: what to do; the names in it are known.
        path: the file.
        progress: told how far the study is.
        jobs: workers at once.
        earlier: what an attempt that was cut short has found, to go on from.
        place: where they are.

    Raises:
        BenchError: no worker starts, the implementation cannot train here or is wrong, or the
            earlier attempt was made elsewhere.
        OSError: the file cannot be written.
    """

    def __init__(
        self,
        config: StudyConfig,
        path: Path,
        progress: Progress,
        jobs: int,
        earlier: StudyResult | None = None,
        place: Place | None = None,
    ) -> None:
        self._path, self._progress, self._place = path, progress, place or Here()
        self._plan = STUDIES[config.study].cells(config)
        self._first, self.result = on_some_machine(
            functools.partial(self._place.started, config, alone=False),
            lambda first: self._begun(first, config, jobs, earlier),
        )
        self._place.settle(self._first)
        self._first_is_taken = False
        try:
            records.save(self.result, path)
        except BaseException:
            self._first.close()
            raise

    def execute(self) -> StudyResult:
        """Do what is left; when cut short, all that is finished is in the file.

        Raises:
            BenchError: no worker starts any more.
            OSError: the file cannot be written.
        """
        known = {cell.key for cell in self.result.cells}
        todo = [cell for cell in self._plan if cell.key not in known]
        alone = STUDIES[self.result.config.study].alone
        self._progress.start(f"study {self.result.config.study}", len(todo))
        try:
            self._measure([cell for cell in todo if not alone(cell.settings)], self.result.jobs)
            self._close_first()
            # A fresh process a seed, with the machine to itself: what it finds is a time.
            apart = [cell for cell in todo if alone(cell.settings)]
            for seed in dict.fromkeys(cell.seed for cell in apart):
                self._measure([cell for cell in apart if cell.seed == seed], 1, alone=True)
        finally:
            self._close_first()
        return self.result

    def _close_first(self) -> None:
        if not self._first_is_taken:
            self._first.close()
        self._first_is_taken = True

    def _measure(self, todo: list[Cell], most: int, *, alone: bool = False) -> None:
        """Measure cells by as many workers as ``most``; none of them is left then."""
        cells: queue.SimpleQueue[Cell] = queue.SimpleQueue()
        for cell in todo:
            cells.put(cell)
        done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        jobs = [
            _Job(
                functools.partial(self._started, alone), self.result.environment, alone, cells, done
            )
            for _ in range(min(most, len(todo)))
        ]
        if jobs and not self._first_is_taken:
            jobs[0].take(self._first)
            self._first_is_taken = True
        try:
            for job in jobs:
                job.start()
            for _ in todo:
                self._keep(done.get())
        finally:
            for job in jobs:
                job.stop()
            for job in jobs:
                job.join()
            # Whoever cuts it short may do so while the last cell is written.
            with contextlib.suppress(OSError):
                records.save(self.result, self._path)

    def _keep(self, found: Done) -> None:
        if isinstance(found, BaseException):
            raise found
        order = {cell.key: number for number, cell in enumerate(self._plan)}
        cells = sorted((*self.result.cells, found), key=lambda cell: order[cell.key])
        self.result = self.result.model_copy(update={"cells": tuple(cells)})
        records.save(self.result, self._path)
        if found.status != "ok":
            self._progress.note(f"{described(found)} {found.status}: {found.reason}")
        self._progress.advance()

    def _started(self, alone: bool) -> Killable:
        return self._place.started(self.result.config, alone=alone)

    def _begun(
        self, first: Killable, config: StudyConfig, jobs: int, earlier: StudyResult | None
    ) -> StudyResult:
        with gate.told(config.implementation):
            environment = first.ask("environment")
            if earlier:
                check_same_place(earlier.environment, environment, of_a_kind=True)
            gate.check(first, config.implementation)
            if earlier:
                return earlier.model_copy(update={"jobs": jobs})
            return StudyResult(
                created_at=now(),
                config=config,
                environment=environment,
                jobs=jobs,
                planned=len(self._plan),
                trivial=first.ask("trivial"),
            )


def described(cell: Cell) -> str:
    """A cell in words."""
    settings = (f"{name}={in_words(value)}" for name, value in cell.settings.items())
    return f"{' '.join(settings)} seed={cell.seed}"


def _other(machine: "Environment", place: "Environment") -> str | None:
    """Another kind of machine than the study's in words, or None for one of the same kind."""
    differs = machine.unlike(place, of_a_kind=True)
    if differs is None:
        return None
    name = words.machine(place)
    return name if name != words.machine(machine) else f"{name}, other {differs}"


class _Job(threading.Thread):
    """A worker, replaced when it is lost, and the cells that it is given.

    Args:
        begin: gives a worker.
        machine: that of the study, and its software.
        alone: whether what it measures are times, which are of that machine or of none.
        cells: to take from.
        done: where results go, or what ends the study.
    """

    def __init__(
        self,
        begin: Callable[[], Killable],
        machine: "Environment",
        alone: bool,
        cells: "queue.SimpleQueue[Cell]",
        done: "queue.SimpleQueue[Done]",
    ) -> None:
        super().__init__(daemon=True)
        self._begin, self._cells, self._done = begin, cells, done
        self._machine, self._alone = machine, alone
        self._worker: Killable | None = None
        self._place: Environment | None = None  # which machine the worker is on
        self._stopped = threading.Event()

    def take(self, worker: Killable) -> None:
        """Begin with a worker that is there."""
        self._worker = worker

    def run(self) -> None:
        """Measure cells until there are none; a worker that does not start ends the study."""
        try:
            while not self._stopped.is_set():
                self._done.put(self._measured(self._cells.get_nowait()))
        except queue.Empty:
            pass
        except Exception as error:  # noqa: BLE001 - the study raises it in its own thread
            self._done.put(error)
        finally:
            self._close()

    def stop(self) -> None:
        """End it, whatever its worker is doing."""
        self._stopped.set()
        if worker := self._worker:
            worker.kill()

    def _measured(self, cell: Cell) -> CellResult:
        """What a cell finds, on as many machines as it takes."""
        lost = WorkerLostError("")
        for _ in range(MOST_RETRIES + 1):
            try:
                return self._found(cell)
            except NodeLostError as error:
                lost = error
                self._close()
                if self._stopped.is_set():
                    break
            except CaseError as error:
                return CellResult(**dict(cell), status="failed", reason=str(error))
            except WorkerLostError as error:
                lost = error
                self._close()
                break
        return CellResult(**dict(cell), status="failed", reason=str(lost))

    def _found(self, cell: Cell) -> CellResult:
        self._worker = worker = self._worker or self._begin()
        if self._place is None:
            self._place = worker.ask("environment", on_tick=self._look)
        elsewhere = _other(self._machine, self._place)
        if elsewhere and self._alone:
            raise CaseError(f"its times would be of another machine, {elsewhere}", "told")
        found: CellResult = worker.ask("measure", cell, on_tick=self._look)
        return found.model_copy(update={"machine": elsewhere})

    def _look(self) -> None:
        if self._stopped.is_set():
            raise WorkerLostError("the study was stopped")

    def _close(self) -> None:
        worker, self._worker, self._place = self._worker, None, None
        if worker:
            worker.close()
