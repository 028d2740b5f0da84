"""A folder's history, as a part of the page; what reads it is needed for nothing else here."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

from bench.errors import BenchError
from bench.history import NEWEST, choice, figure, tables
from bench.history.changes import histories
from bench.history.reading import read
from bench.render import Table
from bench.reporting.drawings import STYLE, Drawing, inline


@dataclass(frozen=True, slots=True)
class Past:
    """What a page says of a folder.

    Attributes:
        name: the folder's.
        headline: the answer in a sentence or two.
        tables: a machine's cases and changes, machine after machine.
        drawing: of the cases that changed most.
        left_out: a line for each file that is damaged.
    """

    name: str
    headline: str
    tables: tuple[Table, ...]
    drawing: Drawing
    left_out: tuple[str, ...]


def of_folder(folder: Path) -> Past:
    """The history of a folder, on every machine; the figure is of one, that of the newest file.

    Raises:
        BenchError: no file there has timed anything.
    """
    collection = read(folder, 0)
    if not collection.series:
        raise BenchError(f"no result file in {folder} has timed anything")
    found = histories(collection.series)
    newest, others = choice.of_machine(collection.series, NEWEST)
    here = [each for each in found if each.series.machine in {one.machine for one in newest}]
    shown = choice.most_changed(here)
    notes = []
    if len(shown) < len(here):
        notes.append(f"{len(shown)} of {len(here)} cases, those that changed most.")
    if others:
        notes.append("The machine of the newest file.")
    title = "Microseconds for one step over the dates of the files"
    with mpl.rc_context(STYLE):
        drawing = Drawing(title, inline(figure.draw(shown), "h", title), " ".join(notes))
    return Past(
        name=str(folder),
        headline=tables.headline(found),
        tables=tuple(tables.tables(found, choice.about(folder, collection, ()))),
        drawing=drawing,
        left_out=collection.left_out,
    )
