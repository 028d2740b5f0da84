"""From a sweep's file to its cells, every one checked before any runs."""

import itertools
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench import config as configuration
from bench import environment, plugins, recipe_files
from bench.config import (
    DEFAULT_BATCH_SIZES,
    LARGEST_THREADS,
    WORKLOADS,
    RunConfig,
    WorkloadName,
)
from bench.errors import BenchError
from bench.plugins import Plugins
from bench.recipe_files import Chosen
from bench.sweeping.cell import Cell
from bench.sweeping.sweep_file import Sweep
from impls.config import Nonlinearity

T = TypeVar("T")
MOST_CELLS = 10_000
DEFAULT_HIDDEN_SIZE, DEFAULT_NUM_LAYERS = 128, 1
DEFAULT_NONLINEARITY: Nonlinearity = "tanh"
# What a key is called where an error speaks of the command line.
_KEYS = {
    "impl": "implementations",
    "device": "devices",
    "batch-size": "batch_sizes",
    "workload": "workloads",
    "recipe": "recipes",
    "dtype": "dtypes",
    "num-layers": "layers",
    "hidden-size": "hidden_sizes",
    "steps": "lengths",
    "seed": "seeds",
}


def cells(path: Path, sweep: Sweep, found: Plugins, *, elsewhere: bool = False) -> tuple[Cell, ...]:
    """The runs of a sweep, in the order of its lists.

    Args:
        path: the sweep's file, beside which its recipes lie.
        sweep: what it says.
        found: the plugins that are installed.
        elsewhere: whether they are for other machines, whose devices and cores nobody knows here.

    Raises:
        BenchError: an unknown name, what cannot be here, or too many cells.
    """
    try:
        devices = _devices(sweep, elsewhere=elsewhere)
        names = plugins.register(",".join(sweep.implementations), found, devices)
        cores = LARGEST_THREADS if elsewhere else os.cpu_count() or 1
        recipes = _recipes(path.parent, sweep.recipes)
        _check_number(sweep, recipes)
        return tuple(
            cell for recipe in recipes for cell in _of_recipe(sweep, recipe, names, devices, cores)
        )
    except BenchError as error:
        raise BenchError(f"{path}: {_in_keys(str(error))}") from None


def _of_recipe(
    sweep: Sweep, recipe: Chosen, names: tuple[str, ...], devices: tuple[str, ...], cores: int
) -> Iterator[Cell]:
    sampling = configuration.sampling(sweep.preset, sweep.processes, sweep.rounds)
    layers, sizes, nonlinearity = _model(sweep, recipe)
    grid = itertools.product(
        _once(sweep.dtypes), layers, sizes, _once(sweep.lengths or (None,)), _once(sweep.seeds)
    )
    for dtype, num_layers, hidden_size, steps, seed in grid:
        config = configuration.validated(
            {
                "implementations": names,
                "devices": devices,
                "model": configuration.model_of_task(
                    sweep.task,
                    hidden_size=hidden_size,
                    num_layers=num_layers,
                    nonlinearity=nonlinearity,
                    bias=sweep.bias,
                    dropout=sweep.dropout,
                ),
                "steps": steps,
                "dtype": dtype,
                "task": sweep.task,
                "recipe": recipe.name,
                "own_recipe": recipe.own,
                "iterations": sweep.iterations,
                "seed": seed,
                "batch_sizes": _batch_sizes(sweep),
                "processes": sampling.processes,
                "rounds": sampling.rounds,
                "sampling_seconds": sampling.seconds,
                "time_budget": sweep.time_budget,
                "time_limit": sweep.time_limit,
                "threads": _once(sweep.threads),
                "baseline": sweep.baseline,
            },
            cores=cores,
        )
        yield Cell(_name(config), config)


def _name(config: RunConfig) -> str:
    """Of the cell's file: what sets it apart from the others."""
    model = config.model
    length = "" if config.steps is None else f"-t{config.steps}"
    return (
        f"h{model.hidden_size}-l{model.num_layers}-{config.dtype}-{config.recipe}{length}"
        f"-s{config.seed}"
    )


def _devices(sweep: Sweep, *, elsewhere: bool) -> tuple[str, ...]:
    found = (environment.device_names(text, elsewhere=elsewhere) for text in sweep.devices)
    return _once([name for names in found for name in names])


def _recipes(folder: Path, texts: Sequence[str]) -> list[Chosen]:
    chosen = [recipe_files.chosen(text, folder) for text in _once(texts)]
    names = [recipe.name for recipe in chosen]
    for name in names:
        if names.count(name) > 1:
            raise BenchError(f"two recipes are named '{name}'; rename a file")
    return chosen


def _model(sweep: Sweep, recipe: Chosen) -> tuple[tuple[int, ...], tuple[int, ...], Nonlinearity]:
    """Layers, hidden sizes and nonlinearity: the sweep's own, or those of the recipe's file."""
    its: dict[str, Any] = dict(recipe.model)
    return (
        _once(sweep.layers or (its.get("num_layers", DEFAULT_NUM_LAYERS),)),
        _once(sweep.hidden_sizes or (its.get("hidden_size", DEFAULT_HIDDEN_SIZE),)),
        sweep.nonlinearity or its.get("nonlinearity", DEFAULT_NONLINEARITY),
    )


def _batch_sizes(sweep: Sweep) -> dict[WorkloadName, tuple[int, ...]]:
    return {
        name: _once(sweep.batch_sizes or DEFAULT_BATCH_SIZES[name])
        for name in WORKLOADS
        if name in sweep.workloads
    }


def _check_number(sweep: Sweep, recipes: Sequence[Chosen]) -> None:
    lists = (sweep.dtypes, sweep.layers, sweep.hidden_sizes, sweep.lengths, sweep.seeds)
    number = len(recipes) * math.prod(len(set(each or (None,))) for each in lists)
    if number > MOST_CELLS:
        raise BenchError(f"{number:,} cells; a sweep has {MOST_CELLS:,} at most")


def _once(values: Sequence[T]) -> tuple[T, ...]:
    """Each value once, in order."""
    return tuple(dict.fromkeys(values))


def _in_keys(message: str) -> str:
    """An error about options, in the words of the file."""
    return re.sub(r"--([a-z][a-z-]*)", lambda m: _KEYS.get(m[1], m[1].replace("-", "_")), message)
