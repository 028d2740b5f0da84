"""A cell's training and its error; imported in a worker alone, for it needs torch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import impls
from bench import evaluation, weights
from bench.errors import BenchError
from bench.evaluation import NotFiniteError
from bench.recipes import RECIPES, Recipe
from bench.studies.schema import Cell, StudyConfig, Values
from bench.studies.study import Tick
from bench.training import DivergedError, train
from impls import GeneratorConfig
from impls.generator import Generator
from tasks import TASKS, Task

# What ends a cell with an answer: the numbers were left.
DIVERGED = (DivergedError, NotFiniteError)
LAST_SHARE = 20  # of the iterations, whose losses say how well the training data are known


def recipe(config: StudyConfig, **changes: Any) -> Recipe:
    """The study's recipe, with what a cell changes in it."""
    return replace(RECIPES[config.recipe], **changes)


def created(config: StudyConfig, seed: int, **model: Any) -> Generator:
    """A generator with its initial weights; ``model`` holds options of `GeneratorConfig`."""
    sizes = {"input_size": TASKS[config.task].input_size} | model
    dtype: torch.dtype = getattr(torch, config.dtype)
    return impls.create(config.implementation, GeneratorConfig(**sizes), dtype=dtype, seed=seed)


def from_file(config: StudyConfig) -> Generator:
    """The generator whose weights the study's file holds, in their own dtype.

    Raises:
        BenchError: there is no such file, or its model is not the task's or the implementation's.
    """
    saved = weights.load(Path(config.weights or ""))
    if saved.model.input_size != (wanted := TASKS[config.task].input_size):
        raise BenchError(
            f"{config.weights} predicts {saved.model.input_size} features; task {config.task} has "
            f"{wanted}"
        )
    dtype = next(iter(saved.weights.values())).dtype
    try:
        model = impls.create(config.implementation, saved.model, dtype=dtype)
    except ValueError as error:
        raise BenchError(f"{config.weights}: {error}") from None
    model.load_weights(saved.weights)
    return model


def train_cell(
    model: Generator,
    cell: Cell,
    config: StudyConfig,
    tick: Tick,
    how: Recipe,
    *,
    task: Task | None = None,
    **options: Any,
) -> float:
    """Train a cell's generator in place.

    Args:
        model: what `created` has given.
        cell: its seed names the data; its ``iterations``, where it has them, are done.
        config: of the study.
        tick: called after every iteration.
        how: the recipe.
        task: instead of the study's own.
        options: others of `bench.training.train`.

    Returns:
        The mean loss of the last twentieth of the iterations.

    Raises:
        DivergedError: a loss was not finite.
    """
    iterations = options.pop("iterations", cell.settings.get("iterations"))
    training = train(
        model,
        config.recipe,
        how,
        task or TASKS[config.task],
        cell.seed,
        iterations=iterations if isinstance(iterations, int) else None,
        on_iteration=tick,
        **options,
    )
    last = training.loss[-max(1, len(training.loss) // LAST_SHARE) :]
    return float(np.mean(last))


def errors(model: Generator, config: StudyConfig, task: Task | None = None) -> Values:
    """``mse_mean``, ``mse_median`` and ``mse_worst`` over the sequences of the usual test set.

    Raises:
        NotFiniteError: a prediction was not finite.
    """
    sequences = evaluation.test_set(task or TASKS[config.task], config.evaluation)
    # The implementation has passed parity; and a study is about weights that turned out badly too.
    found = evaluation.evaluate(model, sequences, config.evaluation, check=False)
    return {
        "mse_mean": found.mse_mean,
        "mse_median": found.mse_median,
        "mse_worst": found.mse_worst,
    }


def single_step_error(model: Generator, config: StudyConfig) -> float:
    """Mean squared error on the usual test set where every step is forced, after the warm-up.

    Raises:
        NotFiniteError: a prediction was not finite.
    """
    sequences = evaluation.test_set(TASKS[config.task], config.evaluation)
    like = next(model.parameters())
    model.eval()
    with torch.inference_mode():
        inputs = torch.from_numpy(sequences.inputs).to(like.dtype)
        predictions, _ = model(inputs, torch.ones(len(inputs), dtype=torch.bool))
    found = predictions.double().numpy()
    if not np.isfinite(found).all():
        raise NotFiniteError("a prediction of single steps is not finite")
    skip = config.evaluation.warm_up
    return float(evaluation.judged_errors(found, sequences, skip).mean())
