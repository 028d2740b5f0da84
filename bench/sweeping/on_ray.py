"""Cells on Ray: each is a task, on whichever node has what it needs.

A task whose node dies runs again on another, by Ray's own retries. What a cell leaves, its result
and its weights, comes back to the driver, which writes the files.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import records
from bench.clock import Stopwatch
from bench.cluster import needs
from bench.cluster.connection import (
    LONGEST_WAIT_SECONDS,
    NOWHERE_LEFT,
    as_anywhere,
    looked,
    reason,
    this_node,
)
from bench.cluster.needs import Needs, Resources
from bench.errors import BenchError
from bench.remote import MOST_RETRIES
from bench.schema import Result
from bench.sweeping.cell import Cell, Outcome, carried_out
from impls import REGISTRY, Entry

# What a task gives back: what became of the cell, and the files beside its result, by their paths.
Brought = tuple[Outcome, dict[str, bytes]]


@dataclass(frozen=True, slots=True)
class OnRay:
    """A cluster.

    Attributes:
        ray: connected to it.
        folder: where result files go.
        note: told what is worth a line.
    """

    ray: Any
    folder: Path
    note: Callable[[str], None]

    def outcomes(self, cells: Sequence[Cell], begun: Mapping[str, Result]) -> Iterator[Outcome]:  # noqa: ARG002
        """Run them all; one that was cut short begins anew, for a file is of one machine.

        Raises:
            BenchError: the cluster has gone.
        """
        pending = {_submitted(self.ray, cell): cell for cell in cells}
        waited, before = Stopwatch(), 0
        while pending:
            finished, nodes = self._looked(list(pending))
            if len(nodes) < before:
                self.note(
                    f"{before - len(nodes)} of {before} nodes gone; what was there begins anew"
                )
            before = len(nodes)
            for reference in finished:
                yield self._kept(pending.pop(reference), reference)
            if finished or any(
                demand(cell).fit(node) for cell in pending.values() for node in nodes
            ):
                waited = Stopwatch()
            elif waited.seconds() > LONGEST_WAIT_SECONDS:
                for cell in pending.values():
                    yield Outcome(cell, reason=NOWHERE_LEFT)
                return

    def _looked(self, pending: list[Any]) -> tuple[list[Any], list[Resources]]:
        try:
            return looked(self.ray, pending)
        except BenchError as error:
            raise BenchError(
                f"{error}; all so far is in {self.folder}; the same command goes on"
            ) from None

    def _kept(self, cell: Cell, reference: Any) -> Outcome:
        """Write what a cell has left, its result last: where that is, all is."""
        try:
            brought: Brought = self.ray.get(reference)
        except Exception as error:  # noqa: BLE001 - Ray's own trouble, or bench is not installed there
            return Outcome(cell, reason=reason(error))
        outcome, files = brought
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            records.write(content, path)
        if outcome.result is not None:
            records.save(outcome.result, cell.file(self.folder))
        return outcome


def check(cells: Sequence[Cell], nodes: Sequence[Resources]) -> str | None:
    """Whether these nodes can run these cells; gives a line about those that get none.

    Raises:
        BenchError: no node offers a slot, one offers several, or no node has what a cell needs.
    """
    for cell in cells:
        needs.check_devices("a cell", cell.config.devices)
    return needs.check({cell.name: demand(cell) for cell in cells}, nodes)


def demand(cell: Cell) -> Needs:
    """What a node must have for a cell."""
    return Needs(cell.threads, gpu=cell.on_gpu, alone=cell.timed)


def _submitted(ray: Any, cell: Cell) -> Any:
    """The reference to what a cell will have brought."""
    task = ray.remote(_carried_out_there).options(
        **demand(cell).options(), max_retries=MOST_RETRIES, name=cell.name
    )
    entries = {name: REGISTRY[name] for name in cell.config.implementations}
    return task.remote(cell, entries)


def _carried_out_there(cell: Cell, entries: Mapping[str, Entry]) -> Brought:
    """On the node, in Ray's process: run the cell in a folder that ends with it."""
    notes = _Notes()
    with (
        tempfile.TemporaryDirectory(prefix="rnn-bench-cell-") as name,
        as_anywhere(cell.threads),
    ):
        folder = Path(name)
        outcome = carried_out(cell, cell.file(folder), notes, node=this_node(), entries=entries)
        files = {
            str(file.relative_to(folder)): file.read_bytes()
            for file in sorted(folder.rglob("*.safetensors"))
        }
    return replace(outcome, notes=tuple(notes.texts)), files


class _Notes:
    """Progress of which only the notes are kept."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def start(self, stage: str, total: int) -> None:
        """A stage begins."""

    def advance(self) -> None:
        """A step is done."""

    def note(self, text: str) -> None:
        """Keep it."""
        self.texts.append(text)
