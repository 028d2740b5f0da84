"""The teacher-forced training loop."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.clock import Stopwatch
from bench.measure import synchronise
from bench.recipes import Batch, Recipe, batches
from bench.schema import Training
from impls.config import InitName
from impls.generator import Generator
from impls.initial import started
from tasks import Task

RISE = 0.2  # of one cycle; the rest is its fall


class DivergedError(Exception):
    """The loss of an iteration was not finite."""

    def __init__(self, iteration: int, loss: float) -> None:
        super().__init__(f"training diverged: the loss of iteration {iteration} is {loss}")
        self.iteration = iteration


def train(
    model: Generator,
    recipe_name: str,
    recipe: Recipe,
    task: Task,
    seed: int,
    *,
    iterations: int | None = None,
    init: InitName | None = None,
    init_gain: float = 1.0,
    on_iteration: Callable[[], None] = lambda: None,
) -> Training:
    """Train ``model`` in place.

    Args:
        model: holds the weights to start from.
        recipe_name: the name to record.
        recipe: how to train.
        task: where sequences come from.
        seed: names the data, the flips and the start.
        iterations: instead of the recipe's own number.
        init: instead of the recipe's own.
        init_gain: what the start is multiplied with.
        on_iteration: called after each.

    Raises:
        DivergedError: a loss was NaN or infinite; the model is of no use then.
    """
    iterations = iterations or recipe.iterations
    if start := init or recipe.init:
        restart(model, start, seed, init_gain)
    model.train()
    parameters = list(model.parameters())
    device = parameters[0].device
    # In one call: else a small model's optimiser takes as long as its forward pass.
    optimiser = torch.optim.Adam(parameters, lr=recipe.learning_rate, fused=True)
    schedule = _schedule(recipe, optimiser, iterations)
    losses = []
    synchronise(device)
    watch = Stopwatch()
    for iteration, batch in enumerate(batches(recipe, task, seed, iterations)):
        optimiser.zero_grad()
        loss = batch_loss(model, batch, recipe.loss_warm_up)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
        optimiser.step()
        if schedule is not None:
            schedule.step()
        losses.append(loss.item())
        if not torch.isfinite(loss):
            raise DivergedError(iteration, losses[-1])
        on_iteration()
    synchronise(device)
    return Training(
        recipe=recipe_name,
        seed=seed,
        iterations=iterations,
        seconds=watch.seconds(),
        loss=tuple(losses),
    )


def batch_loss(model: Generator, batch: Batch, loss_warm_up: int) -> Tensor:
    """Mean squared error after the first ``loss_warm_up`` steps; gradients reach the weights."""
    like = next(model.parameters())
    inputs, targets = (
        torch.from_numpy(points).to(device=like.device, dtype=like.dtype)
        for points in (batch.sequences.inputs, batch.sequences.targets)
    )
    predictions, _ = model(inputs, torch.from_numpy(batch.forced))
    return F.mse_loss(predictions[loss_warm_up:], targets[loss_warm_up:])


def restart(model: Generator, init: InitName, seed: int, gain: float = 1.0) -> None:
    """Draw the matrices of the recurrence anew, the same on every device."""
    weights = {name: weight.detach() for name, weight in model.weights().items()}
    model.load_weights(started(weights, init, seed, gain))


def _schedule(
    recipe: Recipe, optimiser: torch.optim.Optimizer, iterations: int
) -> torch.optim.lr_scheduler.OneCycleLR | None:
    # The rise must be longer than one iteration: OneCycleLR divides by what it is longer.
    if recipe.schedule == "constant" or iterations * RISE <= 1.0:
        return None
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.learning_rate, total_steps=iterations, pct_start=RISE
    )
