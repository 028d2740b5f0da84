"""A table in words, and how it looks in a terminal and in Markdown."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

WORD_COLUMNS = frozenset(
    ("implementation", "device", "workload", "verdict", "cpu", "cuda", "what it is", "finding",
     "hyperparameter", "study", "init", "schedule", "where", "start", "recipe", "front",
     "task", "problem type", "model", "nonlinearity", "course", "latest", "since", "commit",
     "among", "cell", "state", "file", "status")
)  # fmt: skip
PROSE_COLUMNS = frozenset(["what was found", "question", "what is varied", "second", "machine"])

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


def to_rich(table: Table) -> RichTable:
    """For a terminal; the notes are to be printed beneath."""
    rich = RichTable(
        title=escape(printable(table.title)), title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, pad_edge=False,
        collapse_padding=True,
    )  # fmt: skip
    for column in table.columns:
        words = column in WORD_COLUMNS | PROSE_COLUMNS
        justify: Literal["left", "right"] = "left" if words else "right"
        rich.add_column(column, justify=justify, no_wrap=column in WORD_COLUMNS, overflow="fold")
    for section in table.sections:
        for row in section:
            rich.add_row(*(escape(printable(cell)) for cell in row))
        rich.add_section()
    return rich


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
