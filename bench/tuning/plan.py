"""What is searched, by how much work, and where its trials are kept."""

from dataclasses import dataclass
from typing import Any

from bench.config import RunConfig
from bench.tuning.space import VERSION, Space


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a trial while it trains, or at its end.

    Attributes:
        error: the common logarithm of its mean closed-loop error; None where there is none.
        reason: why not.
        over: whether there is nothing more to come.
    """

    error: float | None = None
    reason: str | None = None
    over: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """One search, as one process sees it.

    Attributes:
        study: its name in the storage.
        storage: where trials are kept: a URL, as SQLAlchemy reads it.
        config: the run that every trial is, but for its recipe and hidden size; its test set is
            the validation set.
        space: what is tried.
        iterations: the budget of a trial: as many sequence-steps as that many of ``quick`` have.
        trials: that the study is to have finished.
        time_budget: seconds after which this process begins no other trial.
    """

    study: str
    storage: str
    config: RunConfig
    space: Space
    iterations: int
    trials: int
    time_budget: float | None = None

    def settings(self) -> dict[str, Any]:
        """What must be the same for all trials of a study, lest their errors tell nothing."""
        config = self.config
        return {
            "space": VERSION,
            "task": config.task,
            "seed": config.seed,
            "iterations": self.iterations,
            "validation_sequences": config.evaluation.sequences,
            "hidden_sizes": list(self.space.hidden_sizes),
            "batch_sizes": list(self.space.batch_sizes),
            "num_layers": config.model.num_layers,
            "nonlinearity": config.model.nonlinearity,
        }
