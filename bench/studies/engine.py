"""Runs the cells of a study in worker processes; the file is saved after every one.

A thread a job owns a worker and asks it for one cell after the other. Whatever goes wrong in a cell
ends that cell, with its reason; a worker that is lost is replaced.
"""

import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench import records
from bench.clock import now
from bench.errors import BenchError
from bench.remote import CaseError, Remote, WorkerLostError
from bench.runner import Progress, check_same_place
from bench.studies.registry import STUDIES
from bench.studies.schema import Cell, CellResult, StudyConfig, StudyResult
from bench.studies.study import in_words
from impls import REGISTRY

if TYPE_CHECKING:
    from bench.schema import Case, Parity

SESSION = "bench.studies.worker:Session"
Done = CellResult | BaseException


class StudyRun:
    """One study, its file always as complete as the study is.

    Args:
        config: what to do; the names in it are known.
        path: the file.
        progress: told how far the study is.
        jobs: worker processes at once.
        earlier: what an attempt that was cut short has found, to go on from.

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
    ) -> None:
        self._path, self._progress = path, progress
        self._plan = STUDIES[config.study].cells(config)
        self._entries = {config.implementation: REGISTRY[config.implementation]}
        self._first = Remote(config, self._entries, session=SESSION)
        self._first_is_taken = False
        try:
            self.result = self._begun(config, jobs, earlier)
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
            # A fresh process a seed, with the machine to itself: what it finds is a time.
            apart = [cell for cell in todo if alone(cell.settings)]
            for seed in dict.fromkeys(cell.seed for cell in apart):
                self._measure([cell for cell in apart if cell.seed == seed], 1)
        finally:
            if not self._first_is_taken:
                self._first.close()
        return self.result

    def _measure(self, todo: list[Cell], most: int) -> None:
        """Measure cells by as many workers as ``most``; none of them is left then."""
        cells: queue.SimpleQueue[Cell] = queue.SimpleQueue()
        for cell in todo:
            cells.put(cell)
        done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        jobs = [_Job(self._started, cells, done) for _ in range(min(most, len(todo)))]
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

    def _started(self) -> Remote:
        return Remote(self.result.config, self._entries, session=SESSION)

    def _begun(self, config: StudyConfig, jobs: int, earlier: StudyResult | None) -> StudyResult:
        try:
            environment = self._first.ask("environment")
            if earlier:
                check_same_place(earlier.environment, environment)
            _check_implementation(self._first, config.implementation)
            if earlier:
                return earlier.model_copy(update={"jobs": jobs})
            return StudyResult(
                created_at=now(),
                config=config,
                environment=environment,
                jobs=jobs,
                planned=len(self._plan),
                trivial=self._first.ask("trivial"),
            )
        except (CaseError, WorkerLostError) as error:
            raise BenchError(f"--impl {config.implementation}: {error}") from None


def described(cell: Cell) -> str:
    """A cell in words."""
    settings = (f"{name}={in_words(value)}" for name, value in cell.settings.items())
    return f"{' '.join(settings)} seed={cell.seed}"


def _check_implementation(worker: Remote, name: str) -> None:
    """An implementation that cannot train, or is wrong, is never studied.

    Raises:
        BenchError: it is one.
    """
    if fault := worker.ask("fault", name):
        raise BenchError(fault)
    case: Case = worker.ask("plan", name)[0]
    if case.status != "pending":
        raise BenchError(f"--impl {name} cannot train here: {case.reason}")
    parity: Parity = worker.ask("parity", case)
    if not parity.passed:
        raise BenchError(f"--impl {name} is not right: {parity.reason or 'parity failed'}")
    if not case.model_copy(update={"parity": parity}).trainable:
        raise BenchError(f"--impl {name} cannot train: choose another, such as manual_cell")


class _Job(threading.Thread):
    """A worker, replaced when it is lost, and the cells that it is given."""

    def __init__(
        self,
        begin: Callable[[], Remote],
        cells: "queue.SimpleQueue[Cell]",
        done: "queue.SimpleQueue[Done]",
    ) -> None:
        super().__init__(daemon=True)
        self._begin, self._cells, self._done = begin, cells, done
        self._worker: Remote | None = None
        self._stopped = threading.Event()

    def take(self, worker: Remote) -> None:
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
        try:
            self._worker = self._worker or self._begin()
            found: CellResult = self._worker.ask("measure", cell, on_tick=self._look)
        except CaseError as error:
            return CellResult(**dict(cell), status="failed", reason=str(error))
        except WorkerLostError as error:
            self._close()
            return CellResult(**dict(cell), status="failed", reason=str(error))
        return found

    def _look(self) -> None:
        if self._stopped.is_set():
            raise WorkerLostError("the study was stopped")

    def _close(self) -> None:
        worker, self._worker = self._worker, None
        if worker:
            worker.close()
