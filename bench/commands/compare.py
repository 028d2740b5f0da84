"""`bench compare`: faster, slower, the same, or nobody can tell."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bench import guard, observed
from bench.compare import compare
from bench.comparison_tables import comparison_tables
from bench.console import note, print_json, print_markdown, print_tables
from bench.options import AsJson, AsMarkdown


def command(
    base: Annotated[Path, typer.Argument(help="A result file.", show_default=False)],
    new: Annotated[list[Path], typer.Argument(help="Others.", show_default=False)],
    fail_slower: Annotated[
        str | None,
        typer.Option(
            help="Such as 5%: exit status 1 when a row is surely slower by more, 4 when accuracy "
            "fell, 3 when a row of BASE cannot be guarded.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """Files against a base: faster, slower, the same, or nobody can tell.

    Reads result files, and what pytest-benchmark saved.
    """
    limit = guard.threshold(fail_slower) if fail_slower is not None else None
    comparisons = compare(observed.load(base), map(observed.load, new))
    if as_json:
        print_json([asdict(comparison) for comparison in comparisons])
    elif as_markdown:
        print_markdown(comparison_tables(comparisons))
    else:
        print_tables(comparison_tables(comparisons))
    if limit is not None:
        found = guard.findings(comparisons, limit)
        for _, reason in found:
            note(reason)
        if found:
            raise typer.Exit(found[0][0])
