"""A sweep in words: what it would do, and what it has done."""

from collections.abc import Sequence
from pathlib import Path

from bench import words
from bench.render import Table
from bench.sweeping.cell import Cell
from bench.sweeping.driver import Known, of_cells
from bench.sweeping.estimate import cell_seconds, in_words
from bench.sweeping.log import CellRecord, SweepLog


def total(cells: Sequence[Cell], before: Known) -> str:
    """How much there is to do."""
    todo = [cell for cell in cells if not before.is_done(cell)]
    number = f"{len(cells):,} cell{'' if len(cells) == 1 else 's'}"
    if len(todo) < len(cells):
        number += f", {len(cells) - len(todo):,} of them done"
    if not todo:
        return number
    seconds = sum(map(cell_seconds, (cell.config for cell in todo)))
    return f"{number}; {in_words(seconds)}, one after the other"


def planned(cells: Sequence[Cell], before: Known, folder: Path) -> Table:
    """What a sweep would do."""
    return Table(
        title=f"Sweep: {total(cells, before)}",
        columns=("cell", "state", "estimate"),
        sections=(
            tuple(
                (cell.name, _state(cell, before), in_words(cell_seconds(cell.config)))
                for cell in cells
            ),
        ),
        notes=(
            f"Files: {folder}/CELL.json. estimate: a guess from the sizes, which can be half or "
            "twice as much; a cell that was begun takes less.",
        ),
    )


def done(cells: Sequence[Cell], found: SweepLog, folder: Path) -> Table:
    """What became of each cell."""
    rows = of_cells(cells, found)
    machines = list(dict.fromkeys(filter(None, (row.machine for row in rows))))
    several = len(machines) > 1
    return Table(
        title=f"Sweep: {sum(row.ok for row in rows)} of {len(cells)} cells are done and ok",
        columns=("file", "status", "ok", "unsupported", "failed", "seconds",
                 *(("machine",) if several else ())),
        sections=(tuple(_row(row, several=several) for row in rows),),
        notes=(
            f"Files: in {folder}/. ok, unsupported, failed: its cases. seconds: of the last "
            "try." + ("" if several or not machines else f" Machine: {machines[0]}."),
            *(f"{row.name}: {row.reason}" for row in rows if row.reason),
        ),
    )  # fmt: skip


def _state(cell: Cell, before: Known) -> str:
    if before.is_done(cell):
        return "done"
    return "begun" if cell.name in before.begun else "to do"


def _row(row: CellRecord, *, several: bool) -> tuple[str, ...]:
    counts = (str(row.cases.get(status, 0)) for status in ("ok", "unsupported", "failed"))
    return (
        f"{row.name}.json",
        row.status,
        *counts,
        words.significant(row.seconds),
        *((row.machine or words.NOTHING,) if several else ()),
    )
