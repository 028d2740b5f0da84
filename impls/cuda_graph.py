r"""The hand-written loop, recorded once a shape as a CUDA graph and replayed.

    h_t = tanh(b + W h_{t-1} + U x_t)        x_t = where(forced_t, inputs_t, y_{t-1})
    y_t = V h_t + c

What sets it apart: the GPU gets all kernels of all steps with one launch, so that the host's time
for a launch is paid once a call and not five times a step. Which steps are forced is data, a flag
a step in the GPU's memory: another pattern is another copy of T bytes and no new graph. Backward
through time is a second graph.

A graph reads and writes at the addresses it was recorded with. Whatever is handed out is a copy,
and the next call overwrites the states of this one: where a backward pass finds that another
forward pass has come between, it replays its own first, on the arguments that autograd has saved
and whose versions it has checked. Some graphs are kept, by shape, dtype, device, gradients, the
weights' addresses and the precision of products; the first call of each records it, and waits for
the GPU.

A graph holds some kernels for each of its steps, so that a long one takes seconds to record and
memory to keep: beyond `MOST_STEPS` a call is several replays of one graph, each of which begins
with the state and the prediction that the one before has left.

Where it loses: the GPU still starts several kernels a step, one after the other, each of which
reads its weights anew; every shape costs a recording. Of a call of several replays, backward
replays each forward once more. It cannot itself be called while somebody else records a graph.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from impls.generator import GeneratorConfig, OwnWeights, wants_gradients
from impls.kernels.static_loop import StaticLoop

# As many as the harness asks of one instance, and a few more; the one used longest ago goes first.
MOST_GRAPHS = 8
# Of one graph: what the harness asks for, and no more.
MOST_STEPS = 1000

Outcome = tuple[Tensor, Tensor]


class CudaGraph(OwnWeights):
    """One launch a call."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self._kept = _Kept()

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        if device.type != "cuda":
            return f"records CUDA graphs, which {device.type} has not"
        if config.dropout and config.num_layers > 1:
            return "draws no random numbers: dropout between layers needs others at every call"
        return None

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> Outcome:
        done: list[Tensor] = []
        h = h0
        for first in range(0, len(forced), MOST_STEPS):
            rows, flags = inputs[first : first + MOST_STEPS], forced[first : first + MOST_STEPS]
            if not flags[0]:  # what the piece before has predicted is given to this one
                rows, flags = torch.cat([done[-1][-1:], rows[1:]]), [True, *flags[1:]]
            predictions, h = self._piece(rows, flags, h)
            done.append(predictions)
        return (done[0] if len(done) == 1 else torch.cat(done)), h

    def _piece(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> Outcome:
        """One graph's steps."""
        weights = self.weights()
        given = (inputs, h0, *weights.values())
        wanted = tuple(one.requires_grad for one in given) if wants_gradients(*given) else ()
        recorded = self._kept.recorded(self.config, weights, inputs, wanted)
        if not wanted:
            return recorded.forward(inputs, forced, h0)
        outcome: Outcome = _Rollout.apply(  # type: ignore[no-untyped-call]
            recorded, forced, *given
        )
        return outcome


class _Rollout(torch.autograd.Function):
    """The two graphs, as autograd sees them."""

    @staticmethod
    def forward(ctx: Any, recorded: "_Recorded", forced: list[bool], *given: Tensor) -> Outcome:
        ctx.recorded, ctx.forced = recorded, forced
        ctx.call = object()  # names the call, and holds nothing as ctx itself would
        ctx.save_for_backward(*given)
        return recorded.forward(given[0], forced, given[1], ctx.call)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_predictions: Tensor, d_h_n: Tensor) -> tuple[Tensor | None, ...]:
        inputs, h0, *_ = ctx.saved_tensors  # raises where one, a weight too, has changed since
        found = ctx.recorded.backward(inputs, ctx.forced, h0, ctx.call, d_predictions, d_h_n)
        return (None, None, *found)


