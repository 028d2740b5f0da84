"""Cells on Ray: each is a task, on whichever node has what it needs. All that knows Ray is here.

Every node offers one slot, the custom resource `SLOT`. A cell that times takes all of it, any other
a small share: so no two timings ever share a machine, nor a timing and a training, while trainings
share one as they like. A task whose node dies runs again on another, by Ray's own retries. What a
cell leaves, its result and its weights, comes back to the driver, which writes the files.
"""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import records
from bench.clock import Stopwatch
from bench.errors import BenchError, telling_line
from bench.schema import Result
from bench.sweeping.cell import Cell, Outcome, carried_out
from impls import REGISTRY, Entry

SLOT = "timing"
SHARE = 0.001
# How often a cell begins anew because its node, or Ray's process there, has gone.
MOST_RETRIES = 5
LONGEST_CONNECT_SECONDS, LONGEST_PROBE_SECONDS = 5.0, 30.0
_PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"
GLANCE_SECONDS = 2.0
_OPENMP = "OMP_NUM_THREADS"
# How long cells wait for a node that has what they need, once the last such node has gone.
LONGEST_WAIT_SECONDS = 60.0
OBJECT_STORE_BYTES = 200_000_000
HOW_TO_START = f"ray start --address=HOST:PORT --resources='{{\"{SLOT}\": 1}}'"
# Ray's errors that no exception of a task is behind, by their names.
_ENDINGS = {
    "NodeDiedError": f"its node died, {MOST_RETRIES + 1} times in a row",
    "WorkerCrashedError": f"Ray's process for it ended, {MOST_RETRIES + 1} times in a row",
    "OutOfMemoryError": "Ray ended it, for its node ran out of memory",
}

