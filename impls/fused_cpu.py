r"""All steps in one compiled call, forward and backward through time.

    h_t = tanh(b + [W U] [h_{t-1}; x_t])                           y_t = V h_t + c
    dh_t = W^T da_{t+1} + V^T dy_t                                 da_t = dh_t (1 - h_t^2)
    dy_t = dL/dy_t + U^T da_{t+1} where y_t was fed back

What sets it apart: a step of a small network is a fraction of a microsecond of arithmetic, which
anything that is called once a step drowns in its own entry cost. Here Python is entered once a
call: `impls.kernels.recurrence` runs every step with states and sums where they are needed, and the
gradients of the weights are one matrix product over all steps at the end.
"""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from impls.generator import GeneratorConfig, OwnWeights
from impls.kernels import recurrence

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
        keep = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (inputs, h0, *weights)
        )
        masks = self.dropout_masks(len(forced), inputs)
        outcome: tuple[Tensor, Tensor] = _Rollout.apply(  # type: ignore[no-untyped-call]
            self.config, np.array(forced), masks, keep, inputs, h0, *weights
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
        flat = torch.cat([weight.flatten() for weight in weights])
        predictions, h_n = inputs.new_empty(T, B, I), inputs.new_empty(L, B, H)
        read = inputs.new_empty((T, B, I) if keep else (0, 0, 0))
        states = _empty((L, T + 1, B, H) if keep else (0, 0, 0, 0), inputs)
        _in_tiles(
            recurrence.forward,
            (
                _array(inputs), forced, _array(h0), masks.numpy(),
                *recurrence.for_forward(flat.numpy(), L, I, H, config.bias),
                config.nonlinearity == "relu",
            ),
            (predictions.numpy(), h_n.numpy(), read.numpy(), states.numpy()),
            batch=B,
            work=T * B * L * H * H,
        )  # fmt: skip
        if keep:
            ctx.config, ctx.forced = config, forced
            ctx.save_for_backward(flat, masks, read, states)
        return predictions, h_n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_predictions: Tensor, d_h_n: Tensor) -> tuple[Tensor | None, ...]:
        flat, masks, read, states = ctx.saved_tensors
        config: GeneratorConfig = ctx.config
        T, B, I = read.shape  # noqa: E741
        L, H = config.num_layers, config.hidden_size
        d_a = _empty((L, T, B, H), states)
        d_y, d_inputs = torch.empty_like(read), torch.empty_like(read)
        _in_tiles(
            recurrence.backward,
            (
                _array(d_predictions), _array(d_h_n), ctx.forced, masks.numpy(), states.numpy(),
                *recurrence.for_backward(flat.numpy(), L, I, H, config.bias),
                config.nonlinearity == "relu",
            ),
            (d_a.numpy(), d_y.numpy(), d_inputs.numpy()),
            batch=B,
            work=T * B * L * H * H,
        )  # fmt: skip
        d_weights = _of_weights(config, read, states, masks, d_a, d_y)
        d_h0 = _of_first_states(config, flat, d_a) if ctx.needs_input_grad[5] else None
        return None, None, None, None, d_inputs, d_h0, *d_weights


def _of_first_states(config: GeneratorConfig, flat: Tensor, d_a: Tensor) -> Tensor:
    shapes = config.weight_shapes()
    weights = torch.split(flat, [math.prod(shape) for shape in shapes.values()])
    named = {name: w.view(shapes[name]) for name, w in zip(shapes, weights, strict=True)}
    return torch.stack([d_a[k, 0] @ named[f"weight_hh_l{k}"] for k in range(config.num_layers)])


def _of_weights(
    config: GeneratorConfig,
    read: Tensor,
    states: Tensor,
    masks: Tensor,
    d_a: Tensor,
    d_y: Tensor,
) -> list[Tensor]:
    """One product over all steps and sequences for each matrix, in the weights' order."""
    found, below = [], read.flatten(0, 1)
    for k in range(config.num_layers):
        d, before, after = (x.flatten(0, 1) for x in (d_a[k], states[k, :-1], states[k, 1:]))
        through = below * masks[:, k - 1].flatten(0, 1) if k and len(masks) else below
        found += [d.t() @ through, d.t() @ before]
        if config.bias:
            found += [total := d.sum(0), total.clone()]
        below = after
    d = d_y.flatten(0, 1)
    return [*found, d.t() @ below, d.sum(0)]


def _in_tiles(
    kernel: Callable[..., None],
    given: Sequence[Any],
    filled: Sequence[Any],
    *,
    batch: int,
    work: int,
) -> None:
    """Let each thread run its share of the sequences from the first step to the last."""
    threads = max(1, min(torch.get_num_threads(), batch, work // WORTH_A_THREAD))
    ends = [batch * n // threads for n in range(threads + 1)]
    shares = list(pairwise(ends))

    def run(first: int, last: int) -> None:
        tiles = -(-(last - first) // TILE_ROWS)
        kernel(*given, first, last, -(-(last - first) // tiles), *filled)

    others = [_pool(threads - 1).submit(run, *share) for share in shares[1:]]
    run(*shares[0])
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work; numba's own pool ends the process when two callers meet in it."""
    return ThreadPoolExecutor(threads, thread_name_prefix="fused-cpu")


# A child of fork has none of its parent's threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """From NumPy, which asks the system for large pages: 50 MB are there in 7 ms, not in 26."""
    return torch.from_numpy(np.empty(shape, like.detach().numpy().dtype))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()
