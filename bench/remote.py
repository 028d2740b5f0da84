"""The run's side of its worker: questions go out, answers come back, or the reason why none will.

The worker is a fresh Python process: multiprocessing's ``spawn``. What it prints goes into a file
of its own, whose last line tells how a process ended that can no longer say so itself.
"""

import contextlib
import ctypes
import importlib
import io
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from bench.clock import Stopwatch
from bench.config import RunConfig
from bench.errors import BenchError
from bench.messages import Kind
from impls import Entry

LONGEST_START_SECONDS = 300.0
GLANCE_SECONDS = 1.0
LONGEST_GOODBYE_SECONDS = 5.0
T = TypeVar("T")
W = TypeVar("W", bound="Worker")
SESSION = "bench.worker:Session"
# How often work begins anew because its machine has gone.
MOST_RETRIES = 5
_PR_SET_PDEATHSIG = 1


class CaseError(Exception):
    """An implementation raised, or was caught.

    Attributes:
        kind: ``raised`` by its own code; ``told``, an error of ours that needs no stage before it;
            ``wrong``: it did other work than was timed.
    """

    def __init__(self, message: str, kind: Kind) -> None:
        super().__init__(message)
        self.kind = kind


class WorkerLostError(Exception):
    """The worker ended, or gave no sign of life; another is needed.

    Attributes:
        hung: it had to be ended, so whatever it was asked last is to blame.
    """

    def __init__(self, message: str, *, hung: bool = False) -> None:
        super().__init__(message)
        self.hung = hung


class NodeLostError(WorkerLostError):
    """The worker went with its machine, through no fault of what it was asked."""


class Limited(Protocol):
    """What to do, with a limit."""

    @property
    def time_limit(self) -> float:
        """Seconds without a sign of life after which a worker counts as hung."""


class Worker(Protocol):
    """Who answers a run's questions: the methods of `bench.worker.Session`, by name."""

    def ask(
        self, question: str, *arguments: Any, on_tick: Callable[[], None] = lambda: None
    ) -> Any:
        """The answer.

        Raises:
            CaseError: the work raised; the worker is as good as before.
            WorkerLostError: the worker is gone.
        """

    def close(self) -> None:
        """End it, whatever it is doing."""


class Killable(Worker, Protocol):
    """A worker whose answer one thread awaits, while another may give it up."""

    def kill(self) -> None:
        """End it, from any thread; who waits for its answer is told that it is lost."""


Start = Callable[[RunConfig, Mapping[str, Entry]], Worker]


def on_some_machine(begin: Callable[[], W], work: Callable[[W], T]) -> tuple[W, T]:
    """Have a fresh worker do something, on as many machines as it takes.

    Args:
        begin: gives a worker.
        work: what to do with it.

    Returns:
        The worker, as good as before, and what the work gave.

    Raises:
        BenchError: one machine after the other is lost.
    """
    lost = ""
    for _ in range(MOST_RETRIES + 1):
        worker = begin()
        try:
            return worker, work(worker)
        except NodeLostError as error:
            worker.close()
            lost = str(error)
        except BaseException:
            worker.close()
            raise
    raise BenchError(lost)


