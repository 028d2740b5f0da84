"""`bench report`: one page to share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench import launch, leaderboard, records
from bench.console import note, say
from bench.errors import BenchError
from bench.history import EXTRA, PACKAGES
from bench.merged import merged
from bench.options import Overwrite
from bench.schema import Result
from impls.packages import missing_reason

PAGE = "index.html"


def command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Result files, the first of which is the base; or folders, as a sweep has left.",
            show_default=False,
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            help="The history of all result files in this folder, too.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="The folder of the page, made where it is missing.")
    ] = Path("report"),
    overwrite: Overwrite = False,
) -> None:
    """Result files as one page that opens anywhere: tables, figures, and how they compare."""
    if not files and history is None:
        raise BenchError("name a result file, a folder of a sweep, or --history FOLDER")
    if history and (reason := missing_reason(PACKAGES, EXTRA)):
        raise BenchError(f"--history {reason}")
    results = _results(files or [])
    page = output / PAGE
    launch.keep_what_is_there(page, overwrite=overwrite)
    from bench.reporting import page as reporting  # matplotlib: bad options are told before

    past = None
    if history:
        from bench.reporting.past import of_folder

        past = of_folder(history)
    text = reporting.page(results, past)
    try:
        output.mkdir(parents=True, exist_ok=True)
        records.write(text, page)
    except OSError as error:
        raise BenchError(f"cannot write {page}: {error.strerror or error}") from None
    say(f"page: {page}")


def _results(files: Sequence[Path]) -> dict[str, Result]:
    """Name -> result; of a folder those that differ only in their hidden size are one.

    Raises:
        BenchError: a file is no result, is given twice, or a folder has none.
    """
    found: dict[str, Result] = {}
    seen: set[Path] = set()
    for file in files:
        if not file.is_dir():
            _once(file, seen)
            found[str(file)] = records.load(file)
            continue
        theirs, damaged = leaderboard.load([file])
        for line in damaged:
            note(line)
        if not theirs:
            raise BenchError(f"{file}: there is no result file in it")
        for name in theirs:
            _once(file / name, seen)
        groups = merged(theirs)
        for name, result in groups.items():
            found[str(file if len(groups) == 1 else file / name)] = result
    return found


def _once(file: Path, seen: set[Path]) -> None:
    if file.resolve() in seen:
        raise BenchError(f"{file} is given twice")
    seen.add(file.resolve())
