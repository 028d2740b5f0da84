r"""``torch.compile`` of the plain loop, some steps at a time.

    x_t = inputs[t] if forced[t] else y_{t-1}           a choice between two numbers, not a branch
    h_t = tanh(b + W h_{t-1} + U x_t)                                              y_t = V h_t + c

What sets it apart: the loop stays Python, and PyTorch's compiler writes the kernels, backward pass
included. What is compiled is a chunk of steps, unrolled, with the forcing pattern as data: another
pattern or length needs no other code, and the entry cost of a compiled function is paid once a
chunk. The last chunk is filled up with steps that leave the state as it is. A batch of one
multiplies by sums, which the compiler writes as loops into the same kernel as all else; larger
batches call the library's matrix product, and their size is left open.

Tried and left: torch's `scan`, one compiled body for all steps, whose loop runs in Python and which
was slower than the plain loop for a batch of one; larger batches by sums, slower than the plain
loop. Not tried to the end: one step a compiled call, and chunks of forced and of free steps.

Where it loses: batches above one spend their time in the library's product, so there is little or
nothing to win. Then the time to compile each of four programs: with and without gradient, a batch
of one and a larger one; others for each model size, dtype and number of threads.
The compiler keeps what it made on disk (``TORCHINDUCTOR_CACHE_DIR``) and reuses it in the next
process: the first call of a process is dear only where that folder does not know the program yet,
and is what a user pays the first time on a machine, not every time. A sequence costs as much as
one whose length is the next whole number of chunks.

Memory: the backward pass keeps what every step computed, as the plain loop does.
"""

import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional as F

from impls.compiler import no_compiler_reason
from impls.generator import GeneratorConfig, OwnWeights

# Steps of a chunk, by whether the batch is one sequence. The library's products, which larger
# batches call, dwarf the entry cost sooner; a chunk of eight took four times as long to compile,
# with gradients, as one of four, and ran no faster.
ALONE, TOGETHER = 16, 4

Layer = tuple[Tensor, Tensor, Tensor | None]
Chunk = Callable[..., tuple[Tensor, Tensor, Tensor]]


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
        if device.type == "cuda" and find_spec("triton") is None:
            return "needs triton, which is not installed"
        return no_compiler_reason() if device.type == "cpu" else None

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        w, steps = self.weights(), len(forced)
        gradient = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (inputs, h0, *w.values())
        )
        if gradient:
            # One program, whatever is frozen: each set of what asks for gradients had its own.
            w = {name: x if x.requires_grad else nn.Parameter(x.detach()) for name, x in w.items()}
        V, c = w["readout.weight"], w["readout.bias"]
        alone = inputs.shape[1] == 1
        size = ALONE if alone else TOGETHER
        layers = [
            (w[f"weight_hh_l{k}"], w[f"weight_ih_l{k}"], self._bias(w, k))
            for k in range(self.config.num_layers)
        ]
        padding = -steps % size
        flags = torch.tensor([forced + [True] * padding, [True] * steps + [False] * padding])
        teacher, live = flags.to(inputs.device)
        xs = torch.cat([inputs, inputs.new_zeros(padding, *inputs.shape[1:])])
        h, y = h0.clone(memory_format=torch.contiguous_format), torch.zeros_like(xs[0])
        if gradient:
            # As above: the first chunk, which nothing precedes, had a program of its own.
            xs, h, y = (x if x.requires_grad else x.requires_grad_() for x in (xs, h, y))
        chunk = _compiled(
            relu=self.config.nonlinearity == "relu",
            alone=alone,
            of=(self.config, xs.dtype, xs.device, gradient, torch.is_inference_mode_enabled()),
            threads=torch.get_num_threads(),
            steps=size,
        )
        predictions = []
        for start in range(0, steps, size):
            span = slice(start, start + size)
            given = xs[span]
            if start == 0 and not alone:
                for tensor, dimension in ((given, 1), (y, 0), (h, 1)):
                    torch._dynamo.mark_dynamic(tensor, dimension)
            said, y, h = chunk(given, teacher[span], live[span], y, h, layers, V, c)
            predictions.append(said)
        return torch.cat(predictions)[:steps], h

    def _bias(self, weights: dict[str, Tensor], layer: int) -> Tensor | None:
        if not self.config.bias:
            return None
        return weights[f"bias_ih_l{layer}"] + weights[f"bias_hh_l{layer}"]


@cache
def _compiled(*, relu: bool, alone: bool, of: Any, threads: int, steps: int) -> Chunk:  # noqa: ARG001
    """A function of its own for each kind of call, compiled when it is called first.

    Args:
        relu: instead of tanh.
        alone: whether the batch is one sequence.
        of: whatever else a program is made for; tells apart, and no more.
        threads: CPU threads of its kernels.
        steps: of one chunk.
    """
    activation = torch.relu if relu else torch.tanh
    product = _sums if alone else F.linear

    def chunk(
        inputs: Tensor,
        forced: Tensor,
        live: Tensor,
        y: Tensor,
        h: Tensor,
        layers: list[Layer],
        V: Tensor,
        c: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predictions, the last of them, and the states after it; a step not ``live`` is none."""
        if not torch.compiler.is_compiling():
            raise RuntimeError("torch.compile is switched off: this would run uncompiled")
        states, predictions = list(h.unbind(0)), []
        for t in range(steps):
            x = torch.where(forced[t], inputs[t], y)
            for k, (W, U, b) in enumerate(layers):
                after = activation(product(states[k], W, b) + product(x, U, None))
                x = states[k] = torch.where(live[t], after, states[k])
            y = product(x, V, c)
            predictions.append(y)
        return torch.stack(predictions), y.clone(), torch.stack(states)

    # The compiler counts programs by code object and gives up after a few: each has its own.
    apart = FunctionType(
        chunk.__code__.replace(), chunk.__globals__, "chunk", None, chunk.__closure__
    )
    # In this process: its pool of compiling processes would outlive the call.
    # The number of threads is written into the kernels, so the cache on disk has to tell by it.
    backend = partial(_kernels, options={"compile_threads": 1, "cpp.threads": threads})
    return _Program(torch.compile(apart, fullgraph=True, dynamic=False, backend=backend))


def _kernels(graph: GraphModule, arguments: list[Tensor], options: dict[str, Any]) -> Any:
    """PyTorch's own backend, but its backward pass writes into nothing that it did not make.

    It would reuse what the forward pass kept, which h_n may share memory with: h_n was another
    after the backward pass (torch 2.13).
    """
    from torch._inductor.compile_fx import compile_fx  # heavy: not before it is needed

    with torch._functorch.config.patch(donated_buffer=False):
        return compile_fx(graph, arguments, config_patches=options)


class _Program:
    """A compiled function whose first call, which compiles, is free of PyTorch's own warnings."""

    def __init__(self, function: Chunk) -> None:
        self._function, self._called = function, False

    def __call__(self, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        if self._called:
            return self._function(*arguments)
        with warnings.catch_warnings():
            # It imports what PyTorch is to drop, and looks at .grad of tensors that have none.
            warnings.simplefilter("ignore")
            outcome = self._function(*arguments)
        self._called = True
        return outcome


def _sums(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear`` as sums of products."""
    product = (x.unsqueeze(-2) * weight).sum(-1)
    return product if bias is None else product + bias
