r"""All steps in one compiled call, forward and backward through time.

    h_t = tanh(b + [W U] [h_{t-1}; x_t])                           y_t = V h_t + c
    dh_t = W^T da_{t+1} + V^T dy_t                                 da_t = dh_t (1 - h_t^2)
    dy_t = dL/dy_t + U^T da_{t+1} where y_t was fed back

What sets it apart: a step of a small network is a fraction of a microsecond of arithmetic, which
anything that is called once a step drowns in its own entry cost. Here Python is entered once a
call: `impls.kernels.recurrence` runs every step with states and sums where they are needed, and
sums the gradients of the weights on the way back, over some steps at a time.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from impls.generator import GeneratorConfig, OwnWeights, wants_gradients
from impls.kernels import packed as packing
from impls.kernels import pool, recurrence, spare

# Sequences that a thread carries through time together: their states fit into the nearest cache.
TILE_ROWS = 48
# Multiplications that are worth waking another thread for.
WORTH_A_THREAD = 1_000_000


class FusedCPU(OwnWeights):
    """One compiled kernel for the whole sequence."""

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        if device.type != "cpu":
            return f"is compiled for the CPU, not for {device.type}"
        return None

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        weights = tuple(self.weights().values())
        keep = wants_gradients(inputs, h0, *weights)
        masks = self.dropout_masks(len(forced), inputs)
        outcome: tuple[Tensor, Tensor] = _Rollout.apply(  # type: ignore[no-untyped-call]
            self.config, np.frombuffer(bytes(forced), np.bool_), masks, keep, inputs, h0, *weights
        )
        return outcome


class _Rollout(torch.autograd.Function):
    """The kernel, as autograd sees it."""

    @staticmethod
    def forward(
        ctx: Any,
        config: GeneratorConfig,
        forced: NDArray[np.bool_],
        masks: Tensor,
        keep: bool,
        inputs: Tensor,
        h0: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        T, B, I = inputs.shape  # noqa: E741
        L, H = config.num_layers, config.hidden_size
        # NumPy's, here and below: torch would share it among threads that then spin for a while
        # on the cores that the kernel's own threads want.
        flat = np.concatenate([weight.numpy(force=True) for weight in weights], axis=None)
        inputs = inputs.contiguous()
        *packed, bias, v, c = packing.for_forward(flat, L, I, H, config.bias)
        predictions, h_n = inputs.new_empty(T, B, I), inputs.new_empty(L, B, H)
        states = spare.empty((L, T + 1, B, v.shape[1]) if keep else (0, 0, 0, 0), inputs)
        _in_tiles(
            recurrence.forward,
            (
                inputs.numpy(), forced, h0.contiguous().numpy(), masks.numpy(),
                *packed, bias, v, c, config.nonlinearity == "relu",
            ),
            (predictions.numpy(), h_n.numpy(), states.numpy()),
            _shares(B, T * B * L * H * H),
        )  # fmt: skip
        if keep:
            ctx.config, ctx.forced = config, forced
            kept = torch.from_numpy(flat), masks, inputs, predictions, states
            ctx.save_for_backward(*kept)
        return predictions, h_n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_predictions: Tensor, d_h_n: Tensor) -> tuple[Tensor | None, ...]:
        flat, masks, inputs, predictions, states = ctx.saved_tensors
        config: GeneratorConfig = ctx.config
        T, B, I = inputs.shape  # noqa: E741
        L, H = config.num_layers, config.hidden_size
        shares = _shares(B, T * B * L * H * H)
        d_inputs, d_flat = torch.empty_like(inputs), flat.new_empty(len(shares), len(flat))
        d_h0 = flat.new_empty((L, B, H) if ctx.needs_input_grad[5] else (0, 0, 0))
        _in_tiles(
            recurrence.backward,
            (
                d_predictions.contiguous().numpy(), d_h_n.contiguous().numpy(),
                inputs.numpy(), predictions.numpy(), ctx.forced, masks.numpy(), states.numpy(),
                *packing.for_backward(flat.numpy(), L, I, H, config.bias),
                config.bias, config.nonlinearity == "relu",
            ),
            (d_inputs.numpy(), d_h0.numpy()),
            shares,
            d_flat.numpy(),
        )  # fmt: skip
        sizes, shapes = _layout(config)
        summed = d_flat.view(-1) if len(shares) == 1 else torch.from_numpy(d_flat.numpy().sum(0))
        return (
            *(None, None, None, None, d_inputs, d_h0 if len(d_h0) else None),
            *(d.view(shape) for d, shape in zip(summed.split(sizes), shapes, strict=True)),
        )


def _shares(batch: int, work: int) -> list[tuple[int, int]]:
    """The first sequence and the one beyond the last of each thread."""
    threads = max(1, min(torch.get_num_threads(), batch, work // WORTH_A_THREAD))
    return list(pairwise(batch * n // threads for n in range(threads + 1)))


def _in_tiles(
    kernel: Callable[..., None],
    given: Sequence[Any],
    filled: Sequence[Any],
    shares: Sequence[tuple[int, int]],
    own: Sequence[Any] | None = None,
) -> None:
    """Let each thread take its share of the sequences from one end of time to the other.

    Args:
        kernel: called once a thread.
        given: what it reads.
        filled: what it writes, each thread in the places of its own sequences.
        shares: a first sequence and one beyond the last for each thread.
        own: for each thread one more thing to write, for it alone.
    """

    def run(number: int) -> None:
        first, last = shares[number]
        tiles = -(-(last - first) // TILE_ROWS)
        alone = () if own is None else (own[number],)
        kernel(*given, first, last, -(-(last - first) // tiles), *filled, *alone)

    pool.side_by_side(run, len(shares))


@lru_cache
def _layout(config: GeneratorConfig) -> tuple[list[int], list[tuple[int, ...]]]:
    """Size and shape of every weight."""
    shapes = list(config.weight_shapes().values())
    return [math.prod(shape) for shape in shapes], shapes
