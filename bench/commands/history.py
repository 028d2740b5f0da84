"""`bench history`: what each case took over commits and dates, and what changed it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.text import Text

from bench import render
from bench.console import print_json, print_markdown, print_tables, stderr
from bench.errors import BenchError, unknown
from bench.launch import keep_what_is_there
from bench.options import AsJson, AsMarkdown, Overwrite
from impls.packages import missing_reason

if TYPE_CHECKING:
    from bench.history.changes import History
    from bench.history.series import Collection, Series

EXTRA, PACKAGES = "history", ("duckdb", "ruptures")
ALL, NEWEST = "all", "newest"
PICTURES = (".png", ".svg")
MOST_PANELS = 8


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
    if output:
        _check_output(output, overwrite=overwrite)
    from bench.history.changes import histories
    from bench.history.reading import read

    collection = read(folder, begin)
    for line in collection.left_out:
        stderr().print(Text(render.printable(line)), soft_wrap=True)
    if not collection.series:
        raise BenchError(f"no result file in {folder} has timed anything" + _after(since))
    chosen = _chosen(collection.series, impl, workload)
    chosen, others = _of_machine(chosen, machine)
    found = histories(chosen)
    if as_json:
        _print_json(folder, collection, found)
    else:
        _print_tables(_about(folder, collection, others), found, markdown=as_markdown)
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


def _check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse a picture that cannot be written, before minutes are spent on what it shows.

    Raises:
        BenchError: it cannot, or another file would be lost.
    """
    if output.suffix not in PICTURES:
        raise BenchError(f"--output must end in {' or '.join(PICTURES)}, got {output}")
    if not output.parent.is_dir():
        raise BenchError(f"--output {output}: there is no folder {output.parent}; create it first")
    keep_what_is_there(output, overwrite=overwrite)


def _after(since: str | None) -> str:
    return f" since {since}" if since else ""


def _chosen(series: Sequence["Series"], impl: str, workload: str) -> list["Series"]:
    """The series of these implementations and workloads.

    Raises:
        BenchError: nobody has timed one.
    """
    names = _named("implementation", impl, (each.key.implementation for each in series))
    workloads = _named("workload", workload, (each.key.workload for each in series))
    chosen = [
        each
        for each in series
        if each.key.implementation in names and each.key.workload in workloads
    ]
    if not chosen:
        raise BenchError(f"no file has timed {workload} of {impl}")
    return chosen


def _named(kind: str, text: str, known: Iterable[str]) -> set[str]:
    there = set(known)
    if text == ALL:
        return there
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names or [text]:
        if name not in there:
            raise unknown(kind, name, there)
    return set(names)


def _of_machine(series: Sequence["Series"], asked: str) -> tuple[list["Series"], list[str]]:
    """Of the machines that were asked for, and the others' names.

    Raises:
        BenchError: there is none of that name.
    """
    from bench.leaderboard import labels

    names = labels([each.machine for each in series])
    if asked == ALL:
        return list(series), []
    if asked == NEWEST:
        newest = max(each.runs[-1].microseconds for each in series)
        wanted = {each.machine for each in series if each.runs[-1].microseconds == newest}
    else:
        wanted = {each for each, name in names.items() if asked.casefold() in name.casefold()}
    if not wanted:
        raise unknown("machine", asked, names.values())
    others = [name for each, name in names.items() if each not in wanted]
    return [each for each in series if each.machine in wanted], others


def _about(folder: Path, collection: "Collection", others: Sequence[str]) -> list[str]:
    """What the tables were made of, and what is not in them."""
    notes = [f"{collection.results:,} result files of {folder}."]
    if collection.left_out:
        notes[0] += f" {len(collection.left_out):,} others are damaged or no results: left out."
    if others:
        notes.append(f"Timed on other machines too (--machine {ALL}): {'; '.join(others)}.")
    return notes


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
    from bench.history import figure

    changed = sorted(range(len(found)), key=lambda number: -found[number].largest_change)
    shown = [found[number] for number in sorted(changed[:MOST_PANELS])]
    try:
        figure.save(shown, output, f"rnn-bench {version()}, history")
    except OSError as error:
        raise BenchError(f"cannot write {output}: {error.strerror or error}") from None
    if len(shown) < len(found):
        text = (
            f"{output} shows {len(shown)} of {len(found)} cases, those that changed most; --impl, "
            "--workload and --machine choose others"
        )
        stderr().print(Text(render.printable(text)), soft_wrap=True)
