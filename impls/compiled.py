r"""``torch.compile`` of the plain loop, some steps at a time, forward and back through time.

    x_t = inputs[t] if forced[t] else y_{t-1}           a choice between two numbers, not a branch
    h_t = tanh(b + W h_{t-1} + U x_t)                                              y_t = V h_t + c
    dy_t = dL/dy_t + U^T da_{t+1} where y_t was fed back
    dh_t = W^T da_{t+1} + V^T dy_t                                         da_t = dh_t (1 - h_t^2)

What sets it apart: the loop stays Python, and PyTorch's compiler writes the kernels. What is
compiled is a chunk of steps, unrolled, with the forcing pattern as data: another pattern or length
needs no other code, and the entry cost of a compiled function is paid once a chunk. Steps that fill
a chunk up lie behind the last on the way forward, before the first on the way back: what they find
is cut off, and nothing that counts comes after them. The gradients of the weights are products over
all steps, outside of the chunks.

What was tried, and what won:

- The way back as autograd and the compiler derive it lost to the loop written out: it took longer
  to compile and to run, needed a program of its own for calls without gradients, and either wrote
  over h_n or allowed no second backward pass through one graph (torch 2.13).
- A batch of one wants its products as sums, which the compiler writes as loops into the kernel of
  all else; larger batches want the library's product for W.
- With twice as many steps to a chunk a batch of one runs a long sequence in two thirds of the time,
  but its programs take about twice as long to compile. With half as many, larger batches lose to
  the plain loop where there are no gradients.
- torch's `scan`, one compiled body for all steps, runs its loop in Python and was slower than the
  plain loop for a batch of one.

Where it loses: batches above one spend their time in the library's product, so there is little to
win. Then the time to compile each of four programs, forward and back for a batch of one and a
larger one; others for each model size, dtype and number of threads. The compiler keeps what it made
on disk (``TORCHINDUCTOR_CACHE_DIR``): the first call is dear where that folder does not know the
program yet, and dearest where it is empty, for then the C++ compiler itself is tried out first.

Memory: the backward pass keeps the states of every step.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from impls.compiler import no_compiler_reason
from impls.generator import GeneratorConfig, OwnWeights, wants_gradients
from impls.gradients import weight_gradients
from impls.packages import no_triton_reason

# Steps of a chunk, by whether the batch is one sequence; see above for others.
ALONE, TOGETHER = 8, 4
# Features up to which U and V are multiplied by sums, which join the kernel of all else.
FEW_FEATURES = 4

Chunk = Callable[..., tuple[Tensor, ...]]
Layer = tuple[Tensor, Tensor, Tensor | None]
Product = Callable[[Tensor, Tensor], Tensor]


class Compiled(OwnWeights):
    """A compiled chunk of steps, called until the sequence is through."""

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        if config.dropout and config.num_layers > 1:
            return "does no dropout: compiled code draws other random numbers than nn.RNN"
        return no_compiler_reason() if device.type == "cpu" else no_triton_reason()

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        weights = tuple(self.weights().values())
        keep = wants_gradients(inputs, h0, *weights)
        outcome: tuple[Tensor, Tensor] = _Rollout.apply(  # type: ignore[no-untyped-call]
            self.config, forced, keep, inputs, h0, *weights
        )
        return outcome


class _Rollout(torch.autograd.Function):
    """The chunks, as autograd sees them."""

    @staticmethod
    def forward(
        ctx: Any,
        config: GeneratorConfig,
        forced: list[bool],
        keep: bool,
        inputs: Tensor,
        h0: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        # From pinned memory, for from any other the copy would wait for the GPU.
        flags = torch.tensor(forced, pin_memory=inputs.is_cuda)
        flags = flags.to(inputs.device, non_blocking=True)
        predictions, h_n, states = _forth(config, keep, flags, inputs, h0, weights)
        if keep:
            ctx.config = config
            # Through torch, which notices what changes before the backward pass.
            ctx.save_for_backward(flags, inputs, h0, predictions, states, *weights)
        return predictions, h_n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_predictions: Tensor, d_h_n: Tensor) -> tuple[Tensor | None, ...]:
        flags, inputs, h0, predictions, states, *weights = ctx.saved_tensors
        config: GeneratorConfig = ctx.config
        d_a, d_y, d_x = _back(config, flags, states, d_predictions, d_h_n, weights)
        forced = flags[:, None, None]
        read = torch.where(forced, inputs, torch.cat([inputs[:1], predictions[:-1]]))
        before = (torch.cat([h0[k : k + 1], of[:-1]]) for k, of in enumerate(states.unbind(1)))
        below = (read, *states.unbind(1)[:-1])
        found = weight_gradients(config, d_a.unbind(1), d_y, before, below, states[:, -1])
        recurrent = dict(zip(config.weight_shapes(), weights, strict=True))
        d_h0 = [d_a[0, k] @ recurrent[f"weight_hh_l{k}"] for k in range(config.num_layers)]
        return (
            *(None, None, None, torch.where(forced, d_x, 0.0), torch.stack(d_h0)),
            *found,
        )


# Whoever calls under inference_mode gets the program that the others have.
@torch.inference_mode(mode=False)
@torch.no_grad()
def _forth(
    config: GeneratorConfig,
    keep: bool,
    flags: Tensor,
    inputs: Tensor,
    h0: Tensor,
    weights: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions (T, B, I), h_n (L, B, H), and the states (T, L, B, H) to ``keep``, or none."""
    chunk, size = _program(_forward_chunk, config, inputs)
    padding = -len(flags) % size
    rest = size - padding
    detached = [weight.detach() for weight in weights]
    h, y = h0.clone(memory_format=torch.contiguous_format), torch.zeros_like(inputs[0])
    predictions, states = [], []
    for forced, given in _chunks(size, flags, inputs, after=padding):
        said, reached = chunk(detached, forced, given, y, h)
        y, h = said[-1], reached[-1]
        predictions.append(said)
        if keep:
            states.append(reached)
    predictions[-1] = said[:rest]
    states = [*states[:-1], reached[:rest]] if keep else []
    kept = torch.cat(states) if keep else h0.new_empty(0)
    return torch.cat(predictions), reached[rest - 1].clone(), kept