class Cuda:
    """The device's side: recording, and whose turn it is.

    What is recorded on a stream shares its libraries' room for half-done sums, up to 32 MiB: so
    all graphs of a device are recorded on one stream, and no two of them ever run at once.

    Args:
        device: where to compute.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()
        self._free = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """What replays ``work``, which queues kernels on buffers that stay where they are."""
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                work()  # libraries start up and kernels load: nothing of that can be recorded
            torch.cuda.current_stream().wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                work()
        replay: Callable[[], None] = graph.replay
        return replay

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Use graphs on the current stream, when the last who did so on another is done."""
        with self._lock, torch.cuda.device(self._device):
            stream = torch.cuda.current_stream()
            stream.wait_event(self._free)
            try:
                yield
            finally:  # also what was queued before an error
                self._free.record(stream)


@lru_cache
def _cuda(device: torch.device) -> Cuda:
    return Cuda(device)


class _Recorded:
    """One shape: its buffers, its graphs, and whose states lie in the buffers."""

    def __init__(self, loop: StaticLoop, cuda: Cuda) -> None:
        self._loop, self._cuda = loop, cuda
        self._forced: list[bool] | None = None
        self._owner: object = None
        self._forward = cuda.record(loop.forward)
        self._backward = cuda.record(loop.backward) if loop.wanted else None

    def forward(
        self, inputs: Tensor, forced: list[bool], h0: Tensor, owner: object = None
    ) -> Outcome:
        """Copies of the predictions and of h_n; from now on the states are those of ``owner``."""
        with self._cuda.turn(), torch.no_grad():
            self._run(inputs, forced, h0, owner)
            return self._loop.predictions.clone(), self._loop.h_n.clone()

    def backward(
        self,
        inputs: Tensor,
        forced: list[bool],
        h0: Tensor,
        owner: object,
        d_predictions: Tensor,
        d_h_n: Tensor,
    ) -> list[Tensor | None]:
        """Copies of the gradients that are wanted."""
        loop = self._loop
        with self._cuda.turn(), torch.no_grad():
            if self._owner is not owner:
                self._run(inputs, forced, h0, owner)
            loop.d_predictions.copy_(d_predictions)
            loop.d_h_n.copy_(d_h_n)
            if self._backward:
                self._backward()
            return [None if found is None else found.clone() for found in loop.gradients]

    def _run(self, inputs: Tensor, forced: list[bool], h0: Tensor, owner: object) -> None:
        loop = self._loop
        self._owner = None  # whose they are is not known before all is queued
        loop.inputs.copy_(inputs)
        loop.h0.copy_(h0)
        if forced != self._forced:
            # Pinned, so that the host need not wait; the allocator keeps it until it is copied.
            flags = torch.tensor(forced, dtype=torch.bool, pin_memory=loop.flags.is_cuda)
            loop.flags.copy_(flags, non_blocking=True)
            self._forced = forced
        self._forward()
        self._owner = owner


class _Kept:
    """What an instance has recorded. A copy of an instance starts with nothing."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[Any, ...], _Recorded] = OrderedDict()
        self._recording = threading.Lock()

    def __reduce__(self) -> tuple[type["_Kept"], tuple[()]]:
        return _Kept, ()

    def recorded(
        self,
        config: GeneratorConfig,
        weights: dict[str, Tensor],
        inputs: Tensor,
        wanted: tuple[bool, ...],
    ) -> _Recorded:
        """The graphs for such a call."""
        places = tuple(weight.data_ptr() for weight in weights.values())
        precision = torch.backends.cuda.matmul.fp32_precision  # is recorded with the products
        key = (inputs.shape, inputs.dtype, inputs.device, wanted, places, precision)
        with self._recording:
            if key not in self._found:
                self._found[key] = self._record(config, weights, inputs, wanted)
            self._found.move_to_end(key)
            return self._found[key]

    def _record(
        self,
        config: GeneratorConfig,
        weights: dict[str, Tensor],
        inputs: Tensor,
        wanted: tuple[bool, ...],
    ) -> _Recorded:
        cuda = _cuda(inputs.device)
        # Also within inference_mode: buffers that are made there cannot be written to outside.
        with cuda.turn(), torch.inference_mode(mode=False), torch.no_grad():
            while len(self._found) >= MOST_GRAPHS:
                self._found.popitem(last=False)
            # Detached, they keep the memory that the graph reads, whatever becomes of the module.
            held = {name: weight.detach() for name, weight in weights.items()}
            loop = StaticLoop(config, held, inputs, wanted)
            return _Recorded(loop, cuda)
