r"""JAX: all steps as one ``lax.scan``, compiled by XLA, and a second scan back through time.

    [r_t; o_t] = [W; V] h_t                                         y_t = o_t + c
    h_{t+1} = tanh(b + r_t + U x_{t+1})
    dh_t = W^T da_{t+1} + V^T dy_t                                  da_t = dh_t (1 - h_t^2)
    dy_t = dL/dy_t + U^T da_{t+1} where y_t was fed back

What sets it apart: the equations in NumPy's own language, from which XLA makes one loop in machine
code. Which steps are forced is data: another pattern compiles nothing.

What was tried, and what won:

- Back through time by ``jax.vjp``, whose closure may leave ``jit``, lost to the scan written out
  below for batches: it adds every step's share to the gradient of W, where one product over all
  steps will do, and keeps more of the forward pass than the states.
- One product [W; V] h a step won for a single sequence, two products for a batch; W as it is won
  for the one, W transposed ahead of the scan for the other.
- U x of all forced steps ahead of the scan lost: a step of it is dearer to read than to compute.
- Unrolling two, four or eight steps gained nothing that noise did not hide, and compiles longer.

Threads: XLA's CPU client has as many as the machine, and ``xla_cpu_multi_thread_eigen`` gives a
function of ``jax.jit`` no fewer. So each number of threads gets a client of its own here; JAX's own
is left alone, no GPU is started, and a call runs on the thread that makes it. With several layers
there are products that do not wait for each other, and XLA may compute one on the calling thread
beside those on the client's: there, at times, one thread more is at work than was asked for.

On CUDA the scan is the same, in full precision (HIGHEST), and JAX's own client runs it. Arrays
cross by DLPack, in the memory where they lie: XLA's stream waits for what torch's current stream
has been given, and torch's current stream for XLA's answer, by events; the host waits for neither
(see `impls.kernels.jax_memory`, also for who may use which memory when). It was never run on a GPU
by those who wrote it: what is known of it there is what JAX's and torch's sources say.

Where it loses: XLA compiles for every shape, which takes longer than many a run. The number of
steps is rounded up to a multiple of four, with steps that change nothing, so that a training whose
sequences grow compiles for every fourth length only; that is most of a short training still.
On CUDA a step is some kernels, whose launches a small model waits for; inputs that lie at an odd
address are copied, which XLA does not read in place; and JAX and torch each keep the memory that
they once had, where the other has no use of it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from impls.generator import GeneratorConfig, OwnWeights, wants_gradients
from impls.kernels.jax_memory import array, jax_for, tensor
from impls.packages import no_cuda_for_jax_reason

# Lengths that share a compiled scan.
STEPS_ALIKE = 4


class JaxScan(OwnWeights):
    """``lax.scan``, compiled for each shape at its first call."""

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        return no_cuda_for_jax_reason() if device.type == "cuda" else None

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        weights = tuple(self.weights().values())
        keep = wants_gradients(inputs, h0, *weights)
        masks = self.dropout_masks(len(forced), inputs)
        outcome: tuple[Tensor, Tensor] = _Rollout.apply(  # type: ignore[no-untyped-call]
            self.config, forced, masks, keep, inputs, h0, *weights
        )
        return outcome


class _Rollout(torch.autograd.Function):
    """The scans, as autograd sees them."""

    @staticmethod
    def forward(
        ctx: Any,
        config: GeneratorConfig,
        forced: list[bool],
        masks: Tensor,
        keep: bool,
        inputs: Tensor,
        h0: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        steps = len(forced)
        flags = np.zeros((2, _rounded_up(steps)), np.bool_)
        flags[0, :steps], flags[1, :steps] = forced, True
        dropped, longer = _longer(masks) if len(masks) else None, _longer(inputs)
        with jax_for(inputs):
            given = array(longer), flags, _array(dropped), array(h0), *map(array, weights)
            predictions, h_n, kept = forward_scan(config, keep, *given)
            answer = _shorter(tensor(predictions), steps), tensor(h_n)
        if keep:
            ctx.config, ctx.flags, ctx.dropped, ctx.steps = config, flags, dropped, steps
            # Through torch, which notices weights that change before the backward pass.
            ctx.save_for_backward(h0, *weights, *map(tensor, kept))
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_predictions: Tensor, d_h_n: Tensor) -> tuple[Tensor | None, ...]:
        kept, longer = len(ctx.saved_tensors) - 1 - ctx.config.num_layers, _longer(d_predictions)
        with jax_for(d_predictions):
            saved = [array(each) for each in ctx.saved_tensors]
            given = array(longer), array(d_h_n), ctx.flags, _array(ctx.dropped)
            d_inputs, d_h0, found = backward_scan(
                ctx.config, *given, saved[kept], tuple(saved[kept + 1 :]), *saved[:kept]
            )
            d_weights = {name: tensor(gradient) for name, gradient in found.items()}
            answer = _shorter(tensor(d_inputs), ctx.steps), tensor(d_h0)
        for k in range(ctx.config.num_layers if ctx.config.bias else 0):
            # Both biases have the same gradient, each in memory of its own.
            d_weights[f"bias_hh_l{k}"] = d_weights[f"bias_ih_l{k}"].clone()
        return (
            None, None, None, None, *answer,
            *(d_weights[name] for name in ctx.config.weight_shapes()),
        )  # fmt: skip


# What XLA compiles, once for each shape and each of the first arguments. T is rounded up here, and
# flags (2, T) tell which steps are forced and which there are: the others leave the states alone.


@partial(jax.jit, static_argnums=(0, 1))
def forward_scan(
    config: GeneratorConfig,
    keep: bool,
    inputs: jax.Array,
    flags: jax.Array,
    masks: jax.Array | None,
    h0: jax.Array,
    *weights: jax.Array,
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]:
    """Predictions (T, B, I), h_n (L, B, H) and, to ``keep``, what a backward pass needs.

    That is what was read, (T, B, I), and the states of each layer, (T, B, H).

    Args:
        config: sizes and options.
        keep: whether there will be a backward pass.
        inputs: (T, B, I); rows that are not forced may hold anything.
        flags: (2, T) bool.
        masks: (T, L - 1, B, H), what dropout multiplies the states with; None for nothing.
        h0: (L, B, H).
        weights: in the order of ``config.weight_shapes()``.
    """
    w, layers = dict(zip(config.weight_shapes(), weights, strict=True)), range(config.num_layers)
    activation = jnp.tanh if config.nonlinearity == "tanh" else jax.nn.relu
    products = [_products(w, k, config, joined=_joined(inputs, masks)) for k in layers]
    first = _times(w["weight_ih_l0"])
    biases = [w[f"bias_ih_l{k}"] + w[f"bias_hh_l{k}"] if config.bias else 0.0 for k in layers]

    def step(carry: Any, given: Any) -> Any:
        h, recurrent, y = carry
        x, (forced, exists), mask = given
        x = jnp.where(forced, x, y)
        below, states, following = first(x), [], []
        for k in layers:
            state = activation(biases[k] + recurrent[k] + below)
            states.append(jnp.where(exists, state, h[k]))
            again, below = products[k](states[k], _mask(mask, k))
            following.append(again)
        y = below + w["readout.bias"]
        return (states, following, y), (y, (x, *states) if keep else ())

    h = list(h0)
    start = (h, [products[k](h[k], None)[0] for k in layers], jnp.zeros_like(inputs[0]))
    (h, _, _), (predictions, kept) = lax.scan(step, start, (inputs, flags.T, masks))
    return predictions, jnp.stack(h), kept


@partial(jax.jit, static_argnums=0)
def backward_scan(
    config: GeneratorConfig,
    d_predictions: jax.Array,
    d_h_n: jax.Array,
    flags: jax.Array,
    masks: jax.Array | None,
    read: jax.Array,
    states: tuple[jax.Array, ...],
    h0: jax.Array,
    *weights: jax.Array,
) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
    """Gradients of the inputs (T, B, I), of h0 (L, B, H) and of the weights, by name.

    That of a ``bias_hh`` is missing: it is that of the ``bias_ih``.
    """
    w, layers = dict(zip(config.weight_shapes(), weights, strict=True)), range(config.num_layers)
    joined = _joined(read, masks)
    products = [
        _both(w[f"weight_hh_l{k}"].T, w[f"weight_ih_l{k}"].T, joined=joined) for k in layers
    ]
    readout = _times(w["readout.weight"].T)

    def step(carry: Any, given: Any) -> Any:
        from_later, d_y = carry
        dy, (forced, exists), mask, h = given
        d_y = d_y + dy
        above = readout(d_y)
        d_a, d_h = list(h), list(h)  # as many, each replaced
        for k in reversed(layers):
            m = _mask(mask, k)
            d = from_later[k] + (above if m is None else above * m)
            slope = 1 - h[k] * h[k] if config.nonlinearity == "tanh" else h[k] > 0
            d_a[k] = jnp.where(exists, d * slope, 0)
            again, above = products[k](d_a[k], None)
            d_h[k] = jnp.where(exists, again, d)
        fed = jnp.where(forced, 0, above)
        return (d_h, fed), (d_y, jnp.where(forced, above, 0), d_a)

    start = (list(d_h_n), jnp.zeros_like(read[0]))
    given = (d_predictions, flags.T, masks, states)
    (d_h0, _), (d_y, d_inputs, d_a) = lax.scan(step, start, given, reverse=True)
    return d_inputs, jnp.stack(d_h0), _of_weights(config, read, states, masks, h0, d_a, d_y)


def _of_weights(
    config: GeneratorConfig,
    read: jax.Array,
    states: tuple[jax.Array, ...],
    masks: jax.Array | None,
    h0: jax.Array,
    d_a: list[jax.Array],
    d_y: jax.Array,
) -> dict[str, jax.Array]:
    """One product over all steps and sequences for each matrix."""
    found, below = {}, read
    for k in range(config.num_layers):
        mask = None if masks is None or not k else masks[:, k - 1]
        found[f"weight_ih_l{k}"] = _over_all(d_a[k], below if mask is None else below * mask)
        before = jnp.concatenate([h0[k : k + 1], states[k][:-1]])
        found[f"weight_hh_l{k}"] = _over_all(d_a[k], before)
        if config.bias:
            found[f"bias_ih_l{k}"] = d_a[k].sum((0, 1))
        below = states[k]
    return found | {"readout.weight": _over_all(d_y, below), "readout.bias": d_y.sum((0, 1))}


Product = Callable[[jax.Array, jax.Array | None], tuple[jax.Array, jax.Array]]


def _products(w: dict[str, jax.Array], k: int, config: GeneratorConfig, *, joined: bool) -> Product:
    """Of a layer's state: what the layer itself reads next, and what is above it reads now."""
    above = "readout.weight" if k + 1 == config.num_layers else f"weight_ih_l{k + 1}"
    return _both(w[f"weight_hh_l{k}"], w[above], joined=joined)


