"""`bench study`: the lecture's questions, answered here over several seeds."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from bench import launch, plugins, render
from bench.console import echo, print_json, print_markdown, print_tables, stderr, stdout
from bench.errors import BenchError, unknown
from bench.options import AsJson, AsMarkdown, Output, Overwrite, TimeLimit
from bench.progress import progress
from bench.studies import files, words
from bench.studies.registry import STUDIES
from bench.studies.schema import StudyConfig, StudyResult
from bench.studies.study import in_words
from tasks import TASKS


def command(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(help=f"{', '.join(STUDIES)}. Without one: what each asks and varies."),
    ] = None,
    impl: Annotated[str, typer.Option(help="Which implementation is trained.")] = "fused_cpu",
    task: Annotated[str, typer.Option(help=f"{' or '.join(TASKS)}.")] = "cosine",
    recipe: Annotated[str, typer.Option(help="What is kept of the training.")] = "quick",
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="Other values, a comma list, of something that the study varies; repeatable.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="horizon: look at these, a .safetensors file that a run has left, and train "
            "nothing; with --vary recipe=weights,quick that too.",
            show_default=False,
        ),
    ] = None,
    iterations: Annotated[
        str | None,
        typer.Option(help="The same as --vary iterations=VALUES.", show_default=False),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Repetitions of the whole. Default: the study's.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="The first of the seeds.")] = 0,
    test_sequences: Annotated[int, typer.Option(help="Sequences of the test set.")] = 1000,
    jobs: Annotated[
        int | None,
        typer.Option(help="Worker processes at once. Default: the cores.", show_default=False),
    ] = None,
    time_limit: TimeLimit = 600.0,
    output: Output = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with a study that was cut short.", show_default=False),
    ] = None,
    saved: Annotated[
        Path | None,
        typer.Option("--show", help="Print a saved study instead.", show_default=False),
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="Print one of the study's tables.", show_default=False)
    ] = None,
    plots: Annotated[
        bool, typer.Option(help="Bring the plots in the folder beside the file up to date.")
    ] = True,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """One of the lecture's questions, answered here: several seeds, a table, plots, a file."""
    if saved:
        _print(files.load(saved), saved, table, plots, as_json=as_json, as_markdown=as_markdown)
        return
    earlier = files.load(resume) if resume else None
    name = name or (earlier.config.study if earlier else None)
    if name is None:
        print_tables([_listing()])
        return
    jobs = _jobs(jobs)
    config = files.configured(
        name,
        [*(vary or ()), *([f"iterations={iterations}"] if iterations else ())],
        {"sequences": test_sequences},
        task=task,
        recipe=recipe,
        weights=str(weights) if weights else None,
        implementation=impl,
        seed=seed,
        seeds=seeds,
        time_limit=time_limit,
    )
    if earlier and resume:
        given = {_FIELDS.get(option, option) for option in launch.given(context)}
        given &= StudyConfig.model_fields.keys()
        launch.check_again(resume, earlier.config, config, sorted(given), output, "study")
        config, path = earlier.config, resume
    else:
        path = launch.output_path(output, f"study-{name}", overwrite=overwrite)
    _register(config.implementation)
    if weights:
        from bench.weights import load  # torch takes two seconds: all else is told before

        load(weights)
    result = _execute(config, path, jobs, earlier)
    _print(result, path, table, plots, as_json=as_json, as_markdown=as_markdown)
    if any(cell.status == "failed" for cell in result.cells):
        raise typer.Exit(launch.FAILED)


def _listing() -> render.Table:
    rows = tuple(
        (
            name,
            study.question,
            "; ".join(
                f"{axis}: {', '.join(map(in_words, each.values))}"
                for axis, each in study.axes.items()
            ),
            str(study.seeds),
        )
        for name, study in STUDIES.items()
    )
    return render.Table(
        title="Studies: python -m bench study NAME",
        columns=("study", "question", "what is varied", "seeds"),
        sections=(rows,),
    )


def _jobs(asked: int | None) -> int:
    cores = os.cpu_count() or 1
    if asked is not None and not 1 <= asked <= cores:
        raise BenchError(f"--jobs must be from 1 to the {cores} cores of this machine, got {asked}")
    return asked or cores


# Which fields an option sets, where it has another name.
_FIELDS = {
    "impl": "implementation",
    "vary": "axes",
    "iterations": "axes",
    "test_sequences": "evaluation",
    "name": "study",
}


def _register(impl: str) -> None:
    """Have the implementation in the registry.

    Raises:
        BenchError: there is no such one.
    """
    found = launch.installed_plugins()
    if impl == plugins.ALL or "," in impl:
        raise BenchError(f"--impl must be one implementation, got '{impl}'")
    plugins.register(impl, found, ("cpu",))


def _execute(
    config: StudyConfig, path: Path, jobs: int, earlier: StudyResult | None
) -> StudyResult:
    """Run, showing how far it is; whoever interrupts it is told how to go on."""
    from bench.studies.engine import StudyRun

    console, current = stderr(), list[StudyRun]()
    try:
        with progress(console) as bars:
            current.append(StudyRun(config, path, bars, jobs, earlier))
            return current[0].execute()
    except KeyboardInterrupt:
        if current:
            result = current[0].result
            console.print(
                Text(
                    f"interrupted: {len(result.cells)} of {result.planned} cells done; all so far "
                    f"is in {path}; python -m bench study --resume {path} goes on"
                ),
                soft_wrap=True,
            )
        raise
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from None


def _print(
    result: StudyResult,
    path: Path,
    table: str | None,
    plots: bool,
    *,
    as_json: bool,
    as_markdown: bool,
) -> None:
    found = STUDIES[result.config.study].tables(result)
    if table is not None and table not in found:
        raise unknown("table", table, found)
    chosen = [each for name, each in found.items() if table in (None, name)]
    if as_json:
        print_json(_numbers(result))
        return
    if as_markdown:
        echo(render.markdown_text(words.heading(result)) + "\n\n")
        print_markdown(chosen)
        return
    console = stdout()
    console.print(Text(render.printable(words.heading(result))))
    print_tables(chosen)
    console.print(Text(f"study file: {path}"), soft_wrap=True)
    if plots and not table:
        console.print(Text(f"plots:      {_drawn(result, path)}/"), soft_wrap=True)


def _numbers(result: StudyResult) -> dict[str, Any]:
    """What JSON tells: what was done, and what the seeds say at every point."""
    measures = STUDIES[result.config.study].measures
    points = {cell.key[0]: cell.settings for cell in result.cells}
    rows = []
    for settings in points.values():
        found = {name: words.spread_at(result, name, **settings)[0] for name in measures}
        rows.append(
            {"settings": settings}
            | {name: asdict(each) for name, each in found.items() if each is not None}
        )
    return {"config": result.config.model_dump(mode="json"), "points": rows}


def _drawn(result: StudyResult, path: Path) -> Path:
    """Draw the figures into the folder beside the file; returns the folder."""
    import matplotlib as mpl

    from bench import figures, plots

    try:
        folder, stamp = plots.prepared(path)
        with mpl.rc_context(figures.STYLE):
            for name, figure in STUDIES[result.config.study].figures(result).items():
                kinds = (folder / f"{name}.{kind}" for kind in ("png", "svg"))
                figures.write(figure, kinds, stamp)
    except OSError as error:
        raise BenchError(f"cannot draw the plots of {path}: {error.strerror}") from None
    return folder
