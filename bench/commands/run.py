"""`bench run`: check, train, evaluate and time."""

from pathlib import Path
from typing import Annotated

import typer

from bench import config as configuration
from bench import environment, launch, plugins, recipe_files
from bench.options import (
    BatchFirst,
    Bidirectional,
    Device,
    Dropout,
    Dtype,
    HiddenSizes,
    Implementations,
    NoBias,
    Nonlinearity,
    NumLayers,
    Output,
    Overwrite,
    Seed,
    ThreadCounts,
    TimeLimit,
)
from bench.recipes import NO_RECIPE, RECIPES
from tasks import TASKS


def command(
    context: typer.Context,
    impl: Implementations = "all",
    device: Device = "cpu",
    task: Annotated[str, typer.Option(help=f"{', '.join(TASKS)}.")] = "cosine",
    recipe: Annotated[
        str,
        typer.Option(
            help=f"How to train: {', '.join(RECIPES)}, or a recipe file, FILE.toml; {NO_RECIPE}: "
            "only check and time."
        ),
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
    batch_first: BatchFirst = False,
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
    chosen = recipe_files.chosen(recipe)
    its_model = chosen.model_without(launch.given(context))
    size, *more_sizes = configuration.hidden_sizes(str(its_model.get("hidden_size", hidden_size)))
    sampling = configuration.sampling(preset, processes, rounds)
    found = launch.installed_plugins()
    devices = environment.device_names(device)
    config = launch.configured(
        plugins.register(impl, found, devices),
        devices,
        model={
            "hidden_size": size,
            "num_layers": num_layers,
            "nonlinearity": nonlinearity,
            "bias": not no_bias,
            "dropout": dropout,
            "bidirectional": bidirectional,
            "batch_first": batch_first,
        }
        | its_model,
        more_hidden_sizes=tuple(more_sizes),
        steps=steps,
        dtype=dtype,
        task=task,
        recipe=chosen.name,
        own_recipe=chosen.own,
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
    result = launch.execute(config, path, earlier, launch.asked_by_name(impl, found))
    launch.show(result, path)
    if any(case.status == "failed" for case in result.cases):
        raise typer.Exit(launch.FAILED)
