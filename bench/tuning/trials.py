"""A trial: one recipe drawn, trained by and judged; and processes that do one after another.

A trial is judged by the mean closed-loop error on the validation set, which is not the test set of
`bench run`. Every trial may take the same number of sequence-steps, whatever it makes of them. What
is drawn, and what is given up, is decided where the study is; a worker trains.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import optuna

from bench.clock import Stopwatch
from bench.errors import BenchError
from bench.remote import (
    MOST_RETRIES,
    CaseError,
    Inline,
    NodeLostError,
    Worker,
    WorkerLostError,
)
from bench.tuning.plan import Look, Plan
from bench.tuning.space import recipe_by
from bench.tuning.storage import REASON, finished, opened, told
from impls import Entry

SESSION = "bench.tuning.worker:Session"
Begin = Callable[[], Worker]


class StoppedError(WorkerLostError):
    """The search ends, and with it what a worker was at."""


class Trying:
    """What Optuna calls: an error's logarithm for a trial.

    Args:
        plan: what is searched.
        begin: gives a worker; the next one when the last was lost.
        on_tick: called now and then while a worker is at work.
    """

    def __init__(
        self, plan: Plan, begin: Begin, on_tick: Callable[[], None] = lambda: None
    ) -> None:
        self._plan, self._begin, self._on_tick = plan, begin, on_tick
        self._worker: Worker | None = None

    @property
    def worker(self) -> Worker:
        """Who trains.

        Raises:
            BenchError: none starts.
        """
        self._worker = self._worker or self._begin()
        return self._worker

    def close(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker:
            worker.close()

    def __call__(self, trial: optuna.Trial) -> float:
        """The common logarithm of the mean error; a reason is kept with what has none.

        Raises:
            TrialPruned: it is worse than others at that point, or diverged.
            StoppedError: the search ends; without a reason it counts for nothing.
            BenchError: no worker starts any more.
        """
        drawn = self._plan.space.drawn(trial)
        trial.set_user_attr("implementation", self._plan.config.implementations[0])
        try:
            return self._judged(trial, drawn)
        except (optuna.TrialPruned, StoppedError, BenchError):  # no fault of the trial's
            raise
        except Exception as error:
            trial.set_user_attr(REASON, str(error))
            if isinstance(error, WorkerLostError):
                self.close()
            raise

    def _judged(self, trial: optuna.Trial, drawn: Mapping[str, Any]) -> float:
        """Begin as often as machines are lost; what was reported before stands."""
        reported = 0
        for attempt in range(MOST_RETRIES + 1):
            try:
                for number, look in enumerate(self._looks(drawn), 1):
                    if look.error is None:
                        trial.set_user_attr(REASON, look.reason)
                        raise optuna.TrialPruned(look.reason)
                    if look.over:
                        return look.error
                    if number > reported:
                        reported = number
                        trial.report(look.error, number)
                        if trial.should_prune():
                            raise optuna.TrialPruned
            except NodeLostError:
                self.close()
                if attempt == MOST_RETRIES:
                    raise
        raise AssertionError("unreachable")

    def _looks(self, drawn: Mapping[str, Any]) -> Iterator[Look]:
        recipe = recipe_by(drawn, self._plan.iterations)
        hidden_size = int(drawn["hidden_size"])
        self._ask("begin", self._plan.study, recipe, hidden_size)
        while True:
            look: Look = self._ask("look")
            yield look

    def _ask(self, question: str, *arguments: Any) -> Any:
        return self.worker.ask(question, *arguments, on_tick=self._on_tick)


def inline(plan: Plan, entries: Mapping[str, Entry]) -> Begin:
    """A worker in this process."""
    return lambda: Inline(plan.config, entries, session=SESSION)


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """A Ctrl-C stays one: Optuna, hit while it writes a trial down, fails of its own instead.

    Raises:
        KeyboardInterrupt: one is behind the error.
    """
    try:
        yield
    except Exception as error:
        behind: BaseException | None = error
        while behind is not None and not isinstance(behind, KeyboardInterrupt):
            behind = behind.__cause__ or behind.__context__
        if behind is not None:
            raise KeyboardInterrupt from error
        raise


def go_on(
    plan: Plan,
    study: optuna.Study,
    trying: Trying,
    on_trial: Callable[[], bool],
    wanted: Callable[[], bool] | None = None,
) -> None:
    """Trial after trial, until the study has enough, the time is over or ``on_trial`` says no.

    Args:
        plan: what is searched.
        study: opened.
        trying: what a trial is.
        on_trial: called after each.
        wanted: whether another is to begin; until the study has enough, where it is left out.

    Raises:
        BenchError: no worker starts, or the storage cannot be used.
    """
    watch = Stopwatch()
    with interrupts_kept(), told(plan.storage):
        while wanted() if wanted else len(finished(study)) < plan.trials:
            if plan.time_budget is not None and watch.seconds() >= plan.time_budget:
                return
            study.optimize(trying, n_trials=1, catch=(CaseError, WorkerLostError))
            if not on_trial():
                return


@contextmanager
def helped(plan: Plan, entries: Mapping[str, Entry], jobs: int) -> Iterator[list[BaseProcess]]:
    """``jobs`` more processes at the same study; those that are left at the end are ended."""
    context = multiprocessing.get_context("spawn")
    helpers: list[BaseProcess] = [
        context.Process(target=_help, args=(plan, dict(entries), os.getpid()), daemon=True)
        for _ in range(jobs)
    ]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is ours, not theirs
    try:
        for helper in helpers:
            helper.start()
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield helpers
    finally:
        for helper in helpers:
            helper.terminate()
            helper.join()


def _help(plan: Plan, entries: Mapping[str, Entry], parent: int) -> None:
    with contextlib.closing(Trying(plan, inline(plan, entries))) as trying:
        go_on(plan, opened(plan), trying, lambda: os.getppid() == parent)
