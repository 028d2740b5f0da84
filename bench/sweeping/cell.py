"""One cell of a sweep: a run of its own, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.clock import Stopwatch, now
from bench.config import RunConfig
from bench.errors import BenchError
from bench.schema import Result
from impls import Entry

if TYPE_CHECKING:
    from bench.runner import Progress


@dataclass(frozen=True, slots=True)
class Cell:
    """A run, and the name of its file without the suffix."""

    name: str
    config: RunConfig

    @property
    def timed(self) -> bool:
        """Whether anything is timed: then no other cell may disturb it."""
        return bool(self.config.batch_sizes)

    @property
    def threads(self) -> int:
        """CPU threads that it needs at most."""
        return max(self.config.threads)

    @property
    def on_gpu(self) -> bool:
        """Whether a case of it runs on CUDA."""
        return any(device != "cpu" for device in self.config.devices)

    def file(self, folder: Path) -> Path:
        """Its result file."""
        return folder / f"{self.name}.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a cell.

    Attributes:
        cell: which.
        node: where, an id that names no machine; None where nobody knows.
        started_at: when, by the clock of the node.
        ended_at: the same.
        seconds: between the two.
        result: what its file holds; None where the cell failed as a whole.
        reason: why it did.
        notes: lines that were worth telling on the way.
    """

    cell: Cell
    node: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    seconds: float | None = None
    result: Result | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()


def carried_out(
    cell: Cell,
    path: Path,
    progress: "Progress",
    *,
    node: str,
    entries: Mapping[str, Entry] | None = None,
    earlier: Result | None = None,
) -> Outcome:
    """Run a cell; what ends it as a whole becomes its reason.

    Args:
        cell: which.
        path: its result file.
        progress: told how far it is.
        node: where this is.
        entries: the implementations, by name; the registry's where it is left out.
        earlier: an attempt that was cut short, to go on from.
    """
    from bench import runner

    watch, started_at = Stopwatch(), now()
    result, reason = None, None
    try:
        result = runner.run(cell.config, path, progress, entries=entries, earlier=earlier)
    except BenchError as error:
        reason = f"{error}; delete {path.name} to begin it anew" if earlier else str(error)
    except OSError as error:
        reason = f"cannot write {path.name}: {error.strerror or error}"
    return Outcome(cell, node, started_at, now(), watch.seconds(), result, reason)
