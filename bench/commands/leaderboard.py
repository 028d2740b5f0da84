"""`bench leaderboard`: who is fastest where, over many files."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bench import leaderboard
from bench.console import note, print_json, print_markdown, print_tables
from bench.errors import BenchError
from bench.options import AsJson, AsMarkdown

ALL = "all"


def command(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help=f"Result files, and folders of them. Default: {leaderboard.FOLDER}.",
            show_default=False,
        ),
    ] = None,
    hidden_size: Annotated[
        str, typer.Option(help=f"The one to look at; {ALL}: every one that was timed.")
    ] = "128",
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """Per machine, workload and batch size the fastest that passes parity, and who comes next."""
    size = None if hidden_size == ALL else _size(hidden_size)
    results, damaged = leaderboard.load(paths or [leaderboard.FOLDER])
    for line in damaged:
        note(line)
    found = leaderboard.leaders(results, size)
    if not found:
        raise BenchError(
            "no result file has two implementations or more timed"
            + (f" at hidden size {size}" if size else "")
        )
    if as_json:
        print_json([asdict(leader) for leader in found])
    elif as_markdown:
        print_markdown(leaderboard.tables(found))
    else:
        print_tables(leaderboard.tables(found))


def _size(text: str) -> int:
    if not text.isdigit() or int(text[:9]) < 1:
        raise BenchError(f"--hidden-size must be a whole number from 1 or {ALL}, got '{text}'")
    return int(text[:9])
