"""What was measured on a GPU: ``python -m docs.gpu``, in Markdown.

The overview of every result file in ``results/reference`` with a case on CUDA; where there is none,
who runs there, and that nobody has measured it yet.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.records import load
from bench.render import Table, markdown_text, to_markdown
from bench.schema import Result
from bench.tables import heading, overview
from impls import REGISTRY

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
KIND = '"kind"'  # begins a file that holds no cases, such as a self-test


def measured(folder: Path) -> list[Result]:
    """The result files in ``folder`` with a case on CUDA, by name."""
    files = sorted(folder.glob("*.json"))
    results = [load(file) for file in files if KIND not in file.read_text(encoding="utf-8")[:200]]
    return [each for each in results if any(c.device.startswith("cuda") for c in each.cases)]


def waiting() -> Table:
    """Who is written for CUDA."""
    return Table(
        title="On a GPU: not measured yet",
        columns=("implementation", "what it is", "cuda"),
        sections=(
            tuple(
                (name, entry.summary, "not measured yet")
                for name, entry in REGISTRY.items()
                if "cuda" in entry.devices
            ),
        ),
    )


def page(results: Sequence[Result]) -> Iterable[str]:
    """What the README shows, piece by piece."""
    for result in results:
        yield markdown_text(heading(result))
        yield to_markdown(overview(result))
    if not results:
        yield to_markdown(waiting())


if __name__ == "__main__":
    sys.stdout.write("\n\n".join(page(measured(REFERENCE))))