def _both(A: jax.Array, B: jax.Array, *, joined: bool) -> Product:
    """What makes A x and B (mask * x) of x, ``joined`` as one product, which wants no mask."""
    if joined:
        stacked, size = jnp.concatenate([A, B]), len(A)

        def one(x: jax.Array, _: jax.Array | None) -> tuple[jax.Array, jax.Array]:
            rows = lax.dot_general(
                x, stacked, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST
            )
            return rows[:, :size], rows[:, size:]

        return one
    a, b = _times(A), _times(B)
    return lambda x, mask: (a(x), b(x if mask is None else x * mask))


def _times(A: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """What makes A x (B, m) of x (B, n), for A (m, n)."""
    transposed = A.T
    return lambda x: jnp.dot(x, transposed, precision=lax.Precision.HIGHEST)


def _over_all(d: jax.Array, x: jax.Array) -> jax.Array:
    """The sum of d x^T over steps and sequences: (m, n) of (T, B, m) and (T, B, n)."""
    return jnp.einsum("tbm,tbn->mn", d, x, precision=lax.Precision.HIGHEST)


def _joined(like: jax.Array, masks: jax.Array | None) -> bool:
    # A product of a vector costs little more than its call; one of a matrix wants even sizes.
    return like.shape[1] == 1 and masks is None


def _mask(masks: jax.Array | None, k: int) -> jax.Array | None:
    """What is between layer ``k`` and the next; nothing is above the last."""
    return None if masks is None or k == len(masks) else masks[k]


def _array(masks: Tensor | None) -> Any:
    return None if masks is None else array(masks)


# Lengths.


def _rounded_up(steps: int) -> int:
    return -(-steps // STEPS_ALIKE) * STEPS_ALIKE


def _longer(tensor: Tensor) -> Tensor:
    """(T, ...), the steps that there are not being zeros."""
    missing = _rounded_up(len(tensor)) - len(tensor)
    return F.pad(tensor, (0, 0) * (tensor.ndim - 1) + (0, missing)) if missing else tensor


def _shorter(tensor: Tensor, steps: int) -> Tensor:
    """Its first steps, as a tensor of its own and not a view."""
    return tensor.resize_(steps, *tensor.shape[1:])