def _back(
    config: GeneratorConfig,
    flags: Tensor,
    states: Tensor,
    d_predictions: Tensor,
    d_h_n: Tensor,
    weights: Sequence[Tensor],
) -> Iterator[Tensor]:
    """Gradients of a (T, L, B, H), of y (T, B, I) and of x (T, B, I), of every step."""
    chunk, size = _program(_backward_chunk, config, d_predictions)
    padding = -len(flags) % size
    detached = [weight.detach() for weight in weights]
    d_h, d_fed = d_h_n.contiguous(), torch.zeros_like(d_predictions[0])
    found = []
    for forced, d_said, reached in _chunks(size, flags, d_predictions, states, before=padding)[
        ::-1
    ]:
        *of_steps, d_fed, d_h = chunk(detached, forced, d_said, reached, d_fed, d_h)
        found.append(of_steps)
    return (torch.cat(parts)[padding:] for parts in zip(*found[::-1], strict=True))


def _chunks(
    size: int, *tensors: Tensor, before: int = 0, after: int = 0
) -> list[tuple[Tensor, ...]]:
    """Tensors of T steps in pieces of ``size``, zeros ``before`` or ``after`` them to fill up."""
    padded = (F.pad(x, (0, 0) * (x.ndim - 1) + (before, after)) for x in tensors)
    return list(zip(*(torch.split(x, size) for x in padded), strict=True))


# What is compiled.


def _program(
    write: Callable[..., Chunk], config: GeneratorConfig, like: Tensor
) -> "tuple[_Program, int]":
    """The program for (T, B, I) ``like`` these, and how many steps it takes."""
    return _compiled(
        write, config, like.shape[1] == 1, like.dtype, like.device, torch.get_num_threads()
    )


@cache
def _compiled(
    write: Callable[..., Chunk],
    config: GeneratorConfig,
    alone: bool,
    dtype: torch.dtype,  # noqa: ARG001 - tells programs apart
    device: torch.device,  # noqa: ARG001
    threads: int,
) -> "tuple[_Program, int]":
    """One for each kind of call; it compiles when it is called first."""
    few = alone or config.input_size <= FEW_FEATURES
    chunk = write(config, _sums if alone else F.linear, _sums if few else F.linear)
    # The compiler counts programs by code object and gives up after a few: each has its own.
    apart = FunctionType(
        chunk.__code__.replace(), chunk.__globals__, chunk.__name__, None, chunk.__closure__
    )
    # In this process: its pool of compiling processes would outlive the call.
    # The number of threads is written into the kernels, so the cache on disk has to tell by it.
    options: dict[str, Any] = {"compile_threads": 1, "cpp.threads": threads}
    compiled = torch.compile(apart, fullgraph=True, dynamic=False, options=options)
    return _Program(compiled, alone=alone), ALONE if alone else TOGETHER


