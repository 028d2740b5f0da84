"""A table in words, and how it looks in a terminal and in Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table as RichTable

WORD_COLUMNS = frozenset(
    ("implementation", "device", "workload", "verdict", "cpu", "cuda", "what it is", "finding",
     "hyperparameter", "study", "init", "schedule", "where", "start", "recipe", "front",
     "task", "problem type", "model", "nonlinearity", "course", "latest", "since", "commit",
     "among", "cell", "state", "file", "status")
)  # fmt: skip
# What a row is of, where such columns lead a table.
NAMES = frozenset(
    ("workload", "batch", "hidden size", "implementation", "device", "model", "threads", "H",
     "init", "schedule", "recipe", "study", "cell", "start")
)  # fmt: skip
PROSE_COLUMNS = frozenset(["what was found", "question", "what is varied", "second", "machine"])

ENDLESS = 1_000_000  # a measurement is never wider than its console

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table in words.

    Attributes:
        title: what it shows.
        columns: headings.
        sections: rows, in groups with a line between them.
        notes: what a reader has to know, one sentence or two each.
    """

    title: str
    columns: Row
    sections: tuple[tuple[Row, ...], ...]
    notes: tuple[str, ...] = ()


def fitted(table: Table, console: Console) -> list[RichTable]:
    """A table for a terminal, its notes to be printed beneath; no word or number is folded.

    Where there is room for all words and numbers, but not for each cell on one line, cells of the
    widest columns take several. Where there is not, the table is cut into parts of all rows, each
    led by the columns that name a row; a part of a single further column is folded at last.
    """
    widths = _widths(table, console)
    if widths:
        return [_rich(table, widths)]
    leading = takewhile(lambda number: table.columns[number] in NAMES, range(len(table.columns)))
    names = (list(leading) or [0])[: len(table.columns) - 1]  # one column at least is cut off
    parts: list[list[int]] = []
    for number in range(len(names), len(table.columns)):
        if parts and _widths(_part(table, [*names, *parts[-1], number]), console):
            parts[-1].append(number)
        else:
            parts.append([number])
    found = [_part(table, [*names, *part]) for part in parts]
    return [_rich(part, _widths(part, console)) for part in found]


def _rich(table: Table, widths: Sequence[int] | None) -> RichTable:
    rich = RichTable(
        title=escape(printable(table.title)), title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, pad_edge=False,
        collapse_padding=True,
    )  # fmt: skip
    for number, column in enumerate(table.columns):
        words = column in WORD_COLUMNS | PROSE_COLUMNS
        justify: Literal["left", "right"] = "left" if words else "right"
        width = widths[number] if widths else None
        rich.add_column(column, justify=justify, width=width, overflow="fold")
    for section in table.sections:
        for row in section:
            rich.add_row(*(escape(printable(cell)) for cell in row))
        rich.add_section()
    return rich


def _widths(table: Table, console: Console) -> list[int] | None:
    """Of each column, so that all words and numbers have room; None where they have not."""
    columns = list(zip(table.columns, *(row for section in table.sections for row in section),
                       strict=True))  # fmt: skip
    most = [max(map(cell_len, map(printable, column))) for column in columns]
    least = [
        max(_longest(heading), *map(cell_len if heading in WORD_COLUMNS else _longest, cells), 1)
        for heading, *cells in columns
    ]
    frame = _rich(Table(table.title, table.columns, ()), most)  # as wide without its rows
    natural = Measurement.get(console, console.options.update_width(ENDLESS), frame)
    excess = natural.maximum - console.width
    if sum(most) - sum(least) < excess:
        return None
    widths = most
    for _ in range(excess):
        widest = max(
            (number for number in range(len(widths)) if widths[number] > least[number]),
            key=lambda number: widths[number],
        )
        widths[widest] -= 1
    return widths


def _longest(text: str) -> int:
    """Of its words."""
    return max(map(cell_len, printable(text).split()), default=0)


def _part(table: Table, columns: Sequence[int]) -> Table:
    """Some of its columns."""
    sections = tuple(
        tuple(tuple(row[number] for number in columns) for row in section)
        for section in table.sections
    )
    return Table(table.title, tuple(table.columns[number] for number in columns), sections)


def to_markdown(table: Table) -> str:
    """A GitHub table under a bold title, its notes beneath."""
    words = WORD_COLUMNS | PROSE_COLUMNS
    rule = [":--" if column in words else "--:" for column in table.columns]
    rows = [row for section in table.sections for row in section]
    lines = [_markdown_row(table.columns), _markdown_row(rule, raw=True)]
    lines += [_markdown_row(row) for row in rows]
    notes = "".join(f"\n\n{markdown_text(note)}" for note in table.notes)
    return f"**{markdown_text(table.title)}**\n\n" + "\n".join(lines) + notes + "\n"


def _markdown_row(cells: Iterable[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(cell if raw else markdown_text(cell) for cell in cells) + " |"


def markdown_text(text: str) -> str:
    """Nothing in a result file may become markup: names and reasons can be anybody's."""
    text = printable(text)
    for character in "\\`*_[]<>|":
        text = text.replace(character, "\\" + character)
    return text


def printable(text: str) -> str:
    """``text`` without control characters: a terminal would obey them."""
    return "".join(character if character.isprintable() else " " for character in text)
