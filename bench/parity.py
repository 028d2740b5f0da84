"""The gate: an implementation that disagrees with the float64 reference is never timed.

Each trial draws a shape, weights, a forcing pattern and an initial state, and compares outputs,
states and every gradient. The error of a tensor is the largest difference from the reference's,
divided by the largest magnitude of the reference's, or by 1 where that is smaller: an absolute
error for small tensors, a relative one for large.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import impls
from bench.config import REDUCED_TOLERANCE, TOLERANCE
from bench.errors import telling_line
from bench.layout import called, laid_out
from bench.schema import Parity
from impls import GeneratorConfig, reference
from impls.generator import Generator
from tasks.forcing import coin_flips, warm_up

CHECKED_SEQUENCES = 8
# (steps, batch): one step alone, odd sizes, a batch of one, and a length that lets errors grow.
SHAPES = ((1, 3), (7, 1), (23, 5), (60, 9))


@dataclass(frozen=True, slots=True)
class Trial:
    """What one comparison is made with; all arrays in float64, rounded to the case's dtype."""

    inputs: NDArray[np.float64]
    forced: list[bool]
    h0: NDArray[np.float64]
    d_predictions: NDArray[np.float64]
    d_h_n: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Errors:
    """The largest errors of one trial or of several; no gradient where none is computed."""

    output: float
    gradient: float | None

    def worst(self, other: "Errors") -> "Errors":
        """The larger of each; NaN stays NaN."""
        gradient = None
        if self.gradient is not None and other.gradient is not None:
            gradient = float(np.maximum(self.gradient, other.gradient))
        return Errors(float(np.maximum(self.output, other.output)), gradient)

    def within(self, tolerance: float) -> bool:
        """Whether neither is above ``tolerance``, or NaN."""
        return self.output <= tolerance and (self.gradient is None or self.gradient <= tolerance)


def check(
    name: str,
    config: GeneratorConfig,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
    *,
    on_trial: Callable[[], None] = lambda: None,
) -> Parity:
    """Compare the implementation ``name`` with the reference; ``on_trial`` is called after each.

    Dropout is random, so its outputs are compared as evaluated (where it does nothing) and its
    gradients without it. Of an implementation that computes no gradients the outputs are compared
    alone, and of one that runs no free steps, as no bidirectional one does, those of forced steps.
    """
    implementation = impls.load(name)
    tolerance, precision = tolerance_of(implementation, dtype), implementation.precision
    worst, closed_loop = Errors(0.0, 0.0), runs_free_steps(implementation, config)
    try:
        drawn = trials(config, seed, dtype, closed_loop=closed_loop)
        for number, trial in enumerate(drawn):
            weights_seed = seed + number
            evaluating = impls.create(name, config, device=device, dtype=dtype, seed=weights_seed)
            plain = replace(config, dropout=0.0)
            training = impls.create(name, plain, device=device, dtype=dtype, seed=weights_seed)
            worst = worst.worst(compare(evaluating.eval(), training.train(), trial))
            on_trial()
    except Exception as error:  # noqa: BLE001 - whatever an implementation raises is its result
        return Parity(
            output_error=None,
            gradient_error=None,
            tolerance=tolerance,
            precision=precision,
            passed=False,
            reason=f"raised {one_line(error)}",
            closed_loop=closed_loop,
        )
    passed = worst.within(tolerance)
    return Parity(
        output_error=_finite(worst.output),
        gradient_error=_finite(worst.gradient),
        tolerance=tolerance,
        precision=precision,
        passed=passed,
        reason=None if passed else _reason(worst, tolerance),
        closed_loop=closed_loop,
    )


def runs_free_steps(implementation: type[Generator], config: GeneratorConfig) -> bool:
    """Whether predictions are fed back: a backward layer would have to read them beforehand."""
    return implementation.closed_loop and not config.bidirectional


def tolerance_of(implementation: type[Generator], dtype: torch.dtype) -> float:
    """The largest error of one call that counts as rounding.

    Raises:
        ValueError: it states a precision that nobody knows.
    """
    if implementation.precision is None:
        return TOLERANCE[str(dtype).removeprefix("torch.")]
    if implementation.precision not in REDUCED_TOLERANCE:
        raise ValueError(
            f"its precision is {implementation.precision!r}; it must be None or one of "
            f"{', '.join(REDUCED_TOLERANCE)}"
        )
    return REDUCED_TOLERANCE[implementation.precision]


