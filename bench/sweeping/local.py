"""Cells here, one after the other; each has worker processes of its own, as every run has."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.schema import Result
from bench.sweeping.cell import Cell, Outcome, carried_out

if TYPE_CHECKING:
    from bench.runner import Progress

NODE = "here"


@dataclass(frozen=True, slots=True)
class Local:
    """This machine.

    Attributes:
        folder: where result files go.
        bars: gives what a cell's own progress is shown by.
        begins: told of each cell before it runs.
    """

    folder: Path
    bars: Callable[[], AbstractContextManager["Progress"]]
    begins: Callable[[Cell], None]

    def outcomes(self, cells: Sequence[Cell], begun: Mapping[str, Result]) -> Iterator[Outcome]:
        """Run one after the other; one that was cut short goes on."""
        for cell in cells:
            self.begins(cell)
            with self.bars() as bars:
                outcome = carried_out(
                    cell, cell.file(self.folder), bars, node=NODE, earlier=begun.get(cell.name)
                )
            yield outcome
