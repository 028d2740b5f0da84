"""Closed-loop error over the test set, and what trivial predictors get on the same set.

Step t predicts ``targets[t]``. The first ``warm_up`` steps are forced; from then on the generator
reads its own predictions, and the squared error counts: 899 steps of 999 by default.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from bench.config import LONG_FACTOR, EvaluationConfig
from bench.errors import WrongWorkError
from bench.parity import (
    array,
    closed_loop_error,
    free_run_error,
    some_sequences,
    tolerance_of,
)
from bench.schema import Accuracy, Baselines, ErrorSummary, Trajectory
from impls.generator import Generator
from tasks import Sequences, Task
from tasks.forcing import warm_up

Array = NDArray[np.float64]


class NotFiniteError(Exception):
    """A prediction was NaN or infinite."""


def test_set(task: Task, config: EvaluationConfig) -> Sequences:
    """The sequences to predict; (999, 1000, 1) by default."""
    return task.draw(np.random.default_rng(config.seed), config.sequences, config.points)


def predict(model: Generator, inputs: Array, config: EvaluationConfig) -> Array:
    """Predictions (T, B, I) of a closed loop; the inputs that are not to be read are NaN."""
    like = next(model.parameters())
    forced = warm_up(len(inputs), config.warm_up)
    visible = np.where(forced[:, None, None], inputs, np.nan)
    model.eval()
    with torch.inference_mode():
        tensor = torch.from_numpy(visible).to(device=like.device, dtype=like.dtype)
        predictions, _ = model(tensor, torch.from_numpy(forced))
        result: Array = predictions.cpu().double().numpy()
    return result


def evaluate(
    model: Generator, sequences: Sequences, config: EvaluationConfig, *, check: bool = True
) -> Accuracy:
    """Errors of a trained model.

    Args:
        model: holds the weights.
        sequences: `test_set`'s.
        config: of the evaluation.
        check: whether to hold a few predictions against the reference on the same weights. It
            cannot judge weights whose states part chaotically, as bad starts can leave them.

    Raises:
        NotFiniteError: a prediction was NaN or infinite.
        WrongWorkError: the predictions are not those of the model's weights.
    """
    predictions = predict(model, sequences.inputs, config)
    bad = ~np.isfinite(predictions).all(axis=(1, 2))
    if bad.any():
        raise NotFiniteError(
            f"evaluation: the prediction of step {int(bad.argmax())} is not finite"
        )
    if check:
        _check(model, sequences.inputs, predictions, config)
    errors = squared_errors(predictions, sequences.targets, config.warm_up)
    summary = summarise(errors)
    return Accuracy(
        **dict(summary),
        mse_per_sequence=tuple(errors.mean(axis=0).tolist()),
        best=_trajectory(sequences.targets, predictions, summary.best_index),
        worst=_trajectory(sequences.targets, predictions, summary.worst_index),
    )


def _check(model: Generator, inputs: Array, predictions: Array, config: EvaluationConfig) -> None:
    """Hold a few sequences, which nobody can foresee, against the reference on the same weights."""
    columns = some_sequences(inputs.shape[1])
    like = next(model.parameters())
    rounded = array(torch.from_numpy(inputs[:, columns]).to(like.dtype))
    forced = warm_up(len(inputs), config.warm_up)
    # Whichever can judge these weights: rounding makes a right one fail one of them, a wrong one
    # fails both.
    judged = (rounded, forced, predictions[:, columns])
    with np.errstate(over="ignore", invalid="ignore"):  # in the one that cannot
        error = float(np.fmin(closed_loop_error(model, *judged), free_run_error(model, *judged)))
    tolerance = LONG_FACTOR * tolerance_of(type(model), like.dtype)
    if not error <= tolerance:
        raise WrongWorkError(
            f"evaluation: error {error:.1e} of the predictions, above {tolerance:.0e}: they are "
            "not those of the trained weights"
        )


def squared_errors(predictions: Array, targets: Array, skip: int) -> Array:
    """(T - skip, B): squared error of each step after the warm-up, the mean over features."""
    errors: Array = np.square(predictions[skip:] - targets[skip:]).mean(axis=2)
    return errors


def summarise(errors: Array) -> ErrorSummary:
    """What a table needs of (T, B) squared errors; a sequence's error is its mean over steps."""
    per_sequence = errors.mean(axis=0)
    best, worst = int(per_sequence.argmin()), int(per_sequence.argmax())
    return ErrorSummary(
        mse_mean=float(per_sequence.mean()),
        mse_median=float(np.median(per_sequence)),
        mse_p95=float(np.percentile(per_sequence, 95)),
        mse_best=float(per_sequence[best]),
        mse_worst=float(per_sequence[worst]),
        best_index=best,
        worst_index=worst,
        mse_per_step=tuple(errors.mean(axis=1).tolist()),
    )


def baselines(task: Task, sequences: Sequences, config: EvaluationConfig) -> Baselines:
    """Always zero; the last true value repeated; the task's own recurrence, in float32."""
    skip = config.warm_up
    free = sequences.targets[skip:]
    # The last step that reads a true value is skip - 1, and its target is still to be predicted:
    # like the generator, these predictors run from the last value that was read.
    last = sequences.inputs[skip - 1]
    predictors = {
        "zero": np.zeros_like(free),
        "repeat": np.broadcast_to(last, free.shape),
        "recurrence": _recurrence(task, sequences.inputs[:skip], len(free)),
    }
    summaries = {
        name: summarise(squared_errors(np.asarray(predicted), free, 0))
        for name, predicted in predictors.items()
    }
    return Baselines(**summaries)


def _recurrence(task: Task, known: Array, steps: int) -> Array:
    """``steps`` predictions after the one for the first free input, as the generator's are."""
    p, q = (np.float32(factor) for factor in task.recurrence)
    before, last = known[-2:].astype(np.float32) if len(known) > 1 else np.stack([known[0]] * 2)
    predicted = []
    for _ in range(steps + 1):
        before, last = last, p * last + q * before
        predicted.append(last)
    return np.stack(predicted[1:]).astype(np.float64)


def _trajectory(targets: Array, predictions: Array, index: int) -> Trajectory:
    # float32 holds more digits than any plot shows, in half the characters.
    def values(points: Array) -> tuple[float, ...]:
        return tuple(float(str(value)) for value in points[:, index, 0].astype(np.float32))

    return Trajectory(target=values(targets), prediction=values(predictions))
