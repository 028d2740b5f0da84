"""The commands. The only place that chooses an exit status.

Exit statuses: 0 done; 1 a case failed, or is slower; 2 bad input; 3 what was to be guarded cannot
be; 4 accuracy fell; 130 interrupted. Torch is imported only by the commands that compute, so that
the others start at once.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from bench import config as configuration
from bench import (
    environment,
    generate,
    guard,
    launch,
    observed,
    plugins,
    records,
    render,
    study,
    summary,
    tables,
)
from bench.compare import compare as compare_files
from bench.comparison_tables import comparison_tables
from bench.console import echo, print_json, print_markdown, print_tables, stderr, stdout
from bench.errors import BenchError, unknown
from bench.export import FORMATS
from bench.listing import listing, listing_table
from bench.options import (
    AsJson,
    AsMarkdown,
    Bidirectional,
    Device,
    Dropout,
    Dtype,
    HiddenSize,
    HiddenSizes,
    Implementations,
    NoBias,
    Nonlinearity,
    NumLayers,
    Output,
    Overwrite,
    Seed,
    ThreadCounts,
    Threads,
    TimeLimit,
)
from bench.progress import progress
from bench.recipes import NO_RECIPE, RECIPES
from bench.scaling import scaling_rows
from bench.schema import Result
from impls import REGISTRY, registered
from tasks import TASKS

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

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
    context: typer.Context,
    impl: Implementations = "all",
    device: Device = "cpu",
    task: Annotated[str, typer.Option(help=f"{' or '.join(TASKS)}.")] = "cosine",
    recipe: Annotated[
        str,
        typer.Option(help=f"How to train: {', '.join(RECIPES)}; {NO_RECIPE}: only check and time."),
    ] = "quick",
    iterations: Annotated[
        int | None, typer.Option(help="Training iterations, instead of the recipe's.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Where a training starts from, instead of the recipe's: "
            f"{', '.join(configuration.INIT_NAMES)}.",
            show_default=False,
        ),
    ] = None,
    init_gain: Annotated[float, typer.Option(help="What that start is multiplied with.")] = 1.0,
    seed: Seed = 0,
    hidden_size: HiddenSizes = "128",
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
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps of a timed call. Default: 999; 99 for train_step.", show_default=False
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help=configuration.presets_in_words())] = "default",
    processes: Annotated[
        int | None,
        typer.Option(help="Fresh processes, instead of the preset's.", show_default=False),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="Rounds in each process, instead of the preset's: these and no more.",
            show_default=False,
        ),
    ] = None,
    time_budget: Annotated[
        float | None,
        typer.Option(
            help="Seconds that the timing may take: fewer rounds, never fewer processes.",
            show_default=False,
        ),
    ] = None,
    time_limit: TimeLimit = 600.0,
    threads: ThreadCounts = "1",
    dtype: Dtype = "float32",
    baseline: Annotated[str, typer.Option(help="What ratios are taken against.")] = "torch_rnn",
    output: Output = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with a run that was cut short.", show_default=False),
    ] = None,
) -> None:
    """Check, train, evaluate and time; save the result, draw the plots, print the tables."""
    size, *more_sizes = configuration.hidden_sizes(hidden_size)
    sampling = configuration.sampling(preset, processes, rounds)
    found = _plugins()
    devices = environment.device_names(device)
    config = _configured(
        plugins.register(impl, found, devices),
        devices,
        model={
            "hidden_size": size,
            "num_layers": num_layers,
            "nonlinearity": nonlinearity,
            "bias": not no_bias,
            "dropout": dropout,
            "bidirectional": bidirectional,
        },
        more_hidden_sizes=tuple(more_sizes),
        steps=steps,
        dtype=dtype,
        task=task,
        recipe=recipe,
        iterations=iterations,
        init=init,
        init_gain=init_gain,
        seed=seed,
        batch_sizes=configuration.batch_sizes(batch_size, workload),
        processes=sampling.processes,
        rounds=sampling.rounds,
        sampling_seconds=sampling.seconds,
        time_budget=time_budget,
        time_limit=time_limit,
        threads=configuration.thread_counts(threads),
        baseline=baseline,
    )
    earlier = None
    if resume:
        earlier = launch.earlier_run(resume, config, output, launch.given(context))
        plugins.register_again(earlier.config.implementations, found, resume)
        config, path = earlier.config, resume
    else:
        path = launch.output_path(output, f"{config.task}-{config.recipe}", overwrite=overwrite)
    result = launch.execute(config, path, earlier, _named(impl, found))
    _show(result, path)
    if any(case.status == "failed" for case in result.cases):
        raise typer.Exit(FAILED)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """The implementations, and whether each can run here."""
    entries = listing(_plugins().broken)
    if as_json:
        print_json([asdict(entry) for entry in entries])
    else:
        print_tables([listing_table(entries)])


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
    time_limit: TimeLimit = 120.0,
    threads: Threads = 1,
    dtype: Dtype = "float32",
    as_json: AsJson = False,
) -> None:
    """Parity with the reference, and whatever else an author must know; status 1 when it fails."""
    found = _plugins()
    devices = environment.device_names(device)
    config = _configured(
        plugins.register(impl, found, devices),
        devices,
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
        time_limit=time_limit,
        threads=(threads,),
    )
    from bench.progress import Silent
    from bench.runner import Run

    checked = Run(config, None, Silent(), named=_named(impl, found)).check()
    cases = tuple(checked.cases)
    if as_json:
        print_json(
            [
                asdict(row) | {"findings": [asdict(each) for each in checked.findings[case.key]]}
                for row, case in zip(summary.parity_rows(cases), cases, strict=True)
            ]
        )
    else:
        alone = len(config.implementations) == 1
        found_tables = [
            tables.findings_table(*key[:2], findings)
            for key, findings in checked.findings.items()
            if findings and (alone or any(each.verdict == "FAIL" for each in findings))
        ]
        print_tables([tables.check_table(cases), *found_tables])
    if not checked.passed:
        raise typer.Exit(FAILED)


app.command("generate")(generate.command)
app.command("study")(study.command)


@app.command()
def show(
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
        _show(result, file, plots=plots)


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(help="A result file.", show_default=False)],
    new: Annotated[list[Path], typer.Argument(help="Others.", show_default=False)],
    fail_slower: Annotated[
        str | None,
        typer.Option(
            help="Such as 5%: exit status 1 when a row is surely slower by more, 4 when accuracy "
            "fell, 3 when a row of BASE cannot be guarded.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """Files against a base: faster, slower, the same, or nobody can tell.

    Reads result files, and what pytest-benchmark saved.
    """
    limit = guard.threshold(fail_slower) if fail_slower is not None else None
    comparisons = compare_files(observed.load(base), map(observed.load, new))
    if as_json:
        print_json([asdict(comparison) for comparison in comparisons])
    elif as_markdown:
        print_markdown(comparison_tables(comparisons))
    else:
        print_tables(comparison_tables(comparisons))
    if limit is not None:
        found = guard.findings(comparisons, limit)
        for _, reason in found:
            stderr().print(Text(render.printable(reason)), soft_wrap=True)
        if found:
            raise typer.Exit(found[0][0])


@app.command()
def export(
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


@app.command()
def schema() -> None:
    """The JSON Schema of the result file."""
    print_json(records.json_schema())


@app.command()
def selftest(
    device: Device = "cpu",
    runs: Annotated[int, typer.Option(help="Runs in each of the two pools.")] = 40,
    pairs: Annotated[int, typer.Option(help="Random pairs of files to compare.")] = 200,
    seed: Seed = 0,
    threads: Threads = 1,
    output: Output = None,
    overwrite: Overwrite = False,
    saved: Annotated[
        Path | None,
        typer.Option("--show", help="Print a saved self-test instead.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """How often this harness is right here: identical code, and code that is 5% slower."""
    from bench import selftest as test
    from bench.selftest_tables import selftest_tables

    if saved:
        outcome = test.load(saved)
    else:
        config = test.configured(environment.device_names(device), runs, pairs, seed, threads)
        path = launch.output_path(output, "selftest", overwrite=overwrite)
        with progress(stderr()) as bars:
            outcome = test.execute(config, bars)
        try:
            records.save(outcome, path)
        except OSError as error:  # half an hour's work: at least its outcome is shown
            print_tables(selftest_tables(outcome))
            raise BenchError(f"cannot write {path}: {error.strerror}") from None
    if as_json:
        found = outcome.model_dump(mode="json", exclude={"pool"})
        print_json(found | {"rates": asdict(test.judge(outcome))})
    elif as_markdown:
        print_markdown(selftest_tables(outcome))
    else:
        print_tables(selftest_tables(outcome))


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit; bad input gets one line on standard error and status 2."""
    try:
        with registered({}):  # what a command adds to the registry ends with it
            status = app(args=arguments, prog_name="python -m bench", standalone_mode=False)
    except BenchError as error:
        _fail(str(error))
    except typer.TyperException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _plugins() -> plugins.Plugins:
    """What the installed packages bring, in the registry from now on."""
    found = plugins.discover()
    REGISTRY.update(found.entries)
    return found


def _named(impl: str, found: plugins.Plugins) -> frozenset[str]:
    """The implementations that were asked for one by one: each must be one.

    Among ``all``, an installed plugin that is broken is only told of.
    """
    names = {part.strip() for part in impl.split(",")}
    if plugins.ALL in names:
        for each in found.broken:
            stderr().print(Text(render.printable(f"left out: {each.reason}")), soft_wrap=True)
    return frozenset(names)


def _configured(
    implementations: tuple[str, ...],
    devices: tuple[str, ...],
    model: dict[str, Any],
    **options: Any,
) -> configuration.RunConfig:
    """The options of the command line, checked: the names first, then the numbers."""
    return configuration.validated(
        {
            "implementations": implementations,
            "devices": devices,
            "model": configuration.model_config(**model),
            **options,
        }
    )


def _show(result: Result, path: Path, *, plots: bool = True) -> None:
    console = stdout()
    console.print(Text(render.printable(tables.heading(result))))
    print_tables(tables.result_tables(result))
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
        "scaling": [asdict(row) for row in scaling_rows(result)],
        "quality": asdict(summary.quality(result)),
    }


def _fail(message: str) -> None:
    typer.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(BAD_INPUT)
