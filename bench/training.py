"""The teacher-forced training loop."""

from collections.abc import Callable, Iterator
from collections.abc import Generator as Steps
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.clock import Stopwatch
from bench.layout import called
from bench.measure import synchronise
from bench.muon import Muon
from bench.recipes import Batch, Recipe, batches
from bench.rewinding import Rewinding
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
    init_gain: float | None = None,
    on_iteration: Callable[[], None] = lambda: None,
) -> Training:
    """Train ``model`` in place, as `steps` does; ``on_iteration`` is called after each.

    Raises:
        DivergedError: a loss was NaN or infinite; the model is of no use then.
    """
    going = steps(
        model,
        recipe_name,
        recipe,
        task,
        seed,
        iterations=iterations,
        init=init,
        init_gain=init_gain,
    )
    return finished(going, on_iteration)


def finished(going: Steps[None, None, Training], on_iteration: Callable[[], None]) -> Training:
    """Go on with a training to its end."""
    while True:
        try:
            next(going)
        except StopIteration as end:
            training: Training = end.value
            return training
        on_iteration()


def steps(
    model: Generator,
    recipe_name: str,
    recipe: Recipe,
    task: Task,
    seed: int,
    *,
    iterations: int | None = None,
    init: InitName | None = None,
    init_gain: float | None = None,
) -> Steps[None, None, Training]:
    """Train ``model`` in place, and pause after every iteration.

    Args:
        model: holds the weights to start from.
        recipe_name: the name to record.
        recipe: how to train.
        task: where sequences come from.
        seed: names the data, the flips and the start.
        iterations: instead of the recipe's own number.
        init: instead of the recipe's own.
        init_gain: what the start is multiplied with, instead of the recipe's own.

    Raises:
        DivergedError: a loss was NaN or infinite; the model is of no use then.
    """
    iterations = iterations or recipe.iterations
    if start := init or recipe.init:
        restart(model, start, seed, recipe.init_gain if init_gain is None else init_gain)
    model.train()
    parameters = list(model.parameters())
    device = parameters[0].device
    optimisers = _optimisers(recipe, model)
    schedules = list(filter(None, (_schedule(recipe, each, iterations) for each in optimisers)))
    rewinding = Rewinding(model, optimisers, recipe.rewind_above)
    losses = []
    synchronise(device)
    watch = Stopwatch()
    for iteration, batch in enumerate(batches(recipe, task, seed, iterations)):
        model.zero_grad()
        loss = batch_loss(model, batch, recipe.loss_warm_up)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise DivergedError(iteration, losses[-1])
        if rewinding.leapt(losses[-1]):
            rewinding.rewind()
        else:
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
            with _one_thread():
                for optimiser in optimisers:
                    optimiser.step()
            rewinding.keep(losses[-1])
        for schedule in schedules:  # by iterations, and so the same whatever was taken back
            schedule.step()
        yield
    synchronise(device)
    return Training(
        recipe=recipe_name,
        seed=seed,
        iterations=iterations,
        seconds=watch.seconds(),
        loss=tuple(losses),
    )


def batch_loss(model: Generator, batch: Batch, loss_warm_up: int) -> Tensor:
    """Mean squared error of what the task judges; gradients reach the weights.

    Where it judges everything, that of the steps after the first ``loss_warm_up``.
    """
    like = next(model.parameters())
    inputs, targets = (
        torch.from_numpy(points).to(device=like.device, dtype=like.dtype)
        for points in (batch.sequences.inputs, batch.sequences.targets)
    )
    predictions, _ = called(model, inputs, torch.from_numpy(batch.forced))
    judged = batch.sequences.judged
    if judged is None:
        return F.mse_loss(predictions[loss_warm_up:], targets[loss_warm_up:])
    # A weight for each, for to pick some would make a GPU wait until it is told how many.
    weights = torch.from_numpy(judged / max(1, judged.sum())).to(targets)
    return torch.sum(weights * (predictions - targets).square())


def restart(model: Generator, init: InitName, seed: int, gain: float = 1.0) -> None:
    """Draw the matrices of the recurrence anew, the same on every device."""
    weights = {name: weight.detach() for name, weight in model.weights().items()}
    model.load_weights(started(weights, init, seed, gain))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small matrices gain nothing from more of PyTorch's threads.

    After each product these would wait, busily, on the cores that an implementation's own want.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _optimisers(recipe: Recipe, model: Generator) -> list[torch.optim.Optimizer]:
    """Adam, and Muon for the recurrent matrices where the recipe has it."""
    parameters, recurrent = list(model.parameters()), []
    if recipe.muon_rate is not None:
        weights = model.weights()
        recurrent = [weight for name, weight in weights.items() if name.startswith("weight_hh")]
        kept = set(map(id, recurrent))
        parameters = [each for each in parameters if id(each) not in kept]
    # In one call: else a small model's optimiser takes as long as its forward pass.
    found: list[torch.optim.Optimizer] = [
        torch.optim.Adam(parameters, lr=recipe.learning_rate, fused=True)
    ]
    if recurrent:
        found.append(Muon(recurrent, lr=recipe.muon_rate or 0.0))
    return found


def _schedule(
    recipe: Recipe, optimiser: torch.optim.Optimizer, iterations: int
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """Up to the optimiser's own rate and down to nothing; its momentum stays."""
    # The rise must be longer than one iteration: OneCycleLR divides by what it is longer.
    if recipe.schedule == "constant" or iterations * RISE <= 1.0:
        return None
    if recipe.schedule == "quadratic":
        return torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda iteration: _quadratic((iteration + 1) / iterations)
        )
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=optimiser.param_groups[0]["lr"],
        total_steps=iterations,
        pct_start=RISE,
        cycle_momentum=False,
    )


def _quadratic(done: float) -> float:
    """Share of the highest rate when a training is ``done``, in (0, 1]: half of `RISE` up to it."""
    if done < RISE / 2.0:
        return done / (RISE / 2.0)
    return float(((1.0 - done) / (1.0 - RISE / 2.0)) ** 2)