class _Program:
    """A compiled chunk whose first call, which compiles, leaves open how many sequences there are.

    It is free of PyTorch's own warnings: of imports that PyTorch is to drop.
    """

    def __init__(self, function: Chunk, *, alone: bool) -> None:
        self._function, self._alone, self._called = function, alone, False

    def __call__(
        self, weights: list[Tensor], forced: Tensor, *sequences: Tensor
    ) -> tuple[Tensor, ...]:
        """Call it with ``sequences`` of shape (..., B, n)."""
        if self._called:
            return self._function(weights, forced, *sequences)
        if not self._alone:
            for tensor in sequences:
                torch._dynamo.mark_dynamic(tensor, tensor.ndim - 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = self._function(weights, forced, *sequences)
        self._called = True
        return outcome


def _forward_chunk(config: GeneratorConfig, product: Product, narrow: Product) -> Chunk:
    """Steps forward; ``narrow`` is the product with a matrix that has I rows or columns."""
    activation = torch.relu if config.nonlinearity == "relu" else torch.tanh

    def chunk(
        weights: list[Tensor], forced: Tensor, inputs: Tensor, y: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predictions (S, B, I) and the states (S, L, B, H) after each step."""
        _refuse_to_run_uncompiled()
        layers, V, c = _layers(config, weights)
        states, predictions, reached = list(h), [], []
        for t in range(len(inputs)):
            x, times = torch.where(forced[t], inputs[t], y), narrow
            for k, (W, U, b) in enumerate(layers):
                a = product(states[k], W) + times(x, U)
                x = states[k] = activation(a if b is None else a + b)
                times = product
            y = narrow(x, V) + c
            predictions.append(y)
            reached += states
        return torch.stack(predictions), torch.stack(reached).view(len(inputs), *h.shape)

    return chunk


def _backward_chunk(config: GeneratorConfig, product: Product, narrow: Product) -> Chunk:
    """Steps back through time; ``narrow`` as for the steps forward."""
    relu = config.nonlinearity == "relu"

    def chunk(
        weights: list[Tensor],
        forced: Tensor,
        d_said: Tensor,
        reached: Tensor,
        d_fed: Tensor,
        d_h: Tensor,
    ) -> tuple[Tensor, ...]:
        """The gradients of a, y and x of every step; of y by feedback, and of h, one step before.

        Args:
            weights: all of them.
            forced: (S,).
            d_said: (S, B, I), dL/dy of every step.
            reached: (S, L, B, H), the states after each step.
            d_fed: (B, I), what the last step's y gets by feedback.
            d_h: (L, B, H), what the last step's states get from the step after it.
        """
        _refuse_to_run_uncompiled()
        layers, V, _ = _layers(config, weights)
        later, d_as, d_ys, d_xs = list(d_h), [], [], []
        for t in reversed(range(len(d_said))):
            d_y = d_said[t] + d_fed
            d_above = narrow(d_y, V.t())
            for k in reversed(range(len(layers))):
                W, U, _ = layers[k]
                h, d = reached[t, k], later[k] + d_above
                d_a = torch.where(h > 0, d, 0.0) if relu else d * (1 - h * h)
                d_as.append(d_a)
                later[k] = product(d_a, W.t())
                d_above = (product if k else narrow)(d_a, U.t())
            d_fed = torch.where(forced[t], 0.0, d_above)
            d_ys.append(d_y)
            d_xs.append(d_above)
        d_a = torch.stack(d_as[::-1]).view_as(reached)
        return d_a, torch.stack(d_ys[::-1]), torch.stack(d_xs[::-1]), d_fed, torch.stack(later)

    return chunk


def _layers(config: GeneratorConfig, weights: list[Tensor]) -> tuple[list[Layer], Tensor, Tensor]:
    """(W, U, b) of every layer, V and c."""
    w = dict(zip(config.weight_shapes(), weights, strict=True))
    layers = [
        (
            w[f"weight_hh_l{k}"],
            w[f"weight_ih_l{k}"],
            w[f"bias_ih_l{k}"] + w[f"bias_hh_l{k}"] if config.bias else None,
        )
        for k in range(config.num_layers)
    ]
    return layers, w["readout.weight"], w["readout.bias"]


def _sums(x: Tensor, weight: Tensor) -> Tensor:
    """``F.linear`` as sums of products."""
    return (x.unsqueeze(-2) * weight).sum(-1)


def _refuse_to_run_uncompiled() -> None:
    if not torch.compiler.is_compiling():
        raise RuntimeError("torch.compile is switched off: this would run uncompiled")