class Remote:
    """A worker in a process of its own; ``session``: what answers there, ``module:Class``."""

    def __init__(
        self, config: Limited, entries: Mapping[str, Entry], *, session: str = SESSION
    ) -> None:
        self._limit = config.time_limit
        self._folder = Path(tempfile.mkdtemp(prefix="rnn-bench-"))
        self._log = self._folder / "output"
        self._waits_for_us = False
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(other, str(self._log), os.getpid(), session, config, dict(entries)),
            daemon=True,
        )
        try:
            with _interrupts_held():
                self._process.start()
            other.close()  # so that its end is noticed here
            self._answer(LONGEST_START_SECONDS, lambda: None)
        except (WorkerLostError, CaseError) as error:
            self.close()
            reason = str(error).partition(";")[0]
            raise BenchError(f"the worker process did not start: {reason}") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, question: str, *arguments: Any, on_tick: Callable[[], None] = lambda: None
    ) -> Any:
        self._waits_for_us = False
        try:
            self._connection.send((question, arguments))
        except OSError:
            raise WorkerLostError(self._end()) from None
        return self._answer(self._limit, on_tick)

    def kill(self) -> None:
        if self._process.pid is not None:
            with contextlib.suppress(OSError):  # and what it may have started itself
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()

    def close(self) -> None:
        """End it: a worker without a question by hanging up, any other by force.

        Who ends in peace gives back what the system would not take: the semaphores of libraries.
        """
        self._connection.close()
        if self._waits_for_us:
            wait([self._process.sentinel], LONGEST_GOODBYE_SECONDS)
        self.kill()
        if self._process.pid is not None:
            self._process.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answer(self, limit: float, on_tick: Callable[[], None]) -> Any:
        while True:
            self._wait(limit)
            try:
                kind, value = self._connection.recv() if self._connection.poll() else ("", None)
            except (EOFError, OSError):
                kind, value = "", None
            self._waits_for_us = kind in ("done", "failed")
            if kind == "done":
                return value
            if kind == "failed" and value:
                raise CaseError(value[1], value[0])
            if kind != "tick":
                raise WorkerLostError(self._end())
            on_tick()

    def _wait(self, limit: float) -> None:
        """Return when there is something to read, or the process has ended.

        Its end is looked for too: a child of the worker's keeps the worker's end of the pipe open.
        """
        watch = Stopwatch()
        while not wait([self._connection, self._process.sentinel], min(limit, GLANCE_SECONDS)):
            if self._process.exitcode is not None:
                return
            if watch.seconds() >= limit:
                raise WorkerLostError(
                    f"no sign of life for {limit:g} s; --time-limit allows for more", hung=True
                )

    def _end(self) -> str:
        """How the process ended, in words."""
        self._process.join(5.0)
        status = self._process.exitcode
        if status is None:
            ending = "the process closed its connection"
        elif status < 0:
            ending = f"the process was ended by {_signal_name(-status)}"
        else:
            ending = f"the process ended itself with status {status}"
        if status == -signal.SIGKILL:
            ending += ", which is what the system does when memory runs out"
        words = self._last_words()
        return f"{ending} ({words})" if words else ending

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip()[:200] if lines else ""


class Inline:
    """A worker in this process: what it runs can take the run down. For tests and debuggers."""

    def __init__(
        self, config: Limited, entries: Mapping[str, Entry], *, session: str = SESSION
    ) -> None:
        self._on_tick: Callable[[], None] = lambda: None
        self._session = _loaded(session)(config, entries, self._tick)

    def ask(
        self, question: str, *arguments: Any, on_tick: Callable[[], None] = lambda: None
    ) -> Any:
        from bench.worker import failure

        self._on_tick = on_tick
        try:
            return getattr(self._session, question)(*arguments)
        except Exception as error:
            kind, text = failure(error)
            raise CaseError(text, kind) from error

    def close(self) -> None:
        self._session.close()

    def _tick(self) -> None:
        self._on_tick()


def _loaded(target: str) -> Any:
    """The class of a worker's session, which is imported where it is needed alone."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _serve(
    connection: Connection,
    log: str,
    parent: int,
    target: str,
    config: Limited,
    entries: dict[str, Entry],
) -> None:
    """The worker's life: answer until the other side hangs up."""
    os.setsid()  # the run's Ctrl-C is not for the worker
    _end_with(parent)
    _first_to_run_out_of_memory()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a crash loses what is not written yet
    try:
        from bench.worker import failure

        session = _loaded(target)(config, entries, lambda: connection.send(("tick", None)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the run has to be told
        connection.send(("failed", ("raised", f"{type(error).__name__}: {error}")))
        return
    connection.send(("done", None))
    while True:
        try:
            question, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = ("done", getattr(session, question)(*arguments))
        except BaseException as error:  # noqa: BLE001 - SystemExit too is an implementation's result
            answer = ("failed", failure(error))
        connection.send(answer)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C is the run's to answer: a process that is started in here never sees it."""
    resource_tracker.ensure_running()  # it would let interrupts through while it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(parent: int) -> None:
    """Ask Linux to end this process when its parent ends, however that happens."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended meanwhile
        os._exit(1)


def _first_to_run_out_of_memory() -> None:
    """When memory runs out, Linux is to end this process and no other."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