def trials(
    config: GeneratorConfig, seed: int, dtype: torch.dtype, *, closed_loop: bool = True
) -> Iterator[Trial]:
    """A trial for every shape and forcing pattern; without ``closed_loop`` all steps are forced."""
    rng = np.random.default_rng((seed, 3))
    for steps, batch in SHAPES:
        patterns = [coin_flips(rng, steps, 0.5), warm_up(steps, 1), warm_up(steps, steps)]
        for forced in patterns if closed_loop else patterns[-1:]:
            yield draw_trial(config, rng, forced, batch, dtype)


def draw_trial(
    config: GeneratorConfig,
    rng: np.random.Generator,
    forced: NDArray[np.bool_],
    batch: int,
    dtype: torch.dtype,
) -> Trial:
    """A trial with normal inputs, state and loss derivatives; the rows not to be read are NaN."""
    steps = len(forced)

    def normal(*shape: int) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = (
            torch.from_numpy(rng.normal(size=shape)).to(dtype).double().numpy()
        )
        return drawn

    inputs = normal(steps, batch, config.input_size)
    inputs[~forced] = np.nan
    state = config.state_shape(batch)
    return Trial(
        inputs, forced.tolist(), 0.5 * normal(*state), normal(*inputs.shape), normal(*state)
    )


def compare(evaluating: Generator, training: Generator, trial: Trial) -> Errors:
    """Outputs of ``evaluating`` and gradients of ``training`` against the reference.

    Both hold the same weights. ``training`` is left alone if it computes no gradients.

    Raises:
        ValueError: an argument was changed, or the same call gave another answer.
    """
    like = next(iter(training.weights().values()))

    def tensor(array: NDArray[np.float64]) -> Tensor:
        return copy_of(array, like)

    inputs, forced, h0 = arguments(trial, like, training.config)
    with torch.inference_mode():
        predictions, h_n = called(evaluating, inputs, forced, h0)
        again, _ = called(evaluating, inputs, forced, h0)
    if not type(predictions) is type(h_n) is Tensor:
        raise ValueError(f"gave a {type(predictions).__name__}, not a plain tensor")
    if not torch.allclose(inputs, tensor(trial.inputs), rtol=0.0, atol=0.0, equal_nan=True):
        raise ValueError("the inputs were changed")
    if not torch.equal(h0, tensor(trial.h0)):
        raise ValueError("h0 was changed")
    if not torch.equal(predictions, again) and torch.isfinite(predictions).all():
        raise ValueError("the same call gave another answer the second time")

    rollout, exact = expected(training, trial)
    outputs = [(predictions, rollout.predictions), (h_n, rollout.h_n)]
    if not training.differentiable:
        return Errors(_largest(outputs), None)

    inputs.requires_grad_()
    h0.requires_grad_()
    trained, trained_h_n = called(training, inputs, forced, h0)
    loss = (trained * tensor(trial.d_predictions)).sum()
    (loss + (trained_h_n * tensor(trial.d_h_n)).sum()).backward()  # type: ignore[no-untyped-call]

    outputs += [(trained, rollout.predictions), (trained_h_n, rollout.h_n)]
    gradients = [(weight.grad, exact.weights[name]) for name, weight in training.weights().items()]
    gradients += [(inputs.grad, exact.inputs), (h0.grad, exact.h0)]
    return Errors(_largest(outputs), _largest(gradients))


def copy_of(array: NDArray[np.float64], like: Tensor) -> Tensor:
    """``array`` with the dtype and on the device of ``like``.

    A copy always: sharing the trial's memory would hide that an argument was changed.
    """
    return torch.tensor(array, device=like.device, dtype=like.dtype)


def arguments(trial: Trial, like: Tensor, config: GeneratorConfig) -> tuple[Tensor, Tensor, Tensor]:
    """What a `Generator` is called with: inputs (T, B, I), laid out for it, forced and h0."""
    inputs = laid_out(copy_of(trial.inputs, like), config)
    return inputs, torch.tensor(trial.forced), copy_of(trial.h0, like)


