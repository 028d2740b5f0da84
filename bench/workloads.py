"""What is timed: a case -> callables without arguments. The CLI and pytest time the same ones.

- ``generate``: the closed loop of the evaluation, 100 steps forced and 899 free, no gradient;
- ``train_step``: 99 steps of the lecture's coin flips: zero the gradients, forward, loss, backward
  (no optimiser);
- ``sequence``: 999 steps, all forced, no gradient.

Setting up is not timed: data, weights and forcing exist before the first call. All cases time the
same weights, so what they computed can be held against the reference afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from bench.config import EvaluationConfig
from bench.parity import array, tensor_error
from impls import reference
from impls.generator import Generator
from tasks import Sequences, Task
from tasks.forcing import Forced, coin_flips, warm_up

LONG_POINTS, SHORT_POINTS = 1000, 100
LOSS_WARM_UP = 20
CHECKED_SEQUENCES = 8  # sequences do not meet, so a few of a large batch tell for all


@dataclass(frozen=True, slots=True)
class Workload:
    """Something to time.

    Attributes:
        name: as in the result file.
        batch_size: B.
        steps: T; a call does T x B sequence-steps.
        call: does the work and returns its outcome.
        error: the largest error of an outcome against the float64 reference (see `bench.parity`);
            None where dropout makes the outcome random, so that there is nothing to compare with.
    """

    name: str
    batch_size: int
    steps: int
    call: Callable[[], Any]
    error: Callable[[Any], float | None]


def build(name: str, model: Generator, task: Task, batch_size: int, seed: int) -> Workload:
    """The workload ``name`` for a model that holds its initial weights.

    Args:
        name: ``generate``, ``train_step`` or ``sequence``.
        model: is put into training or evaluation mode by every call.
        task: draws the data.
        batch_size: B.
        seed: names the coin flips of ``train_step``; the data are drawn with the evaluation's seed.
    """
    rng = np.random.default_rng(EvaluationConfig().seed)
    points = SHORT_POINTS if name == "train_step" else LONG_POINTS
    sequences = task.draw(rng, batch_size, points)
    steps = points - 1
    if name == "train_step":
        forced = coin_flips(np.random.default_rng((seed, 4)), steps, 0.5)
        return _train_step(model, sequences, forced, batch_size)
    forced = warm_up(steps, EvaluationConfig().warm_up if name == "generate" else steps)
    return _inference(name, model, sequences, forced, batch_size)


def _inference(
    name: str, model: Generator, sequences: Sequences, forced: Forced, batch_size: int
) -> Workload:
    like = next(model.parameters())
    inputs = torch.from_numpy(sequences.inputs).to(device=like.device, dtype=like.dtype)
    flags = torch.from_numpy(forced)

    def call() -> torch.Tensor:
        model.eval()
        with torch.inference_mode():
            predictions: torch.Tensor = model(inputs, flags)[0]
        return predictions

    def error(predictions: torch.Tensor) -> float:
        exact = _reference(model, array(inputs)[:, :CHECKED_SEQUENCES], forced)
        return tensor_error(array(predictions)[:, :CHECKED_SEQUENCES], exact.predictions)

    return Workload(name, batch_size, len(forced), call, error)


def _train_step(
    model: Generator, sequences: Sequences, forced: Forced, batch_size: int
) -> Workload:
    like = next(model.parameters())
    inputs, targets = (
        torch.from_numpy(points).to(device=like.device, dtype=like.dtype)
        for points in (sequences.inputs, sequences.targets)
    )
    flags = torch.from_numpy(forced)

    def call() -> dict[str, torch.Tensor | None]:
        model.train()
        model.zero_grad(set_to_none=True)
        predictions, _ = model(inputs, flags)
        loss = F.mse_loss(predictions[LOSS_WARM_UP:], targets[LOSS_WARM_UP:])
        loss.backward()  # type: ignore[no-untyped-call]
        return {name: weight.grad for name, weight in model.weights().items()}

    def error(gradients: dict[str, torch.Tensor | None]) -> float | None:
        if model.config.dropout and model.config.num_layers > 1:
            return None
        exact = _reference_gradients(model, array(inputs), array(targets), forced)
        missing = [name for name, gradient in gradients.items() if gradient is None]
        if missing:
            return float("inf")
        errors = [
            tensor_error(array(gradient), exact[name])
            for name, gradient in gradients.items()
            if gradient is not None
        ]
        return float(np.max(errors))  # NumPy's: Python's own max loses a NaN

    return Workload("train_step", batch_size, len(forced), call, error)


def _weights(model: Generator) -> dict[str, reference.Array]:
    return {name: array(weight) for name, weight in model.weights().items()}


def _reference(model: Generator, inputs: reference.Array, forced: Forced) -> reference.Rollout:
    config = model.config
    h0 = np.zeros((config.num_layers, inputs.shape[1], config.hidden_size))
    return reference.forward(config, _weights(model), inputs, forced.tolist(), h0)


def _reference_gradients(
    model: Generator, inputs: reference.Array, targets: reference.Array, forced: Forced
) -> dict[str, reference.Array]:
    rollout = _reference(model, inputs, forced)
    difference = rollout.predictions - targets
    difference[:LOSS_WARM_UP] = 0.0
    d_predictions = 2.0 * difference / difference[LOSS_WARM_UP:].size
    d_h_n = np.zeros_like(rollout.h_n)
    return reference.backward(
        model.config, _weights(model), forced.tolist(), rollout, d_predictions, d_h_n
    ).weights
