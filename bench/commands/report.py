"""`bench report`: one page to share."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from bench import launch, records
from bench.console import stdout
from bench.errors import BenchError
from bench.options import Overwrite

PAGE = "index.html"


def command(
    files: Annotated[
        list[Path], typer.Argument(help="Result files; the first is the base.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option(help="The folder of the page, made where it is missing.")
    ] = Path("report"),
    overwrite: Overwrite = False,
) -> None:
    """Result files as one page that opens anywhere: tables, figures, and how they compare."""
    twice = [str(file) for number, file in enumerate(files) if file in files[:number]]
    if twice:
        raise BenchError(f"{twice[0]} is given twice")
    results = {str(file): records.load(file) for file in files}
    page = output / PAGE
    launch.keep_what_is_there(page, overwrite=overwrite)
    from bench.reporting import page as reporting  # matplotlib: bad options are told before

    text = reporting.page(results)
    try:
        output.mkdir(parents=True, exist_ok=True)
        records.write(text, page)
    except OSError as error:
        raise BenchError(f"cannot write {page}: {error.strerror or error}") from None
    stdout().print(Text(f"page: {page}"), soft_wrap=True)
