"""What is timed: a case -> callables without arguments. The CLI and pytest time the same ones.

- ``generate``: the closed loop of the evaluation, 100 steps forced and 899 free, no gradient;
- ``train_step``: 99 steps of the lecture's coin flips: zero the gradients, forward, loss, backward
  (no optimiser);
- ``sequence``: 999 steps, all forced, no gradient.

Or as many steps as a run says, of each: then a tenth of ``generate`` is forced, as 100 of 999 are,
and the loss leaves out the first 20 steps or, where these are more, the first quarter.

Setting up is not timed: data, weights and forcing exist before the first call. Every call of a
block has data of its own, and `Workload.refresh` changes all of them, in place, by factors that
nobody can foresee: an answer from an earlier call, or from a guess, is a wrong answer.
"""

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from bench import limits
from bench.config import EvaluationConfig
from bench.errors import WrongWorkError
from bench.layout import turned
from bench.parity import (
    CHECKED_SEQUENCES,
    array,
    closed_loop_error,
    some_sequences,
    tensor_error,
    weight_arrays,
)
from impls import GeneratorConfig, reference
from impls.generator import Generator, initial_weights
from impls.initial import started
from tasks import Sequences, Task
from tasks.forcing import Forced, coin_flips, warm_up

Array = NDArray[np.float64]

LONG_POINTS, SHORT_POINTS = 1000, 100
LOSS_WARM_UP = 20
MOST_BYTES = 1 << 26  # of data that calls have for themselves, and of copies that wait
MOST_OPERATIONS = 10**11  # of the reference, to check what one row computed: some seconds
FACTORS = (0.9, 1.1)
MOST_DRAWS = 50


@dataclass(frozen=True, slots=True)
class Frozen:
    """A copy of what the last call read and computed, as it was when the clock stopped.

    ``inputs`` and ``targets`` are (T, B, I), of the sequences that are checked.
    """

    inputs: Array
    targets: Array
    outcome: dict[str, Array]


class Pool:
    """What the workloads of one process share, for there may be hundreds, which take turns.

    The points that were drawn, which no implementation ever sees; and, one for each ``owner``, the
    memory that calls read: whoever is timed has it filled anew right before, and checked right
    after. Two implementations never share any.
    """

    def __init__(self) -> None:
        self._points: dict[tuple[Any, ...], torch.Tensor] = {}
        self._memory: dict[tuple[Any, ...], torch.Tensor] = {}

    def points(self, sequences: Sequences, like: torch.Tensor) -> torch.Tensor:
        """(2, T, B, I), inputs and targets; the same for whoever has the same."""
        arrays = np.stack([sequences.inputs, sequences.targets])
        key = (arrays.shape, hash(arrays.tobytes()), like.device, like.dtype)
        if key not in self._points:
            self._points[key] = torch.tensor(arrays, device=like.device, dtype=like.dtype)
        return self._points[key]

    def memory(self, owner: str, sets: int, like: torch.Tensor) -> torch.Tensor:
        """Room for ``sets`` times as much as ``like``; what was in it is lost."""
        key, needed = (owner, like.device, like.dtype), sets * like.numel()
        if key not in self._memory or self._memory[key].numel() < needed:
            self._memory[key] = torch.empty(needed, device=like.device, dtype=like.dtype)
        return self._memory[key][:needed].view(sets, *like.shape)


