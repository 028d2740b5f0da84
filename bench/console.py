"""Printing: tables, Markdown, JSON and errors, for the commands alone."""

import os
import sys
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from bench import records, render

# Outside a terminal rich assumes 80 columns; the tables are made for 100.
PLAIN_WIDTH = 100


def print_tables(found: list[render.Table]) -> None:
    """Tables for a terminal, their notes beneath."""
    console = stdout()
    for table in found:
        for part in render.fitted(table, console):
            console.print()
            console.print(part)
        for note in table.notes:
            console.print(Text(render.printable(note), style="dim"))
    console.print()


def print_markdown(found: list[render.Table]) -> None:
    """Tables in Markdown."""
    echo("\n".join(render.to_markdown(table) for table in found))


def print_json(value: Any) -> None:
    """JSON that people can read."""
    echo(records.dumps(value) + "\n")


def stdout() -> Console:
    """Standard output; wide enough for the tables where it is no terminal."""
    console = _Console(highlight=False)
    return console if console.is_terminal else _Console(highlight=False, width=PLAIN_WIDTH)


class _Console(Console):
    """A console to which a reader that has read enough, such as ``head``, is no error."""

    def on_broken_pipe(self) -> None:
        reader_left()


def stderr() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False)


def note(text: str) -> None:
    """One line on standard error, however long."""
    stderr().print(Text(render.printable(text)), soft_wrap=True)


def say(text: str) -> None:
    """One line on standard output, however long."""
    stdout().print(Text(render.printable(text)), soft_wrap=True)


def echo(text: str) -> None:
    """Text as it is."""
    try:
        typer.echo(text, nl=False)
    except BrokenPipeError:
        reader_left()


def reader_left() -> NoReturn:
    """End well; what is still in the buffer must not become a complaint at the very end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(0)
