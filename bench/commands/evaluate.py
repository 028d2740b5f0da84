"""`bench evaluate`: how well given weights predict, computed by every implementation that can."""

from typing import TYPE_CHECKING, Annotated

import typer

from bench import environment, launch, plugins
from bench.config import Source, validated
from bench.console import stderr
from bench.options import (
    Device,
    Implementations,
    Output,
    Overwrite,
    Threads,
    TimeLimit,
    Weights,
)
from bench.progress import progress
from bench.recipes import NO_RECIPE

if TYPE_CHECKING:
    from bench.weights import Saved


def command(
    weights: Weights,
    impl: Implementations = "all",
    device: Device = "cpu",
    task: Annotated[
        str | None,
        typer.Option(
            help="What is to be predicted. Default: what the weights were trained on.",
            show_default=False,
        ),
    ] = None,
    threads: Threads = 1,
    time_limit: TimeLimit = 600.0,
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Check parity, then evaluate given weights on the test set; status 1 when a case fails."""
    devices = environment.device_names(device)
    found = launch.installed_plugins()
    names = plugins.register(impl, found, devices)
    from bench import weights as files  # torch takes two seconds: bad options are told before

    saved = files.load(weights)
    config = validated(
        {
            "implementations": names,
            "devices": devices,
            "model": saved.model,
            "dtype": str(next(iter(saved.weights.values())).dtype).removeprefix("torch."),
            "task": task or saved.origin.task or "cosine",
            "recipe": NO_RECIPE,
            "weights": _source(saved),
            "threads": (threads,),
            "time_limit": time_limit,
        }
    )
    path = launch.output_path(output, f"{config.task}-weights", overwrite=overwrite)
    from bench.runner import Run

    with progress(stderr()) as bars:
        named = launch.asked_by_name(impl, found)
        result = Run(config, path, bars, named=named).evaluate(weights.resolve())
    launch.show(result, path)
    if any(case.status == "failed" for case in result.cases):
        raise typer.Exit(launch.FAILED)


def _source(saved: "Saved") -> Source:
    from bench.cases import weights_digest

    return Source(digest=weights_digest(saved.weights), **saved.origin.model_dump())
