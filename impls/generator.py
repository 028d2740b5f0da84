"""The contract: an Elman RNN with a linear read-out whose prediction is the next step's input.

For t = 0 .. T-1 and layers l = 1 .. L, where layer l > 1 reads layer l-1's state of the same step::

    x_t = inputs[t]  if forced[t]  else  y_{t-1}
    a_t = b_ih + b_hh + W_hh h_{t-1} + W_ih x_t
    h_t = tanh(a_t)                     (or relu)
    y_t = V h_t + c

This is the recurrence of ``torch.nn.RNN`` with the feedback and read-out of a teacher-forced
generator (Williams and Zipser, 1989). An implementation subclasses `Generator` and writes two
methods, `rollout` and `weights`; everything that must not differ between implementations, the
checks of the arguments above all, is done here once.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impls.config import GeneratorConfig

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
        precision: what the products are computed in, where that is less than the weights' own
            dtype: ``tf32x3``, ``tf32`` or ``bfloat16``. The parity gate judges by it, and the
            tables tell it.
    """

    differentiable: ClassVar[bool] = True
    closed_loop: ClassVar[bool] = True
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

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The live parameters under ``nn.RNN``'s names, so that ``.grad`` is found by name too.

        The names and shapes are those of ``config.weight_shapes()``.
        """

    @classmethod
    def unsupported(
        cls,
        config: GeneratorConfig,  # noqa: ARG003 - subclasses look at it
        device: torch.device,
        dtype: torch.dtype,
    ) -> str | None:
        """Why this implementation cannot run such a case, or None when it can."""
        if dtype not in SUPPORTED_DTYPES:
            return f"needs float32 or float64, not {str(dtype).removeprefix('torch.')}"
        if device.type not in ("cpu", "cuda"):
            return f"runs on cpu or cuda, not {device.type}"
        return None

    def forward(
        self, inputs: Tensor, forced: Tensor, h0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict every step.

        Args:
            inputs: (T, B, I), of the weights' dtype and device. Rows where ``forced`` is False are
                never read.
            forced: (T,) bool, on the CPU whatever the device: reading it from a GPU would stop the
                GPU at every step. ``forced[0]`` must be True, for nothing precedes it.
            h0: (L, B, H), or None for zeros.

        Returns:
            Predictions (T, B, I) and h_n (L, B, H).

        Raises:
            ValueError: a rank, size, dtype or device other than the above.
            RuntimeError: gradients are asked of an implementation that computes none, or a free
                step of one that runs none.
        """
        self._check_inputs(inputs)
        steps = self._check_forced(forced, inputs.shape[0])
        shape = (self.config.num_layers, inputs.shape[1], self.config.hidden_size)
        if h0 is None:
            h0 = inputs.new_zeros(shape)
        else:
            self._check_h0(h0, shape, inputs)
        self._check_gradients(inputs, h0)
        self._check_closed_loop(steps)
        return self.rollout(inputs, steps, h0)

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

    def _check_inputs(self, inputs: Tensor) -> None:
        size = self.config.input_size
        if inputs.ndim != 3:
            raise ValueError(
                f"inputs must have 3 dimensions (T, B, {size}), got {inputs.ndim}: "
                f"{tuple(inputs.shape)}"
            )
        if inputs.shape[2] != size or 0 in inputs.shape:
            raise ValueError(
                f"inputs must have shape (T, B, {size}) with T and B at least 1, "
                f"got {tuple(inputs.shape)}"
            )
        weight = next(iter(self.weights().values()))
        if inputs.dtype != weight.dtype or inputs.device != weight.device:
            raise ValueError(
                f"inputs are {inputs.dtype} on {inputs.device}, but the weights are "
                f"{weight.dtype} on {weight.device}"
            )

    @staticmethod
    def _check_forced(forced: Tensor, length: int) -> list[bool]:
        if forced.dtype != torch.bool or forced.shape != (length,):
            raise ValueError(
                f"forced must be a bool tensor of shape ({length},), "
                f"got {forced.dtype} of shape {tuple(forced.shape)}"
            )
        if forced.device.type != "cpu":
            raise ValueError(f"forced must be on the CPU, got {forced.device}")
        steps: list[bool] = forced.tolist()
        if not steps[0]:
            raise ValueError("forced[0] must be True: no prediction precedes the first step")
        return steps

    @staticmethod
    def _check_h0(h0: Tensor, shape: tuple[int, int, int], inputs: Tensor) -> None:
        if tuple(h0.shape) != shape:
            raise ValueError(f"h0 must have shape (L, B, H) = {shape}, got {tuple(h0.shape)}")
        if h0.dtype != inputs.dtype or h0.device != inputs.device:
            raise ValueError(
                f"h0 is {h0.dtype} on {h0.device}, but the inputs are "
                f"{inputs.dtype} on {inputs.device}"
            )

    def _check_gradients(self, inputs: Tensor, h0: Tensor) -> None:
        if not self.differentiable and wants_gradients(inputs, h0, *self.weights().values()):
            raise RuntimeError(
                f"{type(self).__name__} computes no gradients: call it under "
                "torch.inference_mode(), or train another implementation and load its weights"
            )

    def _check_closed_loop(self, steps: list[bool]) -> None:
        if not self.closed_loop and not all(steps):
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
