"""A trial: one recipe drawn, trained by and judged; and processes that do one after another.

A trial is judged by the mean closed-loop error on the validation set, which is not the test set of
`bench run`. Every trial may take the same number of sequence-steps, whatever it makes of them.
"""

import contextlib
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess

import optuna

from bench.clock import Stopwatch
from bench.errors import BenchError, WrongWorkError
from bench.evaluation import NotFiniteError
from bench.parity import one_line
from bench.recipes import Recipe
from bench.schema import Case
from bench.training import DivergedError
from bench.tuning.plan import Plan
from bench.tuning.space import recipe_by
from bench.tuning.storage import REASON, finished, opened, told
from bench.worker import Session
from impls import Entry

LOOKS = 5  # at a trial's error while it trains, and one at its end
SMALLEST_ERROR = 1e-30  # has a logarithm


class Trying:
    """What Optuna calls: an error's logarithm for a trial."""

    def __init__(self, plan: Plan, entries: Mapping[str, Entry]) -> None:
        self._plan, self._entries = plan, entries

    def __call__(self, trial: optuna.Trial) -> float:
        """The common logarithm of the mean error; a reason is kept with what has none.

        Raises:
            TrialPruned: it is worse than others at that point, or diverged.
        """
        drawn = self._plan.space.drawn(trial)
        trial.set_user_attr("implementation", self._plan.config.implementations[0])
        recipe = recipe_by(drawn, self._plan.iterations)
        try:
            return self._judged(trial, recipe, int(drawn["hidden_size"]))
        except optuna.TrialPruned:
            raise
        except (DivergedError, NotFiniteError, WrongWorkError) as error:
            # Parity has passed: what cannot be held against the reference here lets rounding grow.
            trial.set_user_attr(REASON, str(error))
            raise optuna.TrialPruned(str(error)) from None
        except Exception as error:
            trial.set_user_attr(REASON, one_line(error))
            raise

    def _judged(self, trial: optuna.Trial, recipe: Recipe, hidden_size: int) -> float:
        config = self._plan.config.model_copy(
            update={
                "recipe": self._plan.study,
                "own_recipe": recipe,
                "model": replace(self._plan.config.model, hidden_size=hidden_size),
            }
        )
        done, every = 0, -(-recipe.iterations // (LOOKS + 1))

        def look() -> None:
            nonlocal done
            done += 1
            if done % every == 0 and done < recipe.iterations:
                trial.report(_error(session), done // every)
                if trial.should_prune():
                    raise optuna.TrialPruned

        session = Session(config, self._entries, look)
        with contextlib.closing(session):
            session.train(planned(session))
            return _error(session)


def _error(session: Session) -> float:
    return math.log10(max(session.accuracy().mse_mean, SMALLEST_ERROR))


def planned(session: Session) -> Case:
    """The one case of a session.

    Raises:
        BenchError: it cannot run here.
    """
    (case,) = session.plan()
    if case.status != "pending":
        raise BenchError(f"--impl {case.implementation}: {case.reason}")
    return case


def check(plan: Plan, entries: Mapping[str, Entry]) -> None:
    """The gate: what is wrong, or cannot be trained, tunes nothing.

    Raises:
        BenchError: so it is.
    """
    session = Session(plan.config, entries, lambda: None)
    with contextlib.closing(session):
        case = planned(session)
        parity = session.parity(case)
    if not parity.passed:
        raise BenchError(f"--impl {case.implementation}: {parity.reason or 'fails parity'}")
    if not case.model_copy(update={"parity": parity}).trainable:
        raise BenchError(f"--impl {case.implementation} cannot be trained; choose another")


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
    entries: Mapping[str, Entry],
    on_trial: Callable[[], bool],
) -> None:
    """Trial after trial, until the study has enough, the time is over or ``on_trial`` says no."""
    trying, watch = Trying(plan, entries), Stopwatch()
    with interrupts_kept(), told(plan.storage):
        while len(finished(study)) < plan.trials:
            if plan.time_budget is not None and watch.seconds() >= plan.time_budget:
                return
            study.optimize(trying, n_trials=1, catch=(Exception,))
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
    go_on(plan, opened(plan), entries, lambda: os.getppid() == parent)
