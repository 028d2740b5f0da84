"""`bench history`: what each case took over commits and dates, and what changed it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from bench import launch
from bench.console import note, print_json, print_markdown, print_tables
from bench.errors import BenchError
from bench.history import ALL, EXTRA, NEWEST, PACKAGES
from bench.options import AsJson, AsMarkdown, Overwrite
from impls.packages import missing_reason

if TYPE_CHECKING:
    from bench.history.changes import History
    from bench.history.series import Collection

PICTURES = (".png", ".svg")


def command(
    folder: Annotated[
        Path, typer.Argument(help="Its *.json are read, its folders are not looked into.")
    ] = Path("results"),
    impl: Annotated[str, typer.Option(help=f"{ALL}, or a comma list of implementations.")] = ALL,
    workload: Annotated[str, typer.Option(help=f"{ALL}, or a comma list of workloads.")] = ALL,
    machine: Annotated[
        str, typer.Option(help=f"{NEWEST}: that of the newest file; {ALL}; or a part of its name.")
    ] = NEWEST,
    since: Annotated[
        str | None, typer.Option(help="A day, 2026-01-31: files from then on.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="A picture too: a .png or .svg file.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """What each case took over commits and dates, where that changed, and which commit did it."""
    if reason := missing_reason(PACKAGES, EXTRA):
        raise BenchError(f"bench history {reason}")
    begin = _microseconds(since) if since is not None else 0
    if output:  # before minutes are spent on what it shows
        launch.check_output(output, PICTURES)
        launch.keep_what_is_there(output, overwrite=overwrite)
    from bench.history import choice
    from bench.history.changes import histories
    from bench.history.reading import read

    collection = read(folder, begin)
    for line in collection.left_out:
        note(line)
    if not collection.series:
        raise BenchError(f"no result file in {folder} has timed anything" + _after(since))
    chosen = choice.of_names(collection.series, impl, workload)
    chosen, others = choice.of_machine(chosen, machine)
    found = histories(chosen)
    if as_json:
        _print_json(folder, collection, found)
    else:
        _print_tables(choice.about(folder, collection, others), found, markdown=as_markdown)
    if output:
        _draw(found, output)


def _microseconds(text: str) -> int:
    """The begin of a day in UTC."""
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            raise ValueError
        return int(np.datetime64(text, "us").astype(np.int64))
    except ValueError:
        raise BenchError(f"--since must be a day such as 2026-01-31, got '{text}'") from None


def _after(since: str | None) -> str:
    return f" since {since}" if since else ""


def _print_json(folder: Path, collection: "Collection", found: Sequence["History"]) -> None:
    from bench.history.tables import numbers
    from bench.leaderboard import labels

    names = labels([each.machine for each in collection.series])
    print_json(
        {
            "folder": str(folder),
            "results": collection.results,
            "other_kinds": collection.other_kinds,
            "left_out": list(collection.left_out),
            "machines": list(names.values()),
            "histories": [numbers(each, names[each.series.machine]) for each in found],
        }
    )


def _print_tables(about: Sequence[str], found: Sequence["History"], *, markdown: bool) -> None:
    from bench.history.tables import tables

    (print_markdown if markdown else print_tables)(tables(found, about))


def _draw(found: Sequence["History"], output: Path) -> None:
    """Draw what changed most; the others wait to be chosen.

    Raises:
        BenchError: the picture cannot be written.
    """
    from bench.environment import version
    from bench.history import choice, figure

    shown = choice.most_changed(found)
    try:
        figure.save(shown, output, f"rnn-bench {version()}, history")
    except OSError as error:
        raise BenchError(f"cannot write {output}: {error.strerror or error}") from None
    if len(shown) < len(found):
        note(
            f"{output} shows {len(shown)} of {len(found)} cases, those that changed most; --impl, "
            "--workload and --machine choose others"
        )
