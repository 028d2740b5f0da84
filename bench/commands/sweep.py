"""`bench sweep`: a grid of runs from one file, here or on Ray."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from bench import launch
from bench.console import print_tables, stderr
from bench.errors import BenchError, unknown
from bench.progress import BarProgress, LineProgress, progress
from bench.render import printable
from bench.schema import NAME_PATTERN
from bench.sweeping import driver, grid, on_ray, report, sweep_file
from bench.sweeping.cell import Cell, Outcome
from bench.sweeping.driver import Engine, Known
from bench.sweeping.estimate import cell_seconds, in_words
from bench.sweeping.local import Local
from bench.sweeping.log import SweepLog
from bench.toml_files import SUFFIX
from impls.packages import missing_reason

HERE, RAY = "here", "ray"
EXTRA = "ray"


def command(
    file: Annotated[
        Path, typer.Argument(help="A sweep's file, FILE.toml: README.md says what it may hold.")
    ],
    on: Annotated[
        str, typer.Option(help=f"{HERE}, cell after cell; or {RAY}: as many at once as it can.")
    ] = HERE,
    address: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a Ray cluster that exists. Default: one is started here.",
            show_default=False,
        ),
    ] = None,
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
    _check_engine(on, address)
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


def _check_engine(on: str, address: str | None) -> None:
    if on not in (HERE, RAY):
        raise unknown("--on", on, (HERE, RAY))
    if address is not None and on != RAY:
        raise BenchError(f"--address {address} is that of a Ray cluster: add --on {RAY}")
    if on == RAY and (reason := missing_reason(("ray",), EXTRA)):
        raise BenchError(f"--on {RAY} {reason}")


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
        self._console = stderr()
        self._cells, self._folder = cells, folder
        self.todo = [cell for cell in cells if not before.is_done(cell)]
        self._finished: list[Outcome] = []

    def bars(self) -> BarProgress | LineProgress:
        """What a cell's own progress is shown by."""
        return progress(self._console)

    def note(self, text: str) -> None:
        """One line, however long."""
        self._console.print(Text(printable(text)), soft_wrap=True)

    def begins(self, cell: Cell) -> None:
        """A cell is next, where one comes after the other."""
        number = len(self._finished)
        seconds = sum(cell_seconds(each.config) for each in self.todo[number:])
        self.note(f"cell {number + 1} of {len(self.todo)}: {cell.name}; {in_words(seconds)} to go")

    def came_in(self, outcome: Outcome) -> None:
        """A cell is over."""
        self._finished.append(outcome)
        for text in outcome.notes:
            self.note(f"{outcome.cell.name}: {text}")
        what = f"failed: {outcome.reason}" if outcome.reason else "is done"
        self.note(f"{outcome.cell.name} {what} ({len(self._finished)} of {len(self.todo)})")

    def interrupted(self) -> None:
        """Ctrl-C: how to go on."""
        before = len(self._cells) - len(self.todo)
        done = before + sum(outcome.result is not None for outcome in self._finished)
        self.note(
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
    with on_ray.connected(address) as ray:
        if lacking := on_ray.check(teller.todo, on_ray.alive(ray)):
            teller.note(lacking)
        yield on_ray.OnRay(ray, folder, teller.note)


def _execute(
    cells: tuple[Cell, ...], folder: Path, engine: Engine, before: Known, teller: _Teller
) -> SweepLog:
    """Run, showing how far it is; whoever interrupts it is told how to go on."""
    teller.note(report.total(cells, before))
    try:
        return driver.execute(cells, folder, engine, before, teller.came_in)
    except KeyboardInterrupt:
        teller.interrupted()
        raise
    except OSError as error:
        raise BenchError(f"cannot write into {folder}: {error.strerror or error}") from None