class Workload(ABC):
    """One thing to time.

    Attributes:
        name: the workload's.
        batch_size: B.
        steps: T, time steps of one call.
        forced: (T,), which of them are forced.
        most_frozen: copies of what was computed that are worth their memory and their check.
    """

    def __init__(
        self,
        name: str,
        model: Generator,
        sequences: Sequences,
        forced: Forced,
        batch_size: int,
        pool: Pool,
        owner: str,
    ) -> None:
        self.name, self.model, self.batch_size = name, model, batch_size
        self.steps, self.forced = len(forced), forced
        self._flags = torch.tensor(forced)
        self._weights = {name: weight.detach().clone() for name, weight in model.weights().items()}
        self._pool, self._owner = pool, owner
        points = pool.points(sequences, next(model.parameters()))
        self._base = turned(points, model.config).contiguous()  # as the model reads them
        operations = limits.operations(model.config, name, self._checked, forced.tolist())
        copied = 8 * 2 * self._checked * self.steps * model.config.input_size
        self.most_frozen = max(1, min(MOST_BYTES // copied, MOST_OPERATIONS // operations))
        self.provide(calls=2)

    @property
    def _checked(self) -> int:
        """Sequences whose outcome is checked."""
        return self.batch_size

    @abstractmethod
    def call(self) -> Any:
        """One call on the next data: what is timed."""

    @abstractmethod
    def freeze(self, outcome: Any) -> Frozen:
        """A copy of what is to be checked.

        Raises:
            WrongWorkError: the inputs were changed, or the outcome is no plain tensor.
        """

    @abstractmethod
    def error(self, *frozen: Frozen) -> float | None:
        """How far from the reference's frozen outcomes are at most; None where it cannot be told.

        They are random when layers drop out in training.
        """

    def provide(self, calls: int) -> None:
        """Make data for ``calls`` calls in a row, or as many as fit into 64 MiB."""
        each = self._base.numel() * self._base.element_size()
        self._sets = max(1, min(calls, MOST_BYTES // each))
        self._turn = 0
        self.refresh(np.random.default_rng())

    def refresh(self, rng: np.random.Generator) -> None:
        """Change the data of every call, in place."""
        self._factors = self._tensor(rng.uniform(*FACTORS, (self._sets, 1, 1, 1, 1)))
        self._data = self._pool.memory(self._owner, self._sets, self._base)
        torch.mul(self._base, self._factors, out=self._data)

    def _next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets that no other call of the block has, laid out as the model's."""
        self._turn = (self._turn + 1) % self._sets
        inputs, targets = self._data[self._turn].unbind()
        return inputs, targets

    def _last(self) -> torch.Tensor:
        """(2, T, B, I): inputs and targets of the last call, as they must be.

        Raises:
            WrongWorkError: they, or something else that was not the implementation's, has changed.
        """
        if not torch.equal(self._data, self._base * self._factors):
            raise WrongWorkError("the inputs were changed")
        if not np.array_equal(self._flags.numpy(), self.forced):
            raise WrongWorkError("forced was changed")
        weights = self.model.weights()
        if any(not torch.equal(weights[name], kept) for name, kept in self._weights.items()):
            raise WrongWorkError("the weights were changed")
        return turned(self._data[self._turn], self.model.config)

    def _tensor(self, points: Array) -> torch.Tensor:
        like = next(self.model.parameters())
        return torch.tensor(points, device=like.device, dtype=like.dtype)


class Inference(Workload):
    """``generate`` and ``sequence``: predictions without gradient."""

    @property
    def _checked(self) -> int:
        return min(self.batch_size, CHECKED_SEQUENCES)

    def call(self) -> torch.Tensor:
        inputs, _ = self._next()
        self.model.eval()
        with torch.inference_mode():
            predictions: torch.Tensor = self.model(inputs, self._flags)[0]
        return predictions

    def freeze(self, outcome: torch.Tensor) -> Frozen:
        # Which sequences are looked at is decided after they were computed.
        columns = some_sequences(self.batch_size)
        predictions = _plain(turned(outcome, self.model.config))[:, columns]
        inputs, targets = array(self._last()[:, :, columns]).copy()
        return Frozen(inputs, targets, {"predictions": predictions})

    def error(self, *frozen: Frozen) -> float:
        # Side by side, as one batch: the reference costs little more for it.
        inputs = np.concatenate([one.inputs for one in frozen], axis=1)
        predictions = [one.outcome["predictions"] for one in frozen]
        if {found.shape for found in predictions} != {one.inputs.shape for one in frozen}:
            return float("inf")
        return closed_loop_error(
            self.model, inputs, self.forced, np.concatenate(predictions, axis=1)
        )


class TrainStep(Workload):
    """``train_step``: gradients of the loss after its warm-up, with respect to weights."""

    @property
    def loss_warm_up(self) -> int:
        """Steps at the start that the loss leaves out."""
        return min(LOSS_WARM_UP, self.steps // 4)

    def call(self) -> dict[str, torch.Tensor | None]:
        inputs, targets = self._next()
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        predictions, _ = self.model(inputs, self._flags)
        skip = self.loss_warm_up
        found, right = (turned(each, self.model.config) for each in (predictions, targets))
        loss = F.mse_loss(found[skip:], right[skip:])
        loss.backward()  # type: ignore[no-untyped-call]
        return {name: weight.grad for name, weight in self.model.weights().items()}

    def freeze(self, outcome: dict[str, torch.Tensor | None]) -> Frozen:
        gradients = {name: _plain(grad) for name, grad in outcome.items() if grad is not None}
        inputs, targets = array(self._last()).copy()
        return Frozen(inputs, targets, gradients)

    def error(self, *frozen: Frozen) -> float | None:
        if self.model.config.dropout and self.model.config.num_layers > 1:
            return None
        # NumPy's max: Python's own loses a NaN.
        return float(np.max([self._error(one) for one in frozen]))

    def _error(self, frozen: Frozen) -> float:
        exact = _reference_gradients(
            self.model, frozen.inputs, frozen.targets, self.forced, self.loss_warm_up
        )
        missing = exact.keys() - frozen.outcome.keys()
        errors = [tensor_error(found, exact[name]) for name, found in frozen.outcome.items()]
        return float("inf") if missing else float(np.max(errors))


def load_timed_weights(model: Generator, seed: int) -> None:
    """Weights whose closed loop keeps moving, so that every free step can be checked.

    From the initial weights the free run settles within a hundred steps, and whoever skipped the
    rest would be right. Orthogonal recurrences (permutations, with relu, which keeps what is not
    negative) neither shrink nor grow the state; small biases leave it where it can move. Some of
    these die out all the same, or grow, or are chaos: then others are drawn.
    """
    model.load_weights(_timed_weights(model.config, seed))


@functools.cache
def _timed_weights(config: GeneratorConfig, seed: int) -> dict[str, torch.Tensor]:
    for number in range(MOST_DRAWS):
        weights = _drawn(config, seed + number)
        if _keeps_moving(config, weights):
            break
    return weights


def _keeps_moving(config: GeneratorConfig, weights: dict[str, torch.Tensor]) -> bool:
    """Whether a free run moves to its end, stays small, and forgives a difference in rounding."""
    arrays = {name: array(weight) for name, weight in weights.items()}
    steps, sequences = np.arange(600), np.arange(8)
    waves = (0.6 + 0.1 * sequences) * np.cos(0.1 * steps[:, None] + sequences)
    inputs = np.repeat(waves[:, :, None], config.input_size, axis=2)
    h0 = np.zeros(config.state_shape(len(sequences)))
    forced = steps < (len(steps) if config.bidirectional else EvaluationConfig().warm_up)
    found = reference.forward(config, arrays, inputs, forced.tolist(), h0).predictions
    if not (found[-100:].std(axis=0).min() > 1e-3 and np.abs(found).max() < 10.0):
        return False
    read = inputs.copy()
    read[~forced] = found[np.flatnonzero(~forced) - 1]
    nudged = reference.forward(
        config, arrays, read * (1.0 + 1e-6), [True] * len(steps), h0
    ).predictions
    return bool(np.abs(nudged - found).max() < 2e-5)


def _drawn(config: GeneratorConfig, seed: int) -> dict[str, torch.Tensor]:
    relu = config.nonlinearity == "relu"
    weights = initial_weights(config, seed)
    weights = _with_cycles(weights, seed) if relu else started(weights, "orthogonal", seed)
    for name, weight in weights.items():
        if name.startswith("bias"):
            weight.mul_(0.05)
        elif relu and name != "weight_ih_l0" and not name.startswith("weight_hh"):
            weight.mul_(0.25)
    return weights


def build(
    name: str,
    model: Generator,
    task: Task,
    batch_size: int,
    seed: int,
    steps: int | None = None,
    *,
    pool: Pool | None = None,
    owner: str = "",
) -> Workload:
    """The workload ``name`` for a model that holds the weights to time.

    Args:
        name: ``generate``, ``train_step`` or ``sequence``.
        model: is put into training or evaluation mode by every call.
        task: draws the data.
        batch_size: B.
        seed: names the coin flips of ``train_step``; the data are drawn with the evaluation's seed.
        steps: T, or None for the workload's own.
        pool: shared with others; None for one of its own.
        owner: the implementation.
    """
    forced = forcing(name, seed, steps)
    rng = np.random.default_rng(EvaluationConfig().seed)
    sequences = task.draw(rng, batch_size, len(forced) + 1)
    kind = TrainStep if name == "train_step" else Inference
    return kind(name, model, sequences, forced, batch_size, pool or Pool(), owner)


def forcing(name: str, seed: int, steps: int | None = None) -> Forced:
    """Which steps of the workload ``name`` are forced, (T,); T is ``steps``, or its own."""
    if name == "train_step":
        rng = np.random.default_rng((seed, 4))
        return coin_flips(rng, steps or SHORT_POINTS - 1, 0.5)
    if name == "sequence":
        steps = steps or LONG_POINTS - 1
        return warm_up(steps, steps)
    if steps is None:
        return warm_up(LONG_POINTS - 1, EvaluationConfig().warm_up)
    return warm_up(steps, max(1, steps // 10))


def _plain(tensor: torch.Tensor) -> Array:
    """A copy as an array; a subclass could put its work off until it is looked at."""
    if type(tensor) is not torch.Tensor:
        raise WrongWorkError(f"gave a {type(tensor).__name__}, not a plain tensor")
    return array(tensor).copy()


def _with_cycles(weights: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """``weights`` with every recurrent matrix replaced by a permutation of one cycle."""
    generator = torch.Generator().manual_seed(seed)
    replaced = dict(weights)
    for name, weight in weights.items():
        if name.startswith("weight_hh"):
            order = torch.randperm(len(weight), generator=generator)
            replaced[name] = torch.zeros_like(weight)
            replaced[name][order, order.roll(1)] = 1.0
    return replaced


def _reference_gradients(
    model: Generator, inputs: Array, targets: Array, forced: Forced, skip: int
) -> dict[str, Array]:
    config = model.config
    weights = weight_arrays(model)
    h0 = np.zeros(config.state_shape(inputs.shape[1]))
    rollout = reference.forward(config, weights, inputs, forced.tolist(), h0)
    difference = rollout.predictions - targets
    difference[:skip] = 0.0
    d_predictions = 2.0 * difference / difference[skip:].size
    d_h_n = np.zeros_like(rollout.h_n)
    return reference.backward(
        config, weights, forced.tolist(), rollout, d_predictions, d_h_n
    ).weights
