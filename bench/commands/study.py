"""`bench study`: the lecture's questions, answered here over several seeds."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from bench import launch, plugins, render
from bench.console import (
    echo,
    note,
    print_json,
    print_markdown,
    print_tables,
    say,
    stderr,
    stdout,
)
from bench.errors import BenchError, unknown
from bench.options import (
    HERE,
    Address,
    AsJson,
    AsMarkdown,
    On,
    Output,
    Overwrite,
    TimeLimit,
)
from bench.progress import progress
from bench.studies import files, words
from bench.studies.registry import STUDIES
from bench.studies.schema import StudyConfig, StudyResult
from bench.studies.study import in_words
from tasks import TASKS

if TYPE_CHECKING:
    from bench.studies.engine import Place, StudyRun


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
        typer.Option(
            help="Workers at once. Default: the cores, here or of the cluster.", show_default=False
        ),
    ] = None,
    on: On = HERE,
    address: Address = None,
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
    launch.check_place(on, address)
    earlier = files.load(resume) if resume else None
    name = name or (earlier.config.study if earlier else None)
    if name is None:
        print_tables([_listing()])
        return
    if on == HERE:
        jobs = _jobs(jobs, os.cpu_count() or 1, "this machine")
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
    with _place(on, address, config, jobs) as (place, workers):
        result = _execute(config, path, place, workers, earlier)
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


def _jobs(asked: int | None, cores: int, whose: str) -> int:
    if asked is not None and not 1 <= asked <= cores:
        raise BenchError(f"--jobs must be from 1 to the {cores} cores of {whose}, got {asked}")
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


@contextmanager
def _place(
    on: str, address: str | None, config: StudyConfig, jobs: int | None
) -> Iterator[tuple["Place", int]]:
    """Where the cells are measured, and by how many workers at once.

    Raises:
        BenchError: there is no such cluster, it has not what a cell needs, or not so many cores.
    """
    from bench.studies.engine import Here

    if on == HERE:
        yield Here(), jobs or 1
        return
    from bench.cluster import connection, needs
    from bench.studies.on_ray import TIMING, TRAINING, OnRay

    with connection.connected(address) as ray:
        nodes = connection.alive(ray)
        study = STUDIES[config.study]
        times = any(study.alone(cell.settings) for cell in study.cells(config))
        works = {"a training": TRAINING} | ({"a timing": TIMING} if times else {})
        if lacking := needs.check(works, nodes):
            note(lacking)
        yield OnRay(ray), _jobs(jobs, TRAINING.times(nodes), "the cluster")


def _execute(
    config: StudyConfig, path: Path, place: "Place", jobs: int, earlier: StudyResult | None
) -> StudyResult:
    """Run, showing how far it is; whoever interrupts it is told how to go on."""
    from bench.studies.engine import StudyRun

    current = list[StudyRun]()
    try:
        with progress(stderr()) as bars:
            current.append(StudyRun(config, path, bars, jobs, earlier, place))
            return current[0].execute()
    except KeyboardInterrupt:
        if current:
            note(f"interrupted: {_so_far(current[0], path)}")
        raise
    except BenchError as error:
        if not current:
            raise
        raise BenchError(f"{error}: {_so_far(current[0], path)}") from None
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from None


def _so_far(run: "StudyRun", path: Path) -> str:
    return (
        f"{len(run.result.cells)} of {run.result.planned} cells done; all so far is in {path}; "
        f"python -m bench study --resume {path} goes on"
    )


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
    stdout().print(Text(render.printable(words.heading(result))))
    print_tables(chosen)
    say(f"study file: {path}")
    if plots and not table:
        say(f"plots:      {_drawn(result, path)}/")


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
