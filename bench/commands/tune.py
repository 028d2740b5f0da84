"""`bench tune`: Optuna looks for a recipe; whoever stops it can go on, and others can join in."""

import shlex
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from re import fullmatch
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import config as configuration
from bench import environment, gate, plugins, records, words
from bench.config import LARGEST_THREADS, EvaluationConfig, RunConfig
from bench.console import note, print_json, print_tables, say, stderr
from bench.errors import BenchError
from bench.launch import (
    FAILED,
    check_output,
    check_place,
    check_range,
    configured,
    installed_plugins,
    keep_what_is_there,
    results_folder,
)
from bench.options import (
    HERE,
    Address,
    AsJson,
    Device,
    Nonlinearity,
    NumLayers,
    On,
    Overwrite,
    Seed,
    Threads,
)
from bench.progress import progress
from bench.remote import on_some_machine
from bench.schema import NAME_PATTERN
from bench.tuning.plan import Plan
from bench.tuning.space import Space
from impls import REGISTRY
from impls.packages import missing_reason
from tasks import TASKS

if TYPE_CHECKING:
    import optuna

    from bench.runner import Progress
    from bench.tuning.outcome import Outcome
    from impls import Entry

    # Goes on with a study, of which so many trials are finished, until it has enough.
    Search = Callable[[Plan, optuna.Study, int, Progress], None]

EXTRA = "lab"
MOST, MOST_JOBS = 10**9, 256
# Neither that of the test set (1000) nor one that a training is likely to have.
VALIDATION_SEED = 2000


