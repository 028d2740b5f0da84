"""The contract: an Elman RNN with a linear read-out whose prediction is the next step's input.

For t = 0 .. T-1 and layers l = 1 .. L, where layer l > 1 reads layer l-1's state of the same step::

    x_t = inputs[t]  if forced[t]  else  y_{t-1}
    a_t = b_ih + b_hh + W_hh h_{t-1} + W_ih x_t
    h_t = tanh(a_t)                     (or relu)
    y_t = V h_t + c

A bidirectional model has a second such recurrence in every layer, from the last step to the first;
the layer above, or V, reads both states. It runs forced steps alone.

This is the recurrence of ``torch.nn.RNN`` with the feedback and read-out of a teacher-forced
generator (Williams and Zipser, 1989). An implementation subclasses `Generator` and writes two
methods, `rollout` and `weights`, and a third, `both_ways`, to be bidirectional; everything that
must not differ between implementations is done here once.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from impls import arguments, sequences
from impls.config import READS_THE_FUTURE, GeneratorConfig

__all__ = [
    "Generator",
    "GeneratorConfig",
    "OwnWeights",
    "initial_weights",
    "wants_gradients",
]

SUPPORTED_DTYPES = (torch.float32, torch.float64)


class Generator(nn.Module, ABC):
    """One way to compute the generator; all implementations compute the same function.

    An implementation never synchronises, times, prints, mutates its arguments, sets a global flag,
    keeps state between calls, or falls back silently to another.

    Attributes:
        differentiable: whether gradients flow through `rollout`. Where they do not, `forward`
            refuses to be called for them, and a run neither trains the implementation nor times
            ``train_step``.
        closed_loop: whether `rollout` runs free steps. Where it does not, `forward` refuses every
            step that is not forced, and a run neither trains nor evaluates the implementation and
            times ``sequence`` alone.
        bidirectional: whether it has `both_ways`, for models with ``config.bidirectional``.
        precision: what the products are computed in, where that is less than the weights' own
            dtype: ``tf32x3``, ``tf32`` or ``bfloat16``. The parity gate judges by it, and the
            tables tell it.
    """

    differentiable: ClassVar[bool] = True
    closed_loop: ClassVar[bool] = True
    bidirectional: ClassVar[bool] = False
    precision: ClassVar[str | None] = None

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        """Run all T steps, on arguments that `forward` has checked.

        Args:
            inputs: (T, B, I); row t is read only where ``forced[t]``.
            forced: T Python bools, the first of them True.
            h0: (L, B, H).

        Returns:
            Predictions (T, B, I) and the states after the last step, h_n (L, B, H).
        """

    def both_ways(self, given: PackedSequence, h0: Tensor) -> tuple[Tensor, Tensor]:
        """Run all steps of a bidirectional model; only where ``bidirectional`` says so.

        Args:
            given: the inputs, of N rows, the longest sequence first.
            h0: (2 L, B, H), in the order of the sequences there.

        Returns:
            Predictions of all rows (N, I), and h_n (2 L, B, H), each sequence's at its own end.
        """
        raise NotImplementedError(f"{type(self).__name__} has no bidirectional layers")

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The live parameters under ``nn.RNN``'s names, so that ``.grad`` is found by name too.

        The names and shapes are those of ``config.weight_shapes()``.
        """

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        """Why this implementation cannot run such a case, or None when it can."""
        if dtype not in SUPPORTED_DTYPES:
            return f"needs float32 or float64, not {str(dtype).removeprefix('torch.')}"
        if device.type not in ("cpu", "cuda"):
            return f"runs on cpu or cuda, not {device.type}"
        if config.bidirectional and not cls.bidirectional:
            return "runs forwards alone, and has no bidirectional layers"
        return None

    def forward(
        self, inputs: Tensor, forced: Tensor, h0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict every step.

        Args:
            inputs: (T, B, I), or (B, T, I) where ``config.batch_first``; of the weights' dtype and
                device. Steps where ``forced`` is False are never read.
            forced: (T,) bool, on the CPU whatever the device: reading it from a GPU would stop the
                GPU at every step. ``forced[0]`` must be True, for nothing precedes it.
            h0: (L D, B, H), or None for zeros.

        Returns:
            Predictions, laid out as the inputs are, and h_n (L D, B, H).

        Raises:
            ValueError: a rank, size, dtype or device other than the above, or a free step of a
                bidirectional model.
            RuntimeError: gradients are asked of an implementation that computes none, or a free
                step of one that runs none.
        """
        rows = self._rows(inputs)
        steps = arguments.steps(forced, len(rows))
        h0 = self._state(h0, rows, rows.shape[1])
        self._check_closed_loop(steps)
        if self.config.bidirectional:
            outcome = sequences.of_one_length(self.both_ways, rows, h0)
        else:
            outcome = self.rollout(rows, steps, h0)
        if not self.config.batch_first:
            return outcome
        return self._turned(outcome[0]), outcome[1]

    def sequence(
        self,
        inputs: Tensor | PackedSequence,
        lengths: Tensor | None = None,
        h0: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Predict every step of sequences that may differ in length; all steps are forced.

        Args:
            inputs: as `forward` has them, or packed, sorted by length or not.
            lengths: (B,) int64 on the CPU, in any order; what lies behind an end is never read.
                None: all T steps, or those of what is packed.
            h0: (L D, B, H), or None for zeros.

        Returns:
            Predictions, laid out as the inputs are, zeros behind the ends; packed where the inputs
            are. And h_n (L D, B, H), each sequence's state at its own end. Both in the order of
            the batch.

        Raises:
            ValueError: a rank, size, dtype or device other than the above.
            RuntimeError: gradients are asked of an implementation that computes none.
        """
        if isinstance(inputs, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths must be None: packed inputs have their own")
            arguments.check_packed(inputs.data, self.config, self._weight())
            return self._over_packed(inputs, h0)
        rows = self._rows(inputs)
        found, h_n = self._over_packed(sequences.packed(rows, lengths), h0)
        predictions, _ = pad_packed_sequence(found, total_length=len(rows))
        return self._turned(predictions), h_n

    def _over_packed(
        self, given: PackedSequence, h0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        h0 = self._state(h0, given.data, int(given.batch_sizes[0]))
        h0 = sequences.sorted_states(h0, given.sorted_indices)
        if self.config.bidirectional:
            rows, h_n = self.both_ways(PackedSequence(*given[:2]), h0)
        else:
            rows, h_n = sequences.in_spans(self.rollout, given, h0)
        found = PackedSequence(rows, *given[1:])
        return found, sequences.sorted_states(h_n, given.unsorted_indices)

    def _rows(self, inputs: Tensor) -> Tensor:
        """(T, B, I) of inputs that are checked."""
        arguments.check_inputs(inputs, self.config, self._weight())
        return self._turned(inputs)

    def _turned(self, points: Tensor) -> Tensor:
        """From the layout of a call to time-major, or back."""
        return points.transpose(0, 1) if self.config.batch_first else points

    def _state(self, h0: Tensor | None, like: Tensor, batch_size: int) -> Tensor:
        """The state to start from, checked; gradients asked for in vain are told of."""
        shape = self.config.state_shape(batch_size)
        if h0 is None:
            h0 = like.new_zeros(shape)
        else:
            arguments.check_h0(h0, shape, like)
        self._check_gradients(like, h0)
        return h0

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy ``weights`` in, converting dtype and device.

        Raises:
            ValueError: a name that is missing or unknown, or a shape that differs; nothing is
                copied then.
        """
        shapes = self.config.weight_shapes()
        if missing := [name for name in shapes if name not in weights]:
            raise ValueError(f"weights: {', '.join(missing)} missing")
        if extra := [name for name in weights if name not in shapes]:
            raise ValueError(f"weights: {', '.join(extra)} unknown; expected {', '.join(shapes)}")
        for name, shape in shapes.items():
            if tuple(weights[name].shape) != shape:
                found = tuple(weights[name].shape)
                raise ValueError(f"weights: {name} must have shape {shape}, got {found}")
        with torch.no_grad():
            for name, parameter in self.weights().items():
                parameter.copy_(weights[name])

    def _weight(self) -> Tensor:
        return next(iter(self.weights().values()))

    def _check_gradients(self, inputs: Tensor, h0: Tensor) -> None:
        if not self.differentiable and wants_gradients(inputs, h0, *self.weights().values()):
            raise RuntimeError(
                f"{type(self).__name__} computes no gradients: call it under "
                "torch.inference_mode(), or train another implementation and load its weights"
            )

    def _check_closed_loop(self, steps: list[bool]) -> None:
        if all(steps):
            return
        if self.config.bidirectional:
            raise ValueError(
                f"bidirectional=True runs forced steps alone, but step {steps.index(False)} is "
                f"free: {READS_THE_FUTURE}; force every step"
            )
        if not self.closed_loop:
            raise RuntimeError(
                f"{type(self).__name__} runs no free steps, but step {steps.index(False)} is not "
                "forced: force every step, or take another implementation and load its weights"
            )


class OwnWeights(Generator):
    """A `Generator` whose weights are plain parameters under ``nn.RNN``'s names."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        # A module's parameters have no dots in their names, which the read-out's have.
        self._names = {name: name.replace(".", "_") for name in config.weight_shapes()}
        for name, weight in initial_weights(config, seed=0).items():
            parameter = nn.Parameter(weight.to(torch.get_default_dtype()))
            self.register_parameter(self._names[name], parameter)

    def weights(self) -> dict[str, Tensor]:
        # Every call asks, some twice: looked up as attributes they would take ten times as long.
        found = self._parameters
        return {name: cast("Tensor", found[own]) for name, own in self._names.items()}

    def dropout_masks(self, steps: int, like: Tensor) -> Tensor:
        """(T, L - 1, B, H), drawn in the order in which nn.RNN draws; empty without dropout."""
        config = self.config
        if not (self.training and config.dropout and config.num_layers > 1):
            return like.new_empty(0, 0, 0, 0)
        ones = like.new_ones(like.shape[1], config.hidden_size)
        drawn = [F.dropout(ones, config.dropout) for _ in range(steps * (config.num_layers - 1))]
        return torch.stack(drawn).view(steps, config.num_layers - 1, *ones.shape)


def wants_gradients(*tensors: Tensor) -> bool:
    """Whether autograd records what is done with any of ``tensors``."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def initial_weights(config: GeneratorConfig, seed: int) -> dict[str, Tensor]:
    """Draw every weight from U(-1/sqrt(H), 1/sqrt(H)), as ``nn.RNN`` and ``nn.Linear`` do.

    Drawn in float64 on the CPU from a generator of its own, in the order of
    ``config.weight_shapes()``: a seed names the same weights for every implementation, on every
    device, whatever else has drawn random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    bound = config.hidden_size**-0.5
    return {
        name: torch.empty(shape, dtype=torch.float64).uniform_(-bound, bound, generator=generator)
        for name, shape in config.weight_shapes().items()
    }
