"""How well ``quick`` learns each problem type: ``python -m docs.problems``, in Markdown.

From the committed files of `TASKS`, each a run of its own; the cosine's is the default run.
"""

import sys
from pathlib import Path

from bench.records import load
from bench.render import Table, markdown_text, to_markdown
from bench.schema import Result
from bench.summary import AccuracyRow, accuracy_rows, baseline_rows
from bench.tables import heading
from bench.words import error
from tasks import TASKS

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
TRAINED = "fused_cpu"
FLOORS = {"exact recurrence", "exact rotation", "linear filter"}


def files() -> dict[str, Path]:
    """The result file of each task; of the waves one stands for both."""
    others = [name for name in TASKS if name not in ("cosine", "sine")]
    return {"cosine": REFERENCE / "cpu.json"} | {
        name: REFERENCE / f"task_{name}.json" for name in others
    }


def problems(results: dict[str, Result]) -> Table:
    """A line a task: what was learnt, between what is trivial and what is the floor."""
    return Table(
        title=f"What quick learns, with {TRAINED}: mean squared error",
        columns=("task", "problem type", "mean", "worst", "trivial", "floor"),
        sections=(tuple(_row(name, result) for name, result in results.items()),),
        notes=(
            "trivial: the better one of the predictors that know nothing of the task. floor: what "
            "knows all of it; for noisy points no linear filter can do better.",
        ),
    )


def _row(name: str, result: Result) -> tuple[str, ...]:
    [learnt] = [row for row in accuracy_rows(result) if row.label == TRAINED]
    known = baseline_rows(result)
    trivial = min((row for row in known if row.label not in FLOORS), key=_mean)
    floor = next((row for row in known if row.label in FLOORS), None)
    return (
        name,
        TASKS[name].problem,
        error(learnt.mse_mean),
        error(learnt.mse_worst),
        _told(trivial),
        _told(floor) if floor else "0",
    )


def _told(row: AccuracyRow) -> str:
    return f"{error(row.mse_mean)} ({row.label})"


def _mean(row: AccuracyRow) -> float:
    return float("inf") if row.mse_mean is None else row.mse_mean


def page() -> str:
    """What the lab's page shows."""
    results = {name: load(path) for name, path in files().items()}
    return "\n\n".join([markdown_text(heading(results["circle"])), to_markdown(problems(results))])


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")