def expected(model: Generator, trial: Trial) -> tuple[reference.Rollout, reference.Gradients]:
    """What the reference gets with the model's weights."""
    config, weights = model.config, weight_arrays(model)
    rollout = reference.forward(config, weights, trial.inputs, trial.forced, trial.h0)
    gradients = reference.backward(
        config, weights, trial.forced, rollout, trial.d_predictions, trial.d_h_n
    )
    return rollout, gradients


def closed_loop_error(
    model: Generator,
    inputs: NDArray[np.float64],
    forced: NDArray[np.bool_],
    predictions: NDArray[np.float64],
) -> float:
    """How far each prediction is from the reference's for the same inputs, fed back ones included.

    The reference reads what the implementation read: true values where forced, the implementation's
    own predictions where not. So rounding does not add up through the feedback, and a long free run
    is judged step by step.

    Args:
        model: holds the weights; its state starts from zero.
        inputs: (T, B, I), rounded to the model's dtype.
        forced: (T,).
        predictions: (T, B, I).
    """
    config = model.config
    if predictions.shape != inputs.shape:
        return float("inf")
    read = inputs.copy()
    free = np.flatnonzero(~forced)
    read[free] = predictions[free - 1]
    h0 = np.zeros(config.state_shape(inputs.shape[1]))
    exact = reference.forward(config, weight_arrays(model), read, [True] * len(forced), h0)
    return tensor_error(predictions, exact.predictions)


def free_run_error(
    model: Generator,
    inputs: NDArray[np.float64],
    forced: NDArray[np.bool_],
    predictions: NDArray[np.float64],
) -> float:
    """How far the predictions are from the reference's, which feeds back its own.

    The arguments are `closed_loop_error`'s. Feedback can hold a state that would not stay by
    itself: with a matrix whose spectral radius is above 1, as training may end, two states that
    read the same part, and that one cannot judge. Where feedback holds nothing, this one cannot.
    """
    config = model.config
    if predictions.shape != inputs.shape:
        return float("inf")
    h0 = np.zeros(config.state_shape(inputs.shape[1]))
    exact = reference.forward(config, weight_arrays(model), inputs, forced.tolist(), h0)
    return tensor_error(predictions, exact.predictions)


def tensor_error(found: NDArray[np.float64], exact: NDArray[np.float64]) -> float:
    """Largest difference over largest magnitude, or over 1; infinite where the shapes differ."""
    if found.shape != exact.shape:
        return float("inf")
    scale = max(1.0, float(np.abs(exact).max()))
    return float(np.abs(found - exact).max()) / scale


def error_of(found: Tensor | None, exact: NDArray[np.float64]) -> float:
    """`tensor_error`; a gradient that never arrived is a missing derivative, unless it is zero."""
    return tensor_error(np.zeros_like(exact) if found is None else array(found), exact)


def array(tensor: Tensor) -> NDArray[np.float64]:
    """A tensor as a float64 array on the CPU."""
    values: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return values


def weight_arrays(model: Generator) -> dict[str, NDArray[np.float64]]:
    """The weights as the reference takes them."""
    return {name: array(weight) for name, weight in model.weights().items()}


def some_sequences(batch_size: int) -> NDArray[np.int64]:
    """A few sequences of a batch, which nobody can foresee: they do not meet, so a few tell all."""
    return np.random.default_rng().permutation(batch_size)[:CHECKED_SEQUENCES]


def one_line(error: BaseException) -> str:
    """An exception's type and the line of its message that tells what was wrong."""
    message = telling_line(str(error))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _largest(pairs: Sequence[tuple[Tensor | None, NDArray[np.float64]]]) -> float:
    return float(np.max([error_of(found, exact) for found, exact in pairs]))


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _reason(worst: Errors, tolerance: float) -> str:
    kind, error = "output", worst.output
    if worst.gradient is not None and worst.output <= tolerance:
        kind, error = "gradient", worst.gradient
    size = f"{error:.1e}" if np.isfinite(error) else "not finite"
    return f"parity: {kind} error {size}, above {tolerance:.0e}"
