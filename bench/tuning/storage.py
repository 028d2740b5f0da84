"""Optuna's study: opened, or gone on with, and whatever its database says in one line."""

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from bench.errors import BenchError, telling_line
from bench.tuning.plan import Plan

SETTINGS, REASON = "rnn-bench", "reason"
# A trial whose process gave no sign for so long counts as lost, and is nobody's any more.
HEARTBEAT_SECONDS, LOST_SECONDS = 10, 60
# SQLite lets one process write at a time: the others wait.
LOCK_SECONDS = 60
OPENINGS = 10
UNDRAWN_TRIALS, UNPRUNED_TRIALS, UNPRUNED_LOOKS = 10, 5, 1


class Seeded(optuna.samplers.BaseSampler):
    """A tree-structured Parzen estimator whose seed is a trial's number beside the study's own.

    Numbers are given out by the storage: no two processes draw alike, and one alone draws the same
    every time. The first trial that is not cut short is given: one that waited in the storage, two
    might take at once.
    """

    def __init__(self, seed: int, first: Mapping[str, Any]) -> None:
        self._seed, self._first, self._is_first = seed, first, False
        self._sampler = self._made(0)

    def _made(self, number: int) -> optuna.samplers.TPESampler:
        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        # Trials under way elsewhere count as bad ones, so that nobody tries the same again.
        return optuna.samplers.TPESampler(
            n_startup_trials=UNDRAWN_TRIALS, constant_liar=True, multivariate=False, seed=seed
        )

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        earlier = [each for each in study.get_trials(deepcopy=False) if each.number < trial.number]
        self._is_first = all(each.state.is_finished() for each in earlier) and not _counted(earlier)
        self._sampler = self._made(trial.number)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if self._is_first and param_name in self._first:
            return self._first[param_name]
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


def opened(plan: Plan) -> optuna.Study:
    """The study of a plan, new or gone on with.

    Raises:
        BenchError: the storage cannot be used, or the study was begun with other settings.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    with told(plan.storage):
        study = optuna.create_study(
            study_name=plan.study,
            storage=_storage(plan.storage),
            sampler=Seeded(plan.config.seed, plan.space.first(plan.config.model.hidden_size)),
            pruner=optuna.pruners.MedianPruner(UNPRUNED_TRIALS, UNPRUNED_LOOKS),
            direction="minimize",
            load_if_exists=True,
        )
        known = study.user_attrs.get(SETTINGS)
        if known is None:
            if study.get_trials(deepcopy=False):
                raise BenchError(
                    f"the study {plan.study} in {shown(plan.storage)} is not of bench tune; choose "
                    "another --study"
                )
            study.set_user_attr(SETTINGS, plan.settings())
        else:
            _check_same(plan, known)
    return study


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that told something; not those that were cut short, which are tried again."""
    return _counted(study.get_trials(deepcopy=False))


def _counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    done = (TrialState.COMPLETE, TrialState.PRUNED)
    return [
        trial
        for trial in trials
        if trial.state in done or (trial.state == TrialState.FAIL and REASON in trial.user_attrs)
    ]


def shown(url: str) -> str:
    """A storage as it may be printed: no password, and no options, which can hold one."""
    try:
        parsed = sqlalchemy.make_url(url)
    except (ArgumentError, ValueError):
        return "the storage"
    return parsed.set(query={}).render_as_string(hide_password=True)


@contextmanager
def told(url: str) -> Iterator[None]:
    """Whatever a database complains about, in one line that tells no password.

    Raises:
        BenchError: it complained.
    """
    try:
        yield
    except ImportError as error:
        cause = error.__cause__ or error
        raise BenchError(f"--storage {shown(url)} needs a driver: {cause}") from None
    except StorageInternalError as error:
        raise BenchError(_complaint(url, error.__cause__ or error)) from None
    except (SQLAlchemyError, RuntimeError) as error:
        raise BenchError(_complaint(url, error)) from None


def _complaint(url: str, error: BaseException) -> str:
    words = telling_line(str(getattr(error, "orig", None) or error))
    try:
        password = sqlalchemy.make_url(url).password
    except (ArgumentError, ValueError):
        return "--storage must be a URL such as sqlite:///results/study.db"
    if password:
        words = words.replace(str(password), "***")
    return f"--storage {shown(url)}: {words}"


def _storage(url: str) -> optuna.storages.RDBStorage:
    """Retried, for two processes that make the tables at once are in each other's way."""
    sqlite = url.startswith("sqlite")
    options = {"connect_args": {"timeout": LOCK_SECONDS}} if sqlite else {"pool_pre_ping": True}
    for attempt in range(OPENINGS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return optuna.storages.RDBStorage(
                    url,
                    engine_kwargs=options,
                    heartbeat_interval=HEARTBEAT_SECONDS,
                    grace_period=LOST_SECONDS,
                )
        except SQLAlchemyError:
            if attempt == OPENINGS - 1 or not sqlite:
                raise
            threading.Event().wait(0.1 * (attempt + 1))
    raise AssertionError("unreachable")


def _check_same(plan: Plan, known: dict[str, Any]) -> None:
    for name, asked in plan.settings().items():
        if (found := known.get(name)) != asked:
            raise BenchError(
                f"the study {plan.study} was begun with {name} {found}, not {asked}; give the same "
                "options, or choose another --study"
            )
