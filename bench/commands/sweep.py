"""`bench sweep`: a grid of runs from one file, here or on Ray."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bench import launch
from bench.cluster import connection
from bench.console import note, print_tables, stderr
from bench.errors import BenchError
from bench.options import HERE, Address, On
from bench.progress import BarProgress, LineProgress, progress
from bench.schema import NAME_PATTERN
from bench.sweeping import driver, grid, on_ray, report, sweep_file
from bench.sweeping.cell import Cell, Outcome
from bench.sweeping.driver import Engine, Known
from bench.sweeping.estimate import cell_seconds, in_words
from bench.sweeping.local import Local
from bench.sweeping.log import SweepLog
from bench.toml_files import SUFFIX


def command(
    file: Annotated[
        Path, typer.Argument(help="A sweep's file, FILE.toml: README.md says what it may hold.")
    ],
    on: On = HERE,
    address: Address = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the result files. Default: results/ and the file's name.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the cells, with an estimate of the time.")
    ] = False,
) -> None:
    """A grid of runs from one file; the same command goes on where it was stopped."""
    launch.check_place(on, address)
    sweep = sweep_file.load(file)
    found = launch.installed_plugins()
    launch.asked_by_name(",".join(sweep.implementations), found)
    cells = grid.cells(file, sweep, found, elsewhere=address is not None)
    folder = output or Path("results") / _name(file)
    before = driver.known(cells, folder)
    if dry_run:
        print_tables([report.planned(cells, before, folder)])
        return
    teller = _Teller(cells, before, folder)
    with _engine(on, address, folder, teller) as engine:
        _prepare(folder, output)
        result = _execute(cells, folder, engine, before, teller)
    print_tables([report.done(cells, result, folder)])
    if not all(record.ok for record in driver.of_cells(cells, result)):
        raise typer.Exit(launch.FAILED)


def _name(file: Path) -> str:
    """The sweep's: that of its file, without the suffix."""
    name = file.name.removesuffix(SUFFIX)
    if not re.fullmatch(NAME_PATTERN, name):
        raise BenchError(f"{file}: rename the file: up to 100 letters, digits, '_', '.' and '-'")
    return name


def _prepare(folder: Path, output: Path | None) -> None:
    """Have the folder, and know that files can be written there.

    Raises:
        BenchError: it is a file, its own folder is missing, or it cannot be written to.
    """
    try:
        if output is None:
            folder.parent.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        what = f"--output {folder}" if output else f"the folder {folder}"
        raise BenchError(f"{what} cannot be written to ({error.strerror})") from None


class _Teller:
    """Says on standard error how far a sweep is."""

    def __init__(self, cells: tuple[Cell, ...], before: Known, folder: Path) -> None:
        self._cells, self._folder = cells, folder
        self.todo = [cell for cell in cells if not before.is_done(cell)]
        self._finished: list[Outcome] = []

    def bars(self) -> BarProgress | LineProgress:
        """What a cell's own progress is shown by."""
        return progress(stderr())

    def begins(self, cell: Cell) -> None:
        """A cell is next, where one comes after the other."""
        number = len(self._finished)
        seconds = sum(cell_seconds(each.config) for each in self.todo[number:])
        note(f"cell {number + 1} of {len(self.todo)}: {cell.name}; {in_words(seconds)} to go")

    def came_in(self, outcome: Outcome) -> None:
        """A cell is over."""
        self._finished.append(outcome)
        for text in outcome.notes:
            note(f"{outcome.cell.name}: {text}")
        what = f"failed: {outcome.reason}" if outcome.reason else "is done"
        note(f"{outcome.cell.name} {what} ({len(self._finished)} of {len(self.todo)})")

    def interrupted(self) -> None:
        """Ctrl-C: how to go on."""
        before = len(self._cells) - len(self.todo)
        done = before + sum(outcome.result is not None for outcome in self._finished)
        note(
            f"interrupted: {done} of {len(self._cells)} cells done; all so far is in "
            f"{self._folder}; the same command goes on"
        )


@contextmanager
def _engine(on: str, address: str | None, folder: Path, teller: _Teller) -> Iterator[Engine]:
    """Where the cells run; Ray is asked for nothing where there is nothing to do.

    Raises:
        BenchError: there is no such cluster, or it has not what a cell needs.
    """
    if on == HERE or not teller.todo:
        yield Local(folder, teller.bars, teller.begins)
        return
    with connection.connected(address) as ray:
        if lacking := on_ray.check(teller.todo, connection.alive(ray)):
            note(lacking)
        yield on_ray.OnRay(ray, folder, note)


def _execute(
    cells: tuple[Cell, ...], folder: Path, engine: Engine, before: Known, teller: _Teller
) -> SweepLog:
    """Run, showing how far it is; whoever interrupts it is told how to go on."""
    note(report.total(cells, before))
    try:
        return driver.execute(cells, folder, engine, before, teller.came_in)
    except KeyboardInterrupt:
        teller.interrupted()
        raise
    except OSError as error:
        raise BenchError(f"cannot write into {folder}: {error.strerror or error}") from None
