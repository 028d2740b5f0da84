"""What a search found, in words."""

from typing import Any

from bench import words
from bench.render import Table
from bench.tuning.outcome import Outcome


def tables(outcome: Outcome) -> list[Table]:
    """What was tried, and what of it was best."""
    best = outcome.best
    notes = (
        "pruned: worse than the median of the others at that point. diverged: a loss or a "
        "prediction was not finite, or the trained weights make rounding grow. MSE: closed loop, "
        f"mean over the validation set; the best is trial {best.trial}."
        if best
        else f"no trial was judged: {outcome.reason or 'all were given up'}",
    )
    counts = (outcome.finished, outcome.complete, outcome.pruned, outcome.diverged, outcome.failed)
    tried = Table(
        title=f"Study {outcome.study}: {outcome.task}",
        columns=("trials", "judged", "pruned", "diverged", "failed", "best MSE"),
        sections=(((*map(str, counts), words.error(best.mse if best else None)),),),
        notes=notes,
    )
    return [tried, _best_table(outcome)] if best else [tried]


def _best_table(outcome: Outcome) -> Table:
    drawn = outcome.best.hyperparameters if outcome.best else {}
    names = [*outcome.importances, *(name for name in drawn if name not in outcome.importances)]
    rows = tuple(
        (name, _value(drawn[name]), words.percent(outcome.importances.get(name))) for name in names
    )
    return Table(
        title="The best hyperparameters, and how much each mattered",
        columns=("hyperparameter", "best", "importance"),
        sections=(rows,),
        notes=(
            "importance: PED-ANOVA's, of what sets the best tenth of the judged trials apart."
            if outcome.importances
            else "importance: of too few judged trials to tell.",
        ),
    )


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
