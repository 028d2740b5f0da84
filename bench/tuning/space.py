"""What is tuned, from where to where, and the recipe that comes of it. Needs no Optuna."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from bench.recipes import RECIPES, Recipe
from impls.config import InitName

# Raised with every change below: trials of two spaces do not belong into one study.
VERSION = 2
FIRST = "quick"  # what the first trial tries, so that nothing worse is ever found
Value = float | int | str


class Trial(Protocol):
    """What `optuna.Trial` has of use here."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """A whole number."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of several."""


@dataclass(frozen=True, slots=True)
class Space:
    """The sizes that a trial's costs depend on most, each a list of choices."""

    hidden_sizes: tuple[int, ...]
    batch_sizes: tuple[int, ...]

    def drawn(self, trial: Trial) -> dict[str, Value]:
        """A value for every hyperparameter, each in every trial: none depends on another."""
        return {
            "hidden_size": trial.suggest_categorical("hidden_size", self.hidden_sizes),
            "batch_size": trial.suggest_categorical("batch_size", self.batch_sizes),
            "points_first": trial.suggest_int("points_first", 61, 101, step=20),
            "points_last": trial.suggest_int("points_last", 101, 501, step=100),
            "optimiser": trial.suggest_categorical("optimiser", ("muon", "adam")),
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            "muon_rate": trial.suggest_float("muon_rate", 1e-4, 3e-2, log=True),
            "schedule": trial.suggest_categorical("schedule", ("one_cycle", "constant")),
            "forced_steps": trial.suggest_int("forced_steps", 1, 100),
            "free_first": trial.suggest_float("free_first", 0.0, 1.0, step=0.25),
            "free_last": trial.suggest_float("free_last", 0.0, 1.0, step=0.25),
            "loss_warm_up": trial.suggest_int("loss_warm_up", 0, 50, step=10),
            "clip_norm": trial.suggest_float("clip_norm", 0.1, 10.0, log=True),
            "init": trial.suggest_categorical("init", get_args(InitName)),
            "init_gain": trial.suggest_float("init_gain", 0.5, 2.0, log=True),
        }

    def first(self, hidden_size: int) -> dict[str, Value]:
        """The hyperparameters of `FIRST`, without sizes that are no choice here."""
        recipe = RECIPES[FIRST]
        if recipe.free_probability == "lab" or recipe.muon_rate is None or recipe.init is None:
            raise ValueError(f"the recipe {FIRST} is not in the space")
        sizes = {
            "hidden_size": (hidden_size, self.hidden_sizes),
            "batch_size": (recipe.batch_size, self.batch_sizes),
        }
        return {
            **{name: value for name, (value, choices) in sizes.items() if value in choices},
            "points_first": recipe.points[0],
            "points_last": recipe.points[1],
            "optimiser": "muon",
            "learning_rate": recipe.learning_rate,
            "muon_rate": recipe.muon_rate,
            "schedule": recipe.schedule,
            "forced_steps": recipe.forced_steps,
            "free_first": recipe.free_probability[0],
            "free_last": recipe.free_probability[1],
            "loss_warm_up": recipe.loss_warm_up,
            "clip_norm": recipe.clip_norm or 10.0,
            "init": recipe.init,
            "init_gain": recipe.init_gain,
        }


def recipe_by(drawn: Mapping[str, Any], iterations: int, summary: str = "") -> Recipe:
    """The recipe of drawn hyperparameters.

    Args:
        drawn: by the names of `Space.drawn`.
        iterations: of `FIRST`, whose sequence-steps the recipe may take: smaller batches and
            shorter sequences get more iterations for them.
        summary: the recipe's.
    """
    batch_size, points = drawn["batch_size"], (drawn["points_first"], drawn["points_last"])
    budget = iterations * _steps(RECIPES[FIRST].batch_size, RECIPES[FIRST].points)
    return Recipe(
        summary=summary,
        iterations=max(1, round(budget / _steps(batch_size, points))),
        batch_size=batch_size,
        points=points,
        learning_rate=drawn["learning_rate"],
        schedule=drawn["schedule"],
        muon_rate=drawn["muon_rate"] if drawn["optimiser"] == "muon" else None,
        forced_steps=drawn["forced_steps"],
        free_probability=(drawn["free_first"], drawn["free_last"]),
        loss_warm_up=drawn["loss_warm_up"],
        clip_norm=drawn["clip_norm"],
        init=drawn["init"],
        init_gain=drawn["init_gain"],
        rewind_above=RECIPES[FIRST].rewind_above,
    )


def _steps(batch_size: int, points: tuple[int, int]) -> float:
    """Sequence-steps of an iteration, on average."""
    return batch_size * (sum(points) / 2 - 1)
