"""`bench show`: a saved result file again."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import launch, records, render, summary, tables
from bench.console import echo, print_json, print_markdown, print_tables
from bench.options import AsJson, AsMarkdown
from bench.scaling import scaling_rows
from bench.schema import Result


def command(
    file: Annotated[Path, typer.Argument(help="A result file.", show_default=False)],
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
    table: Annotated[
        str | None,
        typer.Option(
            help="Print one: overview, accuracy, throughput, costs, parity or scaling.",
            show_default=False,
        ),
    ] = None,
    plots: Annotated[
        bool, typer.Option(help="Bring the plots in the folder beside the file up to date.")
    ] = True,
) -> None:
    """The tables and plots of a saved result file."""
    result = records.load(file)
    if as_json:
        print_json(_numbers(result))
        return
    found = tables.result_tables(result, table)
    if as_markdown:
        echo(render.markdown_text(tables.heading(result)) + "\n\n")
        print_markdown(found)
    elif table:
        print_tables(found)
    else:
        launch.show(result, file, plots=plots)


def _numbers(result: Result) -> dict[str, Any]:
    return {
        "accuracy": [asdict(row) for row in summary.accuracy_rows(result)],
        "baselines": [asdict(row) for row in summary.baseline_rows(result)],
        "throughput": [asdict(row) for row in summary.throughput_rows(result)],
        "parity": [asdict(row) for row in summary.parity_rows(result.cases)],
        "scaling": [asdict(row) for row in scaling_rows(result)],
        "quality": asdict(summary.quality(result)),
    }
