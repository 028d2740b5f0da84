"""Results -> one HTML page, whole in itself."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench import observed, tables, words
from bench.clock import now
from bench.compare import compare
from bench.comparison_tables import comparison_tables
from bench.environment import version
from bench.render import PROSE_COLUMNS, WORD_COLUMNS, Table, printable
from bench.reporting import answers, drawings
from bench.schema import Result

if TYPE_CHECKING:
    from bench.reporting.past import Past

# What rows are chosen by, where a table has such a column.
FILTERS = ("device", "workload", "H", "batch", "implementation")
_SCALES = {"k": 1e3, "M": 1e6, "G": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
           "us": 1e-6, "ms": 1e-3}  # fmt: skip
_NUMBER = re.compile(r"[<>+±]*\s*([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell: its words, and what it is sorted by."""

    text: str
    order: float | None


@dataclass(frozen=True, slots=True)
class Grid:
    """A table in a page.

    Attributes:
        id: its element's.
        table: what it says.
        words: for each column, whether it holds words rather than numbers.
        rows: of cells, each with the values that it is filtered by.
    """

    id: str
    table: Table
    words: tuple[bool, ...]
    rows: tuple[tuple[tuple[Cell, ...], Mapping[str, str]], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """What a page says of one file."""

    id: str
    name: str
    heading: str
    headline: str
    details: tuple[str, ...]
    leaders: tuple[str, ...]
    warnings: tuple[str, ...]
    grids: tuple[Grid, ...]
    drawings: tuple[drawings.Drawing, ...]
    machine: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class History:
    """What a page says of a folder over time."""

    name: str
    headline: str
    grids: tuple[Grid, ...]
    drawing: drawings.Drawing
    left_out: tuple[str, ...]


def page(results: Mapping[str, Result], past: "Past | None" = None) -> str:
    """The page.

    Args:
        results: name -> result; of several the first is the base of a comparison. None at all only
            with a history.
        past: the history of a folder.
    """
    sections = [_section(f"f{n}", name, each) for n, (name, each) in enumerate(results.items())]
    seen = [observed.of_result(result, name) for name, result in results.items()]
    comparisons = compare(seen[0], seen[1:]) if seen else ()
    grids = _grids(comparison_tables(comparisons), "c")
    drawn = [drawings.of_comparison(each, f"c{n}") for n, each in enumerate(comparisons)]
    style, script = (_asset(f"report.{kind}") for kind in ("css", "js"))
    history = _history(past) if past else None
    everything = [*grids, *(grid for section in sections for grid in section.grids)]
    everything += history.grids if history else ()
    jinja = Environment(
        loader=PackageLoader("bench.reporting", "."),
        autoescape=True,  # names and reasons in a file can be anybody's
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return jinja.get_template(
        "report.html.j2"
    ).render(
        title=_title(sections, history),
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - our own
        script=Markup(script),  # noqa: S704 - our own
        sections=sections,
        compared=[printable(line) for line in answers.compared(comparisons)],
        history=history,
        comparison_grids=grids,
        comparison_drawings=[drawing for drawing in drawn if drawing],
        filters=_filters(everything),
        svg=Markup,  # a figure's text was escaped when it was written
        made=f"{now()[:16].replace('T', ' ')} UTC, rnn-bench {version()}",
    )


def order(text: str) -> float | None:
    """The number at the head of a cell's words, in its unit; None where there is none.

    Args:
        text: such as "1.19M", "12.5 ms", "1.00x ±12%" or "< 5%".
    """
    found = _NUMBER.match(text)
    if not found:
        return None
    return float(found[1].replace(",", "")) * _SCALES.get(found[2], 1.0)


def _title(sections: Sequence[Section], history: History | None) -> str:
    if len(sections) > 1:
        return f"{len(sections)} results compared"
    return sections[0].headline if sections else f"History of {history.name if history else ''}"


def _history(past: "Past") -> History:
    return History(
        name=printable(past.name),
        headline=printable(past.headline),
        grids=tuple(_grids(past.tables, "h")),
        drawing=past.drawing,
        left_out=tuple(map(printable, past.left_out)),
    )


def _section(prefix: str, name: str, result: Result) -> Section:
    places = answers.places(result)
    # Where the fastest of each size do not stand above the tables, they are the first of them.
    found = tables.result_tables(result)
    found = [tables.scaling(result), *found] if len(places) > answers.MOST_LEADERS else found
    return Section(
        id=prefix,
        name=printable(name),
        heading=printable(tables.heading(result)),
        headline=printable(answers.headline(result)),
        details=tuple(map(printable, answers.details(result))),
        leaders=tuple(map(printable, answers.leaders(places))),
        warnings=tuple(map(printable, answers.warnings(result))),
        grids=tuple(_grids(found, prefix)),
        drawings=tuple(drawings.of_result(result, prefix)),
        machine=tuple(_machine(result)),
    )


def _grids(found: Iterable[Table], prefix: str) -> list[Grid]:
    return [_grid(table, f"{prefix}-t{number}") for number, table in enumerate(found)]


def _grid(table: Table, name: str) -> Grid:
    worded = tuple(column in WORD_COLUMNS | PROSE_COLUMNS for column in table.columns)
    rows = []
    for row in (row for section in table.sections for row in section):
        cells = tuple(
            Cell(printable(text), None if is_words else order(text))
            for text, is_words in zip(row, worded, strict=True)
        )
        named = dict(zip(table.columns, (cell.text for cell in cells), strict=True))
        rows.append((cells, {name: named[name] for name in FILTERS if named.get(name)}))
    return Grid(name, table, worded, tuple(rows))


def _filters(grids: Iterable[Grid]) -> dict[str, list[str]]:
    """The values that rows can be chosen by; of one value there is nothing to choose."""
    found: dict[str, dict[str, None]] = {name: {} for name in FILTERS}
    for grid in grids:
        for _, named in grid.rows:
            for name, value in named.items():
                found[name][value] = None
    return {
        name: sorted(values, key=lambda value: (order(value) or 0.0, value))
        for name, values in found.items()
        if len(values) > 1
    }


def _machine(result: Result) -> Iterable[tuple[str, str]]:
    """What was measured on, a line each."""
    machine = result.environment
    yield "processor", f"{machine.cpu}, {machine.cores} cores"
    if machine.caches:
        sizes = (f"{name} {words.size(size)}" for name, size in machine.caches.items())
        yield "caches", ", ".join(sizes)
    yield "memory", words.size(machine.memory_bytes)
    for gpu in machine.gpu:
        yield "GPU", gpu.name + (f", driver {gpu.driver}" if gpu.driver else "")
    yield "system", machine.os
    yield (
        "software",
        (
            f"Python {machine.python}, torch {machine.torch}, NumPy {machine.numpy}, "
            f"rnn-bench {machine.rnn_bench}"
        ),
    )
    if machine.cuda:
        yield "CUDA", machine.cuda + (f", cuDNN {machine.cudnn}" if machine.cudnn else "")
    yield "threads", ", ".join(map(str, result.config.threads))
    if machine.governor:
        yield "governor", machine.governor
    if machine.git_commit:
        yield "commit", machine.git_commit + (" and changes" if machine.git_dirty else "")
    yield "run at", result.created_at


def _asset(name: str) -> str:
    return resources.files("bench.reporting").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing from anywhere: the page's own style and script, by their digests.

    Figures carry their colours in style attributes, which load nothing either.
    """
    digests = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in (("style", style), ("script", script))
    }
    return (
        "default-src 'none'; "
        f"style-src-elem 'sha256-{digests['style']}'; style-src-attr 'unsafe-inline'; "
        f"script-src 'sha256-{digests['script']}'; "
        "base-uri 'none'; form-action 'none'"
    )
