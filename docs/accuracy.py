"""How accurate it gets: ``python -m docs.accuracy``, in Markdown.

Without an argument each implementation, from two committed files: ``quick``, which every one
trained by itself, and ``best``, whose weights one trained and all were given. With ``seeds`` what
five seeds of ``best`` came to.
"""

import sys
from pathlib import Path

from bench.records import load
from bench.render import Table, markdown_text, to_markdown
from bench.schema import Result
from bench.summary import AccuracyRow, accuracy_rows, baseline_rows
from bench.tables import PUBLISHED_MSE, heading
from bench.words import NOTHING, error

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
SEEDS = range(5)


def accuracy(quick: Result, best: Result) -> Table:
    """A line an implementation, then the trivial predictors and the lecture's own result."""
    trained, given = accuracy_rows(quick), {row.label: row for row in accuracy_rows(best)}
    return Table(
        title="Accuracy: mean squared error of 899 free steps of 1,000 cosines",
        columns=("implementation", "quick", "its worst", "best", "its worst"),
        sections=(
            tuple((row.label, *_errors(row), *_errors(given.get(row.label))) for row in trained),
            tuple((row.label, *_errors(row), NOTHING, NOTHING) for row in baseline_rows(quick)),
            (("lecture, published (sine)", error(PUBLISHED_MSE), *(NOTHING,) * 3),),
        ),
        notes=(
            "quick: each trained by itself. best: one training's weights, computed by each; exact "
            "recurrence, in float32, is the floor.",
        ),
    )


def seeds(results: list[Result]) -> Table:
    """A line a seed of one and the same training."""
    rows = [(result.config, row) for result in results for row in accuracy_rows(result)]
    return Table(
        title="best, seed by seed: mean squared error of 899 free steps of 1,000 cosines",
        columns=("seed", "mean", "median", "best", "worst", "training"),
        sections=(
            tuple(
                (
                    str(config.seed),
                    *map(error, (row.mse_mean, row.mse_median, row.mse_best, row.mse_worst)),
                    NOTHING if row.training_seconds is None else f"{row.training_seconds:.0f} s",
                )
                for config, row in rows
            ),
        ),
    )


def _errors(row: AccuracyRow | None) -> tuple[str, str]:
    if row is None or row.mse_mean is None or row.mse_worst is None:
        return NOTHING, NOTHING
    return error(row.mse_mean), error(row.mse_worst)


def page() -> str:
    """What the README shows."""
    quick, best = load(REFERENCE / "cpu.json"), load(REFERENCE / "best.json")
    headings = (f"quick: {heading(quick)}", f"best: {heading(best)}")
    return "\n\n".join([*map(markdown_text, headings), to_markdown(accuracy(quick, best))])


def seeds_page() -> str:
    """What the lab's page shows."""
    results = [load(REFERENCE / f"best_seed_{seed}.json") for seed in SEEDS]
    return "\n\n".join([markdown_text(heading(results[0])), to_markdown(seeds(results))])


if __name__ == "__main__":
    sys.stdout.write((seeds_page() if sys.argv[1:] == ["seeds"] else page()) + "\n")
