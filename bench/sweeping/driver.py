"""Goes through a sweep's cells: what is there already, what is to do, and the log of it all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench import records
from bench.config import RunConfig
from bench.errors import BenchError
from bench.schema import Result
from bench.sweeping import log
from bench.sweeping.cell import Cell, Outcome
from bench.sweeping.log import CellRecord, SweepLog


class Engine(Protocol):
    """Where cells run."""

    def outcomes(self, cells: Sequence[Cell], begun: Mapping[str, Result]) -> Iterator[Outcome]:
        """Run them all; each outcome as it comes in, its files written before.

        Args:
            cells: what to do.
            begun: name -> what an attempt that was cut short has found, for whoever can go on.
        """


@dataclass(frozen=True, slots=True)
class Known:
    """What a folder holds of a sweep.

    Attributes:
        log: of the cells that are complete, and of what failed.
        begun: name -> the result of a cell that was cut short.
    """

    log: SweepLog = field(default_factory=SweepLog)
    begun: Mapping[str, Result] = field(default_factory=dict)

    def is_done(self, cell: Cell) -> bool:
        """Whether its file is complete."""
        found = self.log.find(cell.name)
        return found is not None and found.status == "done"


def known(cells: Sequence[Cell], folder: Path) -> Known:
    """Look at the files of the cells, and at the log.

    Raises:
        BenchError: a file is damaged, or was made by other settings than its cell has.
    """
    path = folder / log.FILE
    found = log.load(path) if path.exists() else SweepLog()
    begun = {}
    for cell in cells:
        result = _result(cell, folder)
        if result is not None and any(case.status == "pending" for case in result.cases):
            begun[cell.name] = result
            result = None
        record = found.find(cell.name)
        is_recorded = record is not None and record.status == "done"
        if result is not None and not is_recorded:
            found = found.updated(log.record_of_file(cell.name, result))
        elif result is None and is_recorded:  # its file has gone, or begun anew
            found = found.without(cell.name)
    return Known(found, begun)


def execute(
    cells: Sequence[Cell],
    folder: Path,
    engine: Engine,
    before: Known,
    tell: Callable[[Outcome], None],
) -> SweepLog:
    """Run what is not done; the log is written at once and after every cell.

    Args:
        cells: of the sweep.
        folder: its own, which is there.
        engine: where they run.
        before: what the folder holds.
        tell: told of every outcome, when the log has it.

    Raises:
        BenchError: nothing can run any more.
        OSError: the log cannot be written.
    """
    path, current = folder / log.FILE, before.log
    records.save(current, path)
    todo = [cell for cell in cells if not before.is_done(cell)]
    if not todo:
        return current
    for outcome in engine.outcomes(todo, before.begun):
        current = current.updated(log.record(outcome))
        records.save(current, path)
        tell(outcome)
    return current


def of_cells(cells: Sequence[Cell], found: SweepLog) -> list[CellRecord]:
    """The records of these cells that there are, in the sweep's order."""
    there = (found.find(cell.name) for cell in cells)
    return [record for record in there if record is not None]


def _result(cell: Cell, folder: Path) -> Result | None:
    """What a cell's file holds, if there is one.

    Raises:
        BenchError: it is damaged, or was made with other settings.
    """
    file = cell.file(folder)
    if not file.exists():
        return None
    result = records.load(file)
    for name in RunConfig.model_fields:
        made, asked = getattr(result.config, name), getattr(cell.config, name)
        if made != asked:
            raise BenchError(
                f"{file} was made with {name} {made}, this sweep says {asked}; choose another "
                "folder with --output"
            )
    return result
