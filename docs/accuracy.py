"""How accurate each implementation gets: ``python -m docs.accuracy``, in Markdown.

From two committed files: ``quick``, which every implementation trained by itself, and ``best``,
whose weights one trained and all were given.
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


def _errors(row: AccuracyRow | None) -> tuple[str, str]:
    if row is None or row.mse_mean is None or row.mse_worst is None:
        return NOTHING, NOTHING
    return error(row.mse_mean), error(row.mse_worst)


def page() -> str:
    """What the README shows."""
    quick, best = load(REFERENCE / "cpu.json"), load(REFERENCE / "best.json")
    headings = (f"quick: {heading(quick)}", f"best: {heading(best)}")
    return "\n\n".join([*map(markdown_text, headings), to_markdown(accuracy(quick, best))])


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")
