"""Which of a folder's series are told of, and what a reader has to know of the others."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError, unknown
from bench.history import ALL, NEWEST
from bench.history.series import Collection, Series
from bench.leaderboard import labels

if TYPE_CHECKING:
    from bench.history.changes import History

MOST_PANELS = 8


def of_names(series: Sequence[Series], impl: str, workload: str) -> list[Series]:
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


def of_machine(series: Sequence[Series], asked: str) -> tuple[list[Series], list[str]]:
    """Of the machines that were asked for, and the others' names.

    Raises:
        BenchError: there is none of that name.
    """
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


def about(folder: Path, collection: Collection, others: Sequence[str]) -> list[str]:
    """What the tables were made of, and what is not in them."""
    notes = [f"{collection.results:,} result files of {folder}."]
    if collection.left_out:
        notes[0] += f" {len(collection.left_out):,} others are damaged or no results: left out."
    if others:
        notes.append(f"Timed on other machines too (--machine {ALL}): {'; '.join(others)}.")
    return notes


def most_changed(found: Sequence["History"]) -> list["History"]:
    """As many as a figure has room for, those that changed most, in their order."""
    changed = sorted(range(len(found)), key=lambda number: -found[number].largest_change)
    return [found[number] for number in sorted(changed[:MOST_PANELS])]
