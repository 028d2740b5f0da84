"""Error over the test set, and what trivial predictors get on the same set.

Step t predicts ``targets[t]``. The first ``warm_up`` steps are forced; from then on the generator
reads its own predictions, and the squared error counts: 899 steps of 999 by default. A task that
says itself how many steps are forced, and what is judged, is taken at its word.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from bench.config import LONG_FACTOR, EvaluationConfig
from bench.errors import WrongWorkError
from bench.layout import called
from bench.parity import (
    array,
    closed_loop_error,
    free_run_error,
    some_sequences,
    tolerance_of,
)
from bench.schema import Accuracy, Answers, Baselines, ErrorSummary, Trajectory
from impls.generator import Generator
from tasks import Sequences, Task
from tasks.forcing import Forced, warm_up

Array = NDArray[np.float64]
Numbers = tuple[float, ...]


class NotFiniteError(Exception):
    """A prediction was NaN or infinite."""


def test_set(task: Task, config: EvaluationConfig) -> Sequences:
    """The sequences to predict; (999, 1000, 1) by default, and where the task has no own length."""
    rng = np.random.default_rng(config.seed)
    return task.draw(rng, config.sequences, task.points or config.points)


def forcing(sequences: Sequences, config: EvaluationConfig) -> Forced:
    """(T,), which steps read what is given: as many as the sequences say, or the warm-up."""
    return warm_up(len(sequences.inputs), sequences.forced_steps or config.warm_up)


def predict(model: Generator, inputs: Array, forced: Forced) -> Array:
    """Predictions (T, B, I) of a closed loop; the inputs that are not to be read are NaN."""
    like = next(model.parameters())
    visible = np.where(forced[:, None, None], inputs, np.nan)
    model.eval()
    with torch.inference_mode():
        tensor = torch.from_numpy(visible).to(device=like.device, dtype=like.dtype)
        predictions, _ = called(model, tensor, torch.from_numpy(forced))
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
    forced = forcing(sequences, config)
    predictions = predict(model, sequences.inputs, forced)
    bad = ~np.isfinite(predictions).all(axis=(1, 2))
    if bad.any():
        raise NotFiniteError(
            f"evaluation: the prediction of step {int(bad.argmax())} is not finite"
        )
    if check:
        _check(model, sequences.inputs, predictions, forced)
    errors = judged_errors(predictions, sequences, config.warm_up)
    summary = summarise(errors)
    return Accuracy(
        **dict(summary),
        mse_per_sequence=tuple(errors.mean(axis=0).tolist()),
        best=_trajectory(sequences, predictions, summary.best_index),
        worst=_trajectory(sequences, predictions, summary.worst_index),
        forced_steps=sequences.forced_steps,
        answers=_answers(sequences, predictions),
    )


def _check(model: Generator, inputs: Array, predictions: Array, forced: Forced) -> None:
    """Hold a few sequences, which nobody can foresee, against the reference on the same weights."""
    columns = some_sequences(inputs.shape[1])
    like = next(model.parameters())
    rounded = array(torch.from_numpy(inputs[:, columns]).to(like.dtype))
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


def judged_errors(predictions: Array, sequences: Sequences, skip: int) -> Array:
    """(S, B): squared error of each step that is judged, the mean over the features that are.

    These are the steps after the first ``skip``, or those that the task names. Where it judges each
    sequence at steps of its own, S is 1, and an error is a sequence's mean.
    """
    if sequences.judged is None:
        return squared_errors(predictions, sequences.targets, skip)
    squares = (np.square(predictions - sequences.targets) * sequences.judged).sum(axis=2)
    features = sequences.judged.sum(axis=2)
    steps = (features > 0).any(axis=1)
    if (features[steps] > 0).all():
        alike: Array = squares[steps] / features[steps]
        return alike
    return np.atleast_2d(squares.sum(axis=0) / features.sum(axis=0))


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
    """What the task's own trivial predictors get."""
    skip = config.warm_up
    predictors = task.trivial(sequences, sequences.forced_steps or skip)
    return {
        name: summarise(judged_errors(predicted, sequences, skip))
        for name, predicted in predictors.items()
    }


def _trajectory(sequences: Sequences, predictions: Array, index: int) -> Trajectory:
    """One sequence up to its last judged step, its first feature; beside it what was read."""
    targets, judged = sequences.targets[:, index, 0], sequences.judged
    if judged is None:
        return Trajectory(target=_short(targets), prediction=_short(predictions[:, index, 0]))
    end = int(np.flatnonzero(judged[:, index].any(axis=1))[-1]) + 1
    read = min(end, sequences.forced_steps or end)
    return Trajectory(
        target=_short(targets[:end]),
        prediction=_short(predictions[:end, index, 0]),
        inputs=tuple(_short(feature) for feature in sequences.inputs[:read, index].T),
    )


def _answers(sequences: Sequences, predictions: Array) -> Answers | None:
    """Every sequence's target and prediction where a single step of it is judged."""
    judged = sequences.judged
    if judged is None or (judged.any(axis=2).sum(axis=0) != 1).any():
        return None
    step, columns = judged.any(axis=2).argmax(axis=0), np.arange(judged.shape[1])
    features = np.flatnonzero(judged.any(axis=(0, 1)))
    return Answers(
        target=tuple(_short(sequences.targets[step, columns, each]) for each in features),
        prediction=tuple(_short(predictions[step, columns, each]) for each in features),
    )


def _short(points: Array) -> Numbers:
    # float32 holds more digits than any plot shows, in half the characters.
    return tuple(float(str(value)) for value in points.astype(np.float32))
