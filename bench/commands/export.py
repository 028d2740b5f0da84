"""`bench export`: for other tools."""

from pathlib import Path
from typing import Annotated

import typer

from bench import launch, records
from bench.console import echo
from bench.errors import BenchError, unknown
from bench.export import FORMATS
from bench.options import Overwrite


def command(
    file: Annotated[Path, typer.Argument(help="A result file.", show_default=False)],
    kind: Annotated[
        str, typer.Option("--format", help=f"{', '.join(FORMATS)}.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="A file. Default: standard output.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """A result file in the format of another tool."""
    if kind not in FORMATS:
        raise unknown("format", kind, FORMATS)
    result = records.load(file)
    try:
        text = FORMATS[kind].text(result)
    except BenchError as error:
        raise BenchError(f"{file}: {error}") from None
    if output is None:
        echo(text)
        return
    launch.keep_what_is_there(output, overwrite=overwrite)
    try:
        records.write(text, output)
    except OSError as error:
        raise BenchError(f"cannot write {output}: {error.strerror or error}") from None