def command(
    task: Annotated[str, typer.Option(help=f"{' or '.join(TASKS)}.")] = "cosine",
    impl: Annotated[str, typer.Option(help="Which implementation trains.")] = "fused_cpu",
    device: Device = "cpu",
    trials: Annotated[
        int, typer.Option(help="That the study is to have finished, earlier ones included.")
    ] = 40,
    iterations: Annotated[
        int,
        typer.Option(
            help="A trial's budget: the sequence-steps of so many iterations of quick, whatever "
            "its batches and lengths."
        ),
    ] = 800,
    validation: Annotated[
        int, typer.Option(help="Sequences that judge a trial; none is of the test set.")
    ] = 200,
    time_budget: Annotated[
        float | None,
        typer.Option(help="Seconds after which no trial begins.", show_default=False),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Its name. Default: tune-TASK.", show_default=False)
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where trials are kept, for all who join in: any URL that Optuna takes. Default: "
            "sqlite:///results/STUDY.db.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Trials at once. Default: 1 here, as many as it has room for on a cluster.",
            show_default=False,
        ),
    ] = None,
    on: On = HERE,
    address: Address = None,
    time_limit: Annotated[
        float,
        typer.Option(help="On a cluster, seconds of silence after which a trial counts as hung."),
    ] = 600.0,
    hidden_size: Annotated[
        str, typer.Option(help="Hidden sizes to choose from, a comma list.")
    ] = "32,64,128,256",
    batch_size: Annotated[
        str, typer.Option(help="Batch sizes to choose from, a comma list.")
    ] = "4,8,16,32",
    num_layers: NumLayers = 1,
    nonlinearity: Nonlinearity = "tanh",
    seed: Seed = 0,
    threads: Threads = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Recipe file. Default: results/STUDY.toml; plots go beside it.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Look for the best hyperparameters; the same command goes on where it was stopped."""
    if reason := missing_reason(("optuna",), EXTRA):
        raise BenchError(f"bench tune {reason}")
    check_place(on, address)
    check_range("--trials", trials, MOST)
    check_range("--iterations", iterations, MOST)
    if jobs is not None:
        check_range("--jobs", jobs, MOST_JOBS)
    check_range("--validation", validation, 100_000)
    if time_budget is not None and not 0.0 < time_budget <= 1e9:
        raise BenchError(f"--time-budget must be seconds above 0, got {time_budget:g}")
    name = study or f"tune-{task}"
    if not fullmatch(NAME_PATTERN, name):
        raise BenchError("--study: up to 100 letters, digits, '_', '.' and '-'")
    config = _configured(
        impl,
        device,
        elsewhere=address is not None,
        model={"num_layers": num_layers, "nonlinearity": nonlinearity},
        task=task,
        seed=seed,
        threads=(threads,),
        time_limit=time_limit,
        evaluation=EvaluationConfig(seed=VALIDATION_SEED, sequences=validation),
    )
    space = Space(
        configuration.hidden_sizes(hidden_size),
        tuple(configuration.batch_sizes(batch_size, "train_step")["train_step"]),
    )
    url = storage or f"sqlite:///results/{name}.db"
    plan = Plan(name, url, config, space, iterations, trials, time_budget)
    recipe = _recipe_path(output, plan, overwrite=overwrite)
    _check_sqlite(plan.storage)
    found = _searched(plan, _local(jobs or 1) if on == HERE else _on_ray(address, jobs))
    _tell(plan, found, recipe, as_json=as_json)
    if found.best is None:
        raise typer.Exit(FAILED)


def _configured(
    impl: str, device: str, *, elsewhere: bool, model: dict[str, Any], **options: Any
) -> RunConfig:
    """The run that every trial is; ``elsewhere``: on other machines.

    Raises:
        BenchError: an option is wrong, or names several implementations or devices.
    """
    found = installed_plugins()
    devices = environment.device_names(device, elsewhere=elsewhere)
    names = plugins.register(impl, found, devices)
    if len(names) > 1 or len(devices) > 1:
        raise BenchError("bench tune takes one --impl on one --device: all compute the same")
    return configured(
        names, devices, model, cores=LARGEST_THREADS if elsewhere else None, **options
    )


def _recipe_path(output: Path | None, plan: Plan, *, overwrite: bool) -> Path:
    """Where the recipe goes: an earlier one of the same study may be replaced.

    Raises:
        BenchError: it cannot be written there, or another file would be lost.
    """
    if output is None:
        output = results_folder() / f"{plan.study}.toml"
    check_output(output, (".toml",))
    from bench.recipe_files import check_name
    from bench.tuning.outcome import mark

    check_name(output)
    try:
        ours = output.exists() and output.read_text("utf-8").startswith(f"# {mark(plan)}")
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        keep_what_is_there(output, overwrite=overwrite)
    return output


def _check_sqlite(url: str) -> None:
    """What is kept in memory cannot be gone on with; of a missing folder SQLite says too little.

    Raises:
        BenchError: so it is.
    """
    if not url.startswith("sqlite"):
        return
    path = url.partition(":///")[2].partition("?")[0]
    if path in ("", ":memory:"):
        raise BenchError(
            f"--storage {url} keeps nothing; name a file, such as sqlite:///results/study.db"
        )
    folder = Path(path).parent
    if not folder.is_dir():
        raise BenchError(f"--storage {url}: there is no folder {folder}; create it first")


def _searched(plan: Plan, search: "Search") -> "Outcome":
    """Try, showing how far it is; whoever interrupts it is told how to go on."""
    from bench.tuning import storage
    from bench.tuning.outcome import outcome_of

    study = storage.opened(plan)
    with storage.told(plan.storage):
        before = len(storage.finished(study))
    try:
        if before < plan.trials:
            with progress(stderr()) as bars:
                search(plan, study, before, bars)
    except KeyboardInterrupt:
        with storage.told(plan.storage):
            done = len(storage.finished(study))
        note(
            f"interrupted: {done} of {plan.trials} trials are finished, all of them in "
            f"{storage.shown(plan.storage)}; the same command goes on"
        )
        raise
    with storage.told(plan.storage):
        return outcome_of(plan, study)


def _local(jobs: int) -> "Search":
    """Trials in this process, and in more beside it."""

    def search(plan: Plan, study: "optuna.Study", before: int, bars: "Progress") -> None:
        from bench.tuning import trials

        entries = _entries(plan)
        with closing(trials.Trying(plan, trials.inline(plan, entries))) as trying:
            gate.check(trying.worker, plan.config.implementations[0])
            tell = _told(plan, study, before, bars)
            with trials.helped(plan, entries, jobs - 1) as helpers:
                trials.go_on(plan, study, trying, tell)
                for helper in helpers:  # what they are at is not to be lost
                    helper.join()
                    if helper.exitcode:
                        bars.note(f"one of the --jobs ended with exit status {helper.exitcode}")

    return search


def _on_ray(address: str | None, jobs: int | None) -> "Search":
    """Trials on the nodes of a cluster."""

    def search(plan: Plan, study: "optuna.Study", before: int, bars: "Progress") -> None:
        from bench.cluster import connection, needs
        from bench.tuning import on_ray, storage

        with connection.connected(address) as ray:
            nodes, demand = connection.alive(ray), on_ray.demand(plan)
            if lacking := needs.check({"a trial": demand}, nodes):
                bars.note(lacking)
            if jobs and jobs > (room := demand.times(nodes)):
                raise BenchError(
                    f"--jobs must be from 1 to {room}, as many trials as the cluster has room for, "
                    f"got {jobs}"
                )
            begin = partial(on_ray.worker, ray, plan, _entries(plan))
            check = partial(gate.check, name=plan.config.implementations[0])
            first, _ = on_some_machine(begin, check)
            first.close()
            tell = _told(plan, study, before, bars)
            try:
                on_ray.search(plan, jobs or demand.times(nodes), begin, tell)
            except BenchError as error:
                raise BenchError(
                    f"{error}: all trials so far are in {storage.shown(plan.storage)}; the same "
                    "command goes on"
                ) from None

    return search


def _entries(plan: Plan) -> dict[str, "Entry"]:
    return {name: REGISTRY[name] for name in plan.config.implementations}


def _told(plan: Plan, study: "optuna.Study", before: int, bars: "Progress") -> Callable[[], bool]:
    """After a trial: the bar up to what the study has, others' trials too, and a new best."""
    from bench.tuning.outcome import outcome_of

    bars.start(f"tuning, {plan.study}", max(0, plan.trials - before))
    known, best = before, float("inf")

    def tell() -> bool:
        nonlocal known, best
        found = outcome_of(plan, study)
        for _ in range(min(found.finished, plan.trials) - known):
            bars.advance()
            known += 1
        if found.best and found.best.mse < best:
            best = found.best.mse
            bars.note(f"trial {found.best.trial}: MSE {words.error(best)}, the best so far")
        return True

    return tell


def _tell(plan: Plan, outcome: "Outcome", recipe: Path, *, as_json: bool) -> None:
    """Tables, the recipe file and the plots.

    Raises:
        BenchError: a file cannot be written.
    """
    from bench.tuning.outcome import recipe_text
    from bench.tuning.pictures import draw_all
    from bench.tuning.tables import tables

    if as_json:
        print_json(asdict(outcome))
    else:
        print_tables(tables(outcome))
    if outcome.best is None:
        return
    use = f"python -m bench run --task {plan.config.task} --recipe {shlex.quote(str(recipe))}"
    try:
        records.write(recipe_text(plan, outcome, outcome.best, use), recipe)
        draw_all(outcome, recipe.with_suffix(""))
    except OSError as error:
        raise BenchError(f"cannot write {recipe}: {error.strerror or error}") from None
    if not as_json:
        say(f"recipe file: {recipe}")
        say(f"plots:       {recipe.with_suffix('')}/")
        say(f"train by it: {use}")
