"""The commands. The only place that prints or chooses an exit status.

Exit statuses: 0 done; 1 a case failed; 2 bad input; 130 interrupted. Torch is imported only by
the commands that compute, so that the others start at once.
"""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from bench import config as configuration
from bench import environment, records, render, summary, tables
from bench.compare import compare as compare_results
from bench.errors import BenchError
from bench.listing import listing, listing_table
from bench.options import (
    AsJson,
    AsMarkdown,
    Bidirectional,
    Device,
    Dropout,
    Dtype,
    HiddenSize,
    Implementations,
    NoBias,
    Nonlinearity,
    NumLayers,
    Seed,
    Threads,
)
from bench.progress import progress
from bench.recipes import RECIPES
from bench.records import Result
from tasks import TASKS

if TYPE_CHECKING:
    from bench.runner import Run

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
# Outside a terminal rich assumes 80 columns; the tables are made for 100.
PLAIN_WIDTH = 100

app = typer.Typer(
    name="bench",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """Compare implementations of one RNN generator: which are right, how accurate, how fast."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(BAD_INPUT)


@app.command()
def run(
    impl: Implementations = "all",
    device: Device = "cpu",
    task: Annotated[str, typer.Option(help=f"{' or '.join(TASKS)}.")] = "cosine",
    recipe: Annotated[str, typer.Option(help=f"How to train: {', '.join(RECIPES)}.")] = "quick",
    iterations: Annotated[
        int | None, typer.Option(help="Training iterations, instead of the recipe's.")
    ] = None,
    seed: Seed = 0,
    hidden_size: HiddenSize = 128,
    num_layers: NumLayers = 1,
    nonlinearity: Nonlinearity = "tanh",
    no_bias: NoBias = False,
    dropout: Dropout = 0.0,
    bidirectional: Bidirectional = False,
    batch_size: Annotated[
        str | None,
        typer.Option(
            help="Comma list. Default: 1,32,1000 for generate; 1,32 for the others.",
            show_default=False,
        ),
    ] = None,
    workload: Annotated[
        str | None,
        typer.Option(
            help=f"Comma list of {', '.join(configuration.WORKLOADS)}. "
            f"Default: {','.join(configuration.DEFAULT_WORKLOADS)}.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Passes over all cells; at least 2.")] = 5,
    threads: Threads = 1,
    dtype: Dtype = "float32",
    baseline: Annotated[str, typer.Option(help="What ratios are taken against.")] = "torch_rnn",
    output: Annotated[
        Path | None,
        typer.Option(help="Result file. Default: a new one in results/.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an old file.")] = False,
) -> None:
    """Check, train, evaluate and time; save the result, draw the plots, print the tables."""
    config = _configured(
        impl,
        device,
        model={
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "nonlinearity": nonlinearity,
            "bias": not no_bias,
            "dropout": dropout,
            "bidirectional": bidirectional,
        },
        dtype=dtype,
        task=task,
        recipe=recipe,
        iterations=iterations,
        seed=seed,
        batch_sizes=configuration.batch_sizes(batch_size, workload),
        rounds=rounds,
        threads=threads,
        baseline=baseline,
    )
    path = _output_path(output, config, overwrite=overwrite)
    result = _execute(config, path)
    _show(result, path)
    if any(case.status == "failed" for case in result.cases):
        raise typer.Exit(FAILED)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """The implementations, and whether each can run here."""
    entries = listing()
    if as_json:
        _print_json([asdict(entry) for entry in entries])
    else:
        _print_tables([listing_table(entries)])


@app.command()
def check(
    impl: Implementations = "all",
    device: Device = "cpu",
    seed: Seed = 0,
    hidden_size: HiddenSize = 128,
    num_layers: NumLayers = 1,
    nonlinearity: Nonlinearity = "tanh",
    no_bias: NoBias = False,
    dropout: Dropout = 0.0,
    bidirectional: Bidirectional = False,
    threads: Threads = 1,
    dtype: Dtype = "float32",
    as_json: AsJson = False,
) -> None:
    """Parity with the float64 reference alone; exit status 1 when an implementation fails."""
    config = _configured(
        impl,
        device,
        model={
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "nonlinearity": nonlinearity,
            "bias": not no_bias,
            "dropout": dropout,
            "bidirectional": bidirectional,
        },
        dtype=dtype,
        seed=seed,
        threads=threads,
    )
    from bench import runner

    cases = runner.check(config)
    if as_json:
        _print_json([asdict(row) for row in summary.parity_rows(cases)])
    else:
        _print_tables([tables.check_table(cases)])
    if any(case.status == "failed" for case in cases):
        raise typer.Exit(FAILED)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A result file.", show_default=False)],
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
    table: Annotated[
        str | None,
        typer.Option(
            help="Print one: overview, accuracy, throughput or parity.", show_default=False
        ),
    ] = None,
    plots: Annotated[
        bool, typer.Option(help="Bring the plots in the folder beside the file up to date.")
    ] = True,
) -> None:
    """The tables and plots of a saved result file."""
    result = records.load(file)
    if as_json:
        _print_json(_numbers(result))
        return
    found = tables.result_tables(result, table)
    if as_markdown:
        _echo(render.markdown_text(tables.heading(result)) + "\n\n")
        _print_markdown(found)
    elif table:
        _print_tables(found)
    else:
        _show(result, file, plots=plots)


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(help="A result file.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="Another.", show_default=False)],
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """Accuracy and throughput of two result files, side by side."""
    comparison = compare_results(records.load(base), records.load(new))
    if as_json:
        _print_json(asdict(comparison))
        return
    found = tables.comparison_tables(comparison, str(base), str(new))
    if as_markdown:
        _print_markdown(found)
    else:
        _print_tables(found)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit; bad input gets one line on standard error and status 2."""
    try:
        status = app(args=arguments, prog_name="python -m bench", standalone_mode=False)
    except BenchError as error:
        _fail(str(error))
    except typer.TyperException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _configured(
    impl: str, device: str, model: dict[str, Any], **options: Any
) -> configuration.RunConfig:
    """The options of the command line, checked: the names first, then the numbers."""
    return configuration.validated(
        {
            "implementations": configuration.implementation_names(impl),
            "devices": environment.device_names(device),
            "model": configuration.model_config(**model),
            **options,
        }
    )


def _execute(config: configuration.RunConfig, path: Path) -> Result:
    from bench import runner

    current: list[Run] = []
    console = _stderr()
    try:
        with progress(console) as bars:
            return runner.run(config, path, bars, on_start=current.append)
    except KeyboardInterrupt:
        cases = current[0].result.cases if current else ()
        done = sum(case.accuracy is not None for case in cases)
        console.print(
            Text(f"interrupted: {done} of {len(cases)} cases trained; all so far is in {path}"),
            soft_wrap=True,
        )
        raise
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from None


def _output_path(output: Path | None, config: configuration.RunConfig, *, overwrite: bool) -> Path:
    if output is None:
        from bench.measure import now

        stamp = "".join(character for character in now()[:19] if character.isdigit())
        output = Path("results") / f"{config.task}-{config.recipe}-{stamp}.json"
        try:
            output.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise BenchError(f"cannot make the folder results ({error.strerror})") from None
    # A link is followed: it is its target that is to be written, or must not be lost.
    output = output.resolve() if output.is_symlink() else output
    configuration.check_writable(output)
    if output.exists() and not overwrite:
        raise BenchError(f"--output {output} exists; choose another name, or add --overwrite")
    return output


def _show(result: Result, path: Path, *, plots: bool = True) -> None:
    console = _stdout()
    console.print(Text(render.printable(tables.heading(result))))
    _print_tables(tables.result_tables(result))
    console.print(Text(f"result file: {path}"), soft_wrap=True)
    if plots:
        from bench.plots import draw_all

        try:
            folder = draw_all(result, path)
        except OSError as error:
            raise BenchError(f"cannot draw the plots of {path}: {error.strerror}") from None
        console.print(Text(f"plots:       {folder}/"), soft_wrap=True)


def _numbers(result: Result) -> dict[str, Any]:
    return {
        "accuracy": [asdict(row) for row in summary.accuracy_rows(result)],
        "baselines": [asdict(row) for row in summary.baseline_rows(result)],
        "throughput": [asdict(row) for row in summary.throughput_rows(result)],
        "parity": [asdict(row) for row in summary.parity_rows(result.cases)],
    }


def _print_tables(found: list[render.Table]) -> None:
    console = _stdout()
    for table in found:
        console.print()
        console.print(render.to_rich(table))
        for note in table.notes:
            console.print(Text(render.printable(note), style="dim"))
    console.print()


def _print_markdown(found: list[render.Table]) -> None:
    _echo("\n".join(render.to_markdown(table) for table in found))


def _print_json(value: Any) -> None:
    _echo(records.dumps(value) + "\n")


def _stdout() -> Console:
    console = _Console(highlight=False)
    return console if console.is_terminal else _Console(highlight=False, width=PLAIN_WIDTH)


class _Console(Console):
    """A console to which a reader that has read enough, such as ``head``, is no error."""

    def on_broken_pipe(self) -> None:
        _reader_left()


def _stderr() -> Console:
    return Console(stderr=True, highlight=False)


def _echo(text: str) -> None:
    try:
        typer.echo(text, nl=False)
    except BrokenPipeError:
        _reader_left()


def _reader_left() -> NoReturn:
    """End well; what is still in the buffer must not become a complaint at the very end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(0)


def _fail(message: str) -> None:
    typer.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(BAD_INPUT)
