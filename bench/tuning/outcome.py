"""What a study has found so far, free of Optuna's types."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from bench.recipe_files import as_toml
from bench.recipes import Recipe
from bench.tuning.plan import Plan
from bench.tuning.space import recipe_by
from bench.tuning.storage import REASON, finished

# Of fewer trials the importances are noise.
FEWEST_FOR_IMPORTANCES = 10


@dataclass(frozen=True, slots=True)
class Best:
    """The trial of the smallest error."""

    trial: int
    mse: float
    implementation: str
    hyperparameters: Mapping[str, Any]
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Point:
    """One finished trial; ``mse`` is None where it was given up, or failed."""

    trial: int
    mse: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A study.

    Attributes:
        study: its name.
        task: what was learned.
        complete: trials that were judged.
        pruned: given up for others that were better by then.
        diverged: given up for a loss or a prediction that was not finite, or rounding that grows.
        failed: the implementation raised.
        reason: of the last of these two.
        best: None where no trial is complete.
        importances: hyperparameter -> share, the largest first; empty where trials are too few.
        points: in the order of their numbers.
    """

    study: str
    task: str
    complete: int
    pruned: int
    diverged: int
    failed: int
    reason: str | None
    best: Best | None
    importances: Mapping[str, float]
    points: tuple[Point, ...]

    @property
    def finished(self) -> int:
        """All trials that told something."""
        return len(self.points)


def outcome_of(plan: Plan, study: optuna.Study) -> Outcome:
    """What the study has found."""
    trials = sorted(finished(study), key=lambda trial: trial.number)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    reasons = [trial.user_attrs[REASON] for trial in trials if REASON in trial.user_attrs]
    diverged = sum(REASON in trial.user_attrs for trial in pruned)
    return Outcome(
        study=plan.study,
        task=plan.config.task,
        complete=len(complete),
        pruned=len(pruned) - diverged,
        diverged=diverged,
        failed=len(trials) - len(complete) - len(pruned),
        reason=reasons[-1] if reasons else None,
        best=_best(plan, complete),
        importances=_importances(study) if len(complete) >= FEWEST_FOR_IMPORTANCES else {},
        points=tuple(Point(trial.number, _mse(trial)) for trial in trials),
    )


def recipe_text(plan: Plan, outcome: Outcome, best: Best, command: str) -> str:
    """The recipe file of the best trial; ``command`` trains by it."""
    comment = (
        f"{mark(plan)} trial {best.trial}, the best of {outcome.finished}.\n"
        f"Mean squared error {best.mse:.3g} on {plan.config.evaluation.sequences} validation "
        f"sequences of {plan.config.task}, trained with {best.implementation}, seed "
        f"{plan.config.seed}.\n"
        f"To train by it: {command}"
    )
    model = plan.config.model
    sizes = {
        "hidden_size": best.hyperparameters["hidden_size"],
        "num_layers": model.num_layers,
        "nonlinearity": model.nonlinearity,
    }
    return as_toml(best.recipe, sizes, comment)


def mark(plan: Plan) -> str:
    """What a recipe file of this study begins with, behind the comment's sign."""
    return f"Found by bench tune, study {plan.study}:"


def _best(plan: Plan, complete: list[FrozenTrial]) -> Best | None:
    if not complete:
        return None
    best = min(complete, key=lambda trial: trial.value or 0.0)
    summary = f"trial {best.number} of the study {plan.study}"
    return Best(
        trial=best.number,
        mse=_mse(best) or 0.0,
        implementation=str(best.user_attrs.get("implementation")),
        hyperparameters=best.params,
        recipe=recipe_by(best.params, plan.iterations, summary),
    )


def _mse(trial: FrozenTrial) -> float | None:
    return None if trial.value is None or trial.state != TrialState.COMPLETE else 10.0**trial.value


def _importances(study: optuna.Study) -> dict[str, float]:
    """By PED-ANOVA (Watanabe et al., 2023): what sets the best tenth of the trials apart."""
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