Resources = Mapping[str, float]
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
            if finished or _somebody_can(pending.values(), nodes):
                waited = Stopwatch()
            elif waited.seconds() > LONGEST_WAIT_SECONDS:
                for cell in pending.values():
                    yield Outcome(cell, reason="no node that is left has what it needs")
                return

    def _looked(self, pending: list[Any]) -> tuple[list[Any], list[Resources]]:
        """What has finished, or has not for a while, and the nodes there are.

        Raises:
            BenchError: the cluster has gone.
        """
        try:
            finished, _ = self.ray.wait(pending, num_returns=1, timeout=GLANCE_SECONDS)
            return finished, alive(self.ray)
        except Exception as error:  # noqa: BLE001 - whatever Ray raises, nothing comes in any more
            raise BenchError(
                f"the Ray cluster has gone ({type(error).__name__}); all so far is in "
                f"{self.folder}; the same command goes on"
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


def reason(error: Exception) -> str:
    """Why Ray brings no outcome, in a few words: its own name machines, and fill a screen."""
    name = type(error).__name__
    if name in _ENDINGS:
        return _ENDINGS[name]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # What a task raises is a traceback, which ends with what was wrong.
    return f"on its node: {lines[-1]}" if lines else f"on its node: {name}"


def check(cells: Sequence[Cell], nodes: Sequence[Resources]) -> str | None:
    """Whether these nodes can run these cells; gives a line about those that get none.

    Raises:
        BenchError: no node offers a slot, one offers several, or no node has what a cell needs.
    """
    slots = [node.get(SLOT, 0.0) for node in nodes]
    if not any(slots):
        raise BenchError(
            f"no node of the Ray cluster offers the slot that a cell takes; start one with "
            f"{HOW_TO_START}"
        )
    if (most := max(slots)) != 1.0:
        raise BenchError(
            f"a node of the Ray cluster offers {most:g} slots, which timings would share; start it "
            f"with {HOW_TO_START}"
        )
    for cell in cells:
        if named := [device for device in cell.config.devices if ":" in device]:
            raise BenchError(
                f"on Ray a cell gets a GPU of its own, cuda; it cannot name {named[0]}"
            )
        if not _somebody_can([cell], nodes):
            raise BenchError(
                f"no node of the Ray cluster has what {cell.name} needs: {_words(cell)}"
            )
    without = slots.count(0.0)
    if without:
        return (
            f"{without} of {len(slots)} nodes offer no slot and get no cells; one is started "
            f"with {HOW_TO_START}"
        )
    return None


def demand(cell: Cell) -> dict[str, float]:
    """What a node must have for a cell, by Ray's names."""
    needs = {"CPU": float(cell.threads), SLOT: 1.0 if cell.timed else SHARE}
    return needs | ({"GPU": 1.0} if cell.on_gpu else {})


def _words(cell: Cell) -> str:
    names = {"CPU": "CPU", "GPU": "GPU", SLOT: f"slot ({SLOT})"}
    return ", ".join(f"{amount:g} {names[name]}" for name, amount in demand(cell).items())


def _somebody_can(cells: Iterable[Cell], nodes: Sequence[Resources]) -> bool:
    """Whether any of the cells fits one of the nodes."""
    return any(
        all(node.get(name, 0.0) >= amount for name, amount in demand(cell).items())
        for cell in cells
        for node in nodes
    )


def alive(ray: Any) -> list[Resources]:
    """What each node that is alive has in all."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _submitted(ray: Any, cell: Cell) -> Any:
    """The reference to what a cell will have brought."""
    needs = demand(cell)
    task = ray.remote(_carried_out_there).options(
        num_cpus=needs.pop("CPU"),
        num_gpus=needs.pop("GPU", 0.0),
        resources=needs,
        max_retries=MOST_RETRIES,
        name=cell.name,
    )
    entries = {name: REGISTRY[name] for name in cell.config.implementations}
    return task.remote(cell, entries)


def _carried_out_there(cell: Cell, entries: Mapping[str, Entry]) -> Brought:
    """On the node, in Ray's process: run the cell in a folder that ends with it."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    notes = _Notes()
    with tempfile.TemporaryDirectory(prefix="rnn-bench-cell-") as name, _as_anywhere(cell):
        folder = Path(name)
        outcome = carried_out(cell, cell.file(folder), notes, node=node, entries=entries)
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


@contextmanager
def _as_anywhere(cell: Cell) -> Iterator[None]:
    """Workers that start in here are as those of any run, and inherit nothing of Ray's process.

    A spawned process would import its main module, Ray with it; and Ray sets the threads of OpenMP
    to the CPUs of the task.
    """
    main, threads = sys.modules["__main__"], os.environ.get(_OPENMP)
    sys.modules["__main__"] = ModuleType("__main__")
    if threads == str(cell.threads):
        del os.environ[_OPENMP]
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if threads is not None:
            os.environ[_OPENMP] = threads


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster, or to one that is started here and ends with this.

    Raises:
        BenchError: there is none at the address, or it cannot be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Where a cell has no GPU the others are still there, as they are here.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is not None:
        _check_answers(address)
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    where: dict[str, Any] = {
        "resources": {SLOT: 1.0},
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    if address is not None:
        where = {"address": address}
    try:
        ray.init(**where, **quiet)
    except Exception as error:  # noqa: BLE001 - whatever Ray raises, there is no cluster
        what = f"no Ray cluster at {address}" if address else "Ray does not start here"
        raise BenchError(f"{what}: {telling_line(str(error)) or type(error).__name__}") from None
    try:
        with _no_output():
            yield ray
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()


@contextmanager
def _no_output() -> Iterator[None]:
    """A thread of Ray's writes to standard output whatever happens to a node, and none can stop it.

    The sweep has nothing to say there meanwhile.
    """
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield


def _check_answers(address: str) -> None:
    """Whether a cluster is there that this Ray can join.

    A process of its own tries: of an address where something else listens Ray never lets go, and of
    what it cannot join it may end the process.

    Raises:
        BenchError: there is none, or it is no address.
    """
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise BenchError(f"--address must be HOST:PORT, such as 10.0.0.5:6379, got '{address}'")
    try:
        with socket.create_connection((host, int(port)), LONGEST_CONNECT_SECONDS):
            pass
        command = [sys.executable, "-c", _PROBE, address]
        subprocess.run(command, capture_output=True, check=True, timeout=LONGEST_PROBE_SECONDS)  # noqa: S603 - our own code; the address is an argument
    except OSError as error:
        fault = error.strerror or str(error)
    except subprocess.TimeoutExpired:
        fault = f"something listens, but did not let Ray in for {LONGEST_PROBE_SECONDS:g} s"
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        fault = said[-1].strip()[:300] if said else f"Ray ended with status {error.returncode}"
    else:
        return
    raise BenchError(
        f"no Ray cluster answers at {address} ({fault}); start one with ray start --head "
        f"--resources='{{\"{SLOT}\": 1}}', or leave --address out"
    )
