"""What commands share: options, which file, which earlier attempt, and what is told of a run."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import BaseModel
from rich.text import Text

from bench import config as configuration
from bench import plugins, records, render, tables, words
from bench.config import RunConfig, check_writable, fields_of
from bench.console import note, print_tables, say, stderr, stdout
from bench.errors import BenchError, unknown
from bench.options import HERE, RAY
from bench.progress import progress
from bench.schema import Result
from impls import REGISTRY
from impls.packages import missing_reason

if TYPE_CHECKING:
    from bench.runner import Run

FAILED = 1  # the exit status of a command that ran, and found something failed


def installed_plugins() -> plugins.Plugins:
    """What the installed packages bring, in the registry from now on."""
    found = plugins.discover()
    REGISTRY.update(found.entries)
    return found


def asked_by_name(impl: str, found: plugins.Plugins) -> frozenset[str]:
    """The implementations that were asked for one by one: each must be one.

    Among ``all``, an installed plugin that is broken is only told of.
    """
    names = {part.strip() for part in impl.split(",")}
    if plugins.ALL in names:
        for each in found.broken:
            note(f"left out: {each.reason}")
    return frozenset(names)


def show(result: Result, path: Path, *, plots: bool = True) -> None:
    """Print a result's tables, and bring the plots beside its file up to date.

    Raises:
        BenchError: these cannot be drawn.
    """
    stdout().print(Text(render.printable(tables.heading(result))))
    print_tables(tables.result_tables(result))
    say(f"result file: {path}")
    if plots:
        from bench.plots import draw_all

        try:
            folder = draw_all(result, path)
        except OSError as error:
            raise BenchError(f"cannot draw the plots of {path}: {error.strerror}") from None
        say(f"plots:       {folder}/")


def configured(
    implementations: tuple[str, ...],
    devices: tuple[str, ...],
    model: dict[str, Any],
    *,
    cores: int | None = None,
    **options: Any,
) -> configuration.RunConfig:
    """The options of the command line, checked: the names first, then the numbers.

    Args:
        implementations: by name.
        devices: the same.
        model: options of the model; the features are the task's.
        cores: of the machine that it is for; this one's where it is left out.
        options: other fields.

    Raises:
        BenchError: one is none.
    """
    return configuration.validated(
        {
            "implementations": implementations,
            "devices": devices,
            "model": configuration.model_of_task(options.get("task", ""), **model),
            **options,
        },
        cores=cores,
    )


def check_range(option: str, value: int, most: int, *, least: int = 1) -> None:
    """Refuse what no one can mean.

    Raises:
        BenchError: ``value`` is out of range.
    """
    if not least <= value <= most:
        raise BenchError(f"{option} must be from {least} to {most:,}, got {value:,}")


def check_place(on: str, address: str | None) -> None:
    """Whether there is such a place to work, and what it takes is installed.

    Raises:
        BenchError: there is not, or it is not.
    """
    if on not in (HERE, RAY):
        raise unknown("--on", on, (HERE, RAY))
    if address is not None and on != RAY:
        raise BenchError(f"--address {address} is that of a Ray cluster: add --on {RAY}")
    if on == RAY and (reason := missing_reason(("ray",), RAY)):
        raise BenchError(f"--on {RAY} {reason}")


def given(context: typer.Context) -> set[str]:
    """The options that were given, rather than left at their defaults."""
    return {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }


def earlier_run(file: Path, config: RunConfig, output: Path | None, options: set[str]) -> Result:
    """The run to go on with; options that are given again must say what its file says.

    Raises:
        BenchError: they do not, or the file cannot be read or written.
    """
    earlier = records.load(file)
    check_again(file, earlier.config, config, fields_of(options), output)
    return earlier


def check_again(
    file: Path,
    begun: BaseModel,
    config: BaseModel,
    fields: Iterable[str],
    output: Path | None,
    what: str = "run",
) -> None:
    """Whether what a file holds the beginning of can go on in it.

    Args:
        file: the file.
        begun: its config.
        config: what the command line says now.
        fields: those of the config that options were given for.
        output: what ``--output`` says.
        what: a word for it.

    Raises:
        BenchError: an option says otherwise than the file, or it cannot be written.
    """
    if output not in (None, file):
        raise BenchError(f"--resume goes on in {file}; leave --output out")
    for field in fields:
        asked, found = getattr(config, field), getattr(begun, field)
        if asked != found:
            raise BenchError(
                f"--resume {file}: it was begun with {field} {found}, not {asked}; leave the "
                f"option out, or begin a new {what}"
            )
    check_writable(file)


def execute(
    config: RunConfig, path: Path, earlier: Result | None, named: frozenset[str] = frozenset()
) -> Result:
    """Run, showing how far it is; whoever interrupts it is told how to go on.

    Args:
        config: what to do.
        path: the result file.
        earlier: the attempt to go on from.
        named: implementations that were asked for by name.

    Raises:
        BenchError: the file cannot be written.
    """
    from bench import runner

    current: list[Run] = []
    try:
        with progress(stderr()) as bars:
            return runner.run(
                config, path, bars, on_start=current.append, earlier=earlier, named=named
            )
    except KeyboardInterrupt:
        cases = [case for case in current[0].result.cases if case.trainable] if current else []
        done = sum(case.accuracy is not None for case in cases)
        note(
            f"interrupted: {done} of {len(cases)} cases trained; all so far is in {path}; "
            f"--resume {path} goes on"
        )
        raise
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from None


def results_folder() -> Path:
    """Where files go by default, made where it is missing.

    Raises:
        BenchError: it cannot be made.
    """
    folder = Path("results")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BenchError(f"cannot make the folder {folder} ({error.strerror})") from None
    return folder


def output_path(output: Path | None, name: str, *, overwrite: bool) -> Path:
    """The file to write: ``output``, or a new one in results/ whose name begins with ``name``.

    Raises:
        BenchError: it cannot be written, or is there and not to be lost.
    """
    if output is None:
        from bench.clock import now

        stamp = "".join(character for character in now()[:19] if character.isdigit())
        output = results_folder() / f"{name}-{stamp}.json"
    # A link is followed: it is its target that is to be written, or must not be lost.
    output = output.resolve() if output.is_symlink() else output
    check_writable(output)
    keep_what_is_there(output, overwrite=overwrite)
    return output


def check_output(output: Path, suffixes: Sequence[str]) -> None:
    """Refuse a file that cannot be written.

    Raises:
        BenchError: so it is, or its name has none of the suffixes.
    """
    if output.suffix not in suffixes:
        said = words.listed(suffixes, "or")
        raise BenchError(f"--output must end in {said}, got {output}")
    if output.is_dir():
        raise BenchError(f"--output {output} is a folder; name a file in it")
    if not output.parent.is_dir():
        raise BenchError(f"--output {output}: there is no folder {output.parent}; create it first")


def keep_what_is_there(output: Path, *, overwrite: bool) -> None:
    """Lose no file that nobody said may be lost.

    Raises:
        BenchError: it is there.
    """
    if output.exists() and not overwrite:
        raise BenchError(f"--output {output} exists; choose another name, or add --overwrite")
