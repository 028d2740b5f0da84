r"""All steps in one Triton kernel, forward and backward through time.

    h_t = tanh(b + W h_{t-1} + U x_t)              y_t = V h_t + c
    da_t = (1 - h_t^2) (W' da_{t+1} + V' dy_t)
    dy_t = dL/dy_t + U' da_{t+1} where y_t was fed back

What sets it apart: a loop launches kernels at every step, and each costs microseconds whatever it
does. Here one launch does them all (`impls.kernels.cuda_recurrence`), and W never leaves the
registers where it fits. The backward kernel writes da and dy; the gradients of the weights are then
one product each over all steps and sequences: the same bits every time, no atomics.

float32 is float32: products are multiplied and added in full precision, on no tensor core. Three
more do use tensor cores, one step of 8 or 16 sequences being one product, and say by their names
how they round what they multiply (`impls.kernels.cuda_products`): ``fused_cuda_tf32x3``,
``fused_cuda_tf32`` and ``fused_cuda_bf16``. They round and nothing else: the sums over the steps
that make the weights' gradients are float32 in all.

Where it loses: what registers cannot hold (more than one layer, H beyond 128, in float64 beyond 64)
is read from the caches at every step, by every program of up to four sequences for itself, so that
large batches of large models are better off with cuBLAS. On tensor cores a few sequences cost as
much as eight. The first call of a size compiles.
"""

import contextlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from impls.generator import GeneratorConfig, OwnWeights, wants_gradients
from impls.gradients import weight_gradients
from impls.kernels import cuda_parts, cuda_products, cuda_recurrence, cuda_streamed

# Bytes of W that a program's threads can hold, 64 registers each, and what one warp does.
REGISTERS_FOR_W = 1 << 16
WARP_REGISTERS_FOR_W = 32 * 64 * 4
# Sequences of one program where there are more than processors: the registers for their states
# and sums are what limits it.
SEQUENCES = 4
# Numbers of a chunk of a streamed matrix; the widest state of one program.
CHUNK, WIDEST = 1 << 11, 1024
STREAMING_WARPS = 8
# With so many a thread two programs of 8 warps fit on one multiprocessor, and one of them works
# while the other waits at a barrier. What keeps states or goes back would spill.
REGISTERS_FOR_TWO = 128
# On tensor cores: rows of a product that one warp's instruction has, columns that it has, the
# widest product, and the features that are each a sum beside it.
ROWS, COLUMNS, WIDEST_PRODUCT, FEATURES = 16, 8, 128, 4
# Rounding that moves a sum from one side of 0 to the other often enough to be met in a short run:
# relu's slope jumps there, and gradients with it.
ROUGH = ("tf32", "bfloat16")
# A thread's registers, where 8 warps have a multiprocessor to themselves.
REGISTERS = 255


@dataclass(frozen=True, slots=True)
class Form:
    """How a kernel is cut.

    Attributes:
        streamed: whether the matrices are read at every step instead of kept.
        sequences: of one program.
        warps: of one program.
        units: H as a power of two.
        features: I as a power of two; on tensor cores I itself.
        precision: of the products on tensor cores; None for exact ones on none.
    """

    streamed: bool
    sequences: int
    warps: int
    units: int
    features: int
    precision: str | None = None

    @property
    def blocks(self) -> dict[str, Any]:
        """What the kernel is compiled for."""
        if self.precision:
            cut = {"BLOCK_H": self.units, "BLOCK_N": self.sequences, "FEATURES": self.features}
            return cut | {"PRECISION": self.precision}
        kept = {"BLOCK_H": self.units, "BLOCK_I": self.features, "BLOCK_B": self.sequences}
        if self.streamed:
            return kept | {"CHUNK": max(1, CHUNK // self.units)}
        return kept

    def options(self, *, trains: bool) -> dict[str, int]:
        """What the compiler is told. No pipelining: it would load states before they are there."""
        told = {"num_warps": self.warps, "num_stages": 1, "enable_fp_fusion": True}
        if self.precision:  # for many columns it would save registers, and spill, unless told
            return told | ({"maxnreg": REGISTERS} if self.sequences > COLUMNS else {})
        if self.sequences > 1 and not (trains or self.streamed):
            return told | {"maxnreg": REGISTERS_FOR_TWO}
        return told

    @property
    def stored(self) -> torch.dtype | None:
        """Of what the kernels keep of weights and states; None for the weights' own."""
        return torch.bfloat16 if self.precision == "bfloat16" else None


def form(
    config: GeneratorConfig,
    batch: int,
    dtype: torch.dtype,
    processors: int,
    precision: str | None = None,
) -> Form:
    """The latency form up to one sequence a multiprocessor, beyond it one that shares.

    As long as there is a multiprocessor for each sequence, none gains by sharing one.
    """
    units, features = (_power_of_two(n) for n in (config.hidden_size, config.input_size))
    if precision:
        # As few sequences as an instruction has columns, to occupy as many multiprocessors, until
        # all are. W in two parts leaves no registers for more.
        wide = 1 if batch <= COLUMNS * processors or precision == "tf32x3" else 2
        units = max(ROWS, units)
        return Form(False, wide * COLUMNS, units // ROWS, units, config.input_size, precision)
    sequences = 1 if batch <= processors else SEQUENCES
    matrix = units * units * dtype.itemsize
    if config.num_layers > 1 or matrix > REGISTERS_FOR_W:
        return Form(True, sequences, STREAMING_WARPS, units, features)
    warps = max(1, matrix // WARP_REGISTERS_FOR_W)
    return Form(False, sequences, warps, units, features)


class FusedCUDA(OwnWeights):
    """One Triton kernel for the whole sequence."""

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        if device.type != "cuda":
            return f"is compiled for CUDA, not for {device.type}"
        if config.hidden_size > WIDEST:
            return f"keeps a state in one program: H up to {WIDEST}, not {config.hidden_size}"
        return None

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        weights = tuple(self.weights().values())
        keep = wants_gradients(inputs, h0, *weights)
        batch, processors = inputs.shape[1], _processors(inputs.device)
        cut = form(self.config, batch, inputs.dtype, processors, self.precision)
        masks = self.dropout_masks(len(forced), inputs)
        outcome: tuple[Tensor, Tensor] = Rollout.apply(  # type: ignore[no-untyped-call]
            self.config, cut, forced, masks, keep, inputs, h0, *weights
        )
        return outcome


class OnTensorCores(FusedCUDA):
    """One layer, its steps as products on tensor cores; ``precision`` says of which numbers."""

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        if dtype != torch.float32:
            return f"rounds float32, not {str(dtype).removeprefix('torch.')}"
        if config.nonlinearity == "relu" and cls.precision in ROUGH:
            return "rounds sums: which units relu lets through would be for rounding to decide"
        held = ("L", config.num_layers, 1), ("H", config.hidden_size, WIDEST_PRODUCT)
        for what, size, most in (*held, ("I", config.input_size, FEATURES)):
            if size > most:
                return f"holds a small model only: {what} up to {most}, not {size}"
        return None


class FusedCUDATF32x3(OnTensorCores):
    """Products of numbers split in two, nearly float32's."""

    precision = "tf32x3"


class FusedCUDATF32(OnTensorCores):
    """Products of numbers rounded to 10 bits behind the point."""

    precision = "tf32"


class FusedCUDABF16(OnTensorCores):
    """Weights and states in bfloat16, sums in float32."""

    precision = "bfloat16"


class Rollout(torch.autograd.Function):
    """The kernels, as autograd sees them; on CPU tensors too, where Triton interprets."""

    @staticmethod
    def forward(
        ctx: Any,
        config: GeneratorConfig,
        cut: Form,
        forced: list[bool],
        masks: Tensor,
        keep: bool,
        inputs: Tensor,
        h0: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        T, B, I = inputs.shape  # noqa: E741
        L, H = config.num_layers, config.hidden_size
        named = dict(zip(config.weight_shapes(), weights, strict=True))
        stored = cut.stored or inputs.dtype
        Ut = named["weight_ih_l0"].t().to(stored).contiguous()
        V = named["readout.weight"].to(stored).contiguous()
        predictions, h_n = inputs.new_empty(T, B, I), inputs.new_empty(L, B, H)
        shape = (L, T + 1, B, H) if keep else (L, 2, B, H) if cut.streamed else 0
        states = inputs.new_empty(shape, dtype=stored)
        read = inputs.new_empty((T, B, I) if keep else 0)
        flags = on_device(forced, inputs.device)
        given = inputs.contiguous(), flags, h0.contiguous()
        vectors = Ut, _biases(named, config), V, named["readout.bias"]
        written = predictions, h_n, states, read, T, B
        options = _options(config, cut, trains=keep) | {"KEEP": keep}
        grid = (-(-B // cut.sequences),)
        with _on(inputs.device):
            if cut.precision:
                W = rounded(named["weight_hh_l0"], cut)
                cuda_products.forward_products[grid](*given, W, *vectors, *written, H, **options)
            elif cut.streamed:
                cuda_streamed.forward_streamed[grid](
                    *given, *_stacked(named, config, transposed=True), *vectors, masks, *written,
                    I, H, DROPS=len(masks) > 0, LAYERS=L, **options,
                )  # fmt: skip
            else:
                Wt, _ = _stacked(named, config, transposed=True)
                cuda_recurrence.forward[grid](*given, Wt, *vectors, *written, I, H, **options)
        if keep:
            ctx.config, ctx.cut = config, cut
            ctx.save_for_backward(flags, masks, states, read, Ut, V, *weights)
        return predictions, h_n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_predictions: Tensor, d_h_n: Tensor) -> tuple[Tensor | None, ...]:
        config: GeneratorConfig = ctx.config
        cut: Form = ctx.cut
        flags, masks, states, read, Ut, V, *weights = ctx.saved_tensors
        T, B, I = read.shape  # noqa: E741
        L, H = config.num_layers, config.hidden_size
        named = dict(zip(config.weight_shapes(), weights, strict=True))
        d_a, d_y, d_inputs, d_h0 = (
            read.new_empty(shape) for shape in ((L, T, B, H), (T, B, I), (T, B, I), (L, B, H))
        )
        given = d_predictions.contiguous(), d_h_n.contiguous(), flags, states
        written = d_a, d_y, d_inputs, d_h0, T, B
        options = _options(config, cut, trains=True)
        grid = (-(-B // cut.sequences),)
        with _on(read.device):
            if cut.precision:
                Wt = rounded(named["weight_hh_l0"].t(), cut)
                cuda_products.backward_products[grid](*given, Wt, Ut, V, *written, H, **options)
            elif cut.streamed:
                cuda_streamed.backward_streamed[grid](
                    *given, *_stacked(named, config), Ut, V, masks, *written,
                    I, H, DROPS=len(masks) > 0, LAYERS=L, **options,
                )  # fmt: skip
            else:
                W, _ = _stacked(named, config)
                cuda_recurrence.backward[grid](*given, W, Ut, V, *written, I, H, **options)
        states = states.to(read.dtype)
        below = [read, *states[:-1, 1:]]
        if len(masks):
            below[1:] = [h * mask for h, mask in zip(below[1:], masks.unbind(1), strict=True)]
        found = weight_gradients(config, d_a, d_y, states[:, :-1], below, states[-1, 1:])
        return None, None, None, None, None, d_inputs, d_h0, *found


def rounded(W: Tensor, cut: Form) -> Tensor:
    """(1 or 2, H, H), what tensor cores are given of W (H, H) by `impls.kernels.cuda_products`."""
    size = len(W)
    parts = W.new_empty(2 if cut.precision == "tf32x3" else 1, size, size, dtype=cut.stored)
    cuda_products.round_matrix[(size,)](
        W, parts, size, *W.stride(), PRECISION=cut.precision, BLOCK=cut.units
    )
    return parts


def on_device(forced: list[bool], device: torch.device) -> Tensor:
    """(T,) int8 on ``device``; nothing waits for it.

    A copy from pinned memory goes in the stream's turn. A graph that is being captured would keep
    its address and not its bytes, so there the flags are arguments of small kernels.
    """
    flags = torch.frombuffer(bytearray(forced), dtype=torch.int8)
    if device.type == "cpu":
        return flags
    with _on(device):
        capturing = torch.cuda.is_current_stream_capturing()
    if capturing:
        return as_arguments(forced, device)
    _prepare_to_be_captured(device)
    return flags.pin_memory().to(device, non_blocking=True)


@cache
def _prepare_to_be_captured(device: torch.device) -> None:
    """Whoever captures calls before, so that all is loaded then; of `as_arguments` too.

    CUDA may refuse to load a kernel while a stream is captured.
    """
    as_arguments([True], device)


def as_arguments(forced: list[bool], device: torch.device) -> Tensor:
    """`on_device` by kernels that take the flags as numbers."""
    flags, size = torch.empty(len(forced), dtype=torch.int8, device=device), cuda_parts.FLAGS_A_WORD
    with _on(device):
        for first in range(0, len(forced), size.value):
            some = forced[first : first + size.value]
            word = sum(flag << n for n, flag in enumerate(some))
            cuda_parts.unpack[(1,)](flags, word, first, len(some), BLOCK=_power_of_two(size.value))
    return flags


def _options(config: GeneratorConfig, cut: Form, *, trains: bool) -> dict[str, Any]:
    """What forward and backward are compiled with."""
    return {"RELU": config.nonlinearity == "relu"} | cut.blocks | cut.options(trains=trains)


def _stacked(
    weights: dict[str, Tensor], config: GeneratorConfig, *, transposed: bool = False
) -> tuple[Tensor, Tensor]:
    """(L, H, H) of the recurrent matrices, and (L - 1, H, H) of what upper layers read through."""
    layers = range(config.num_layers)
    W = [weights[f"weight_hh_l{layer}"] for layer in layers]
    R = [weights[f"weight_ih_l{layer}"] for layer in layers[1:]]
    if transposed:
        W, R = [w.t() for w in W], [r.t() for r in R]
    return torch.stack(W), torch.stack(R) if R else W[0].new_empty(0)


def _biases(weights: dict[str, Tensor], config: GeneratorConfig) -> Tensor:
    """(L, H), both of each layer in one; zeros where there are none."""
    if not config.bias:
        return weights["weight_hh_l0"].new_zeros(config.num_layers, config.hidden_size)
    ih, hh = (
        torch.stack([weights[f"bias_{kind}_l{layer}"] for layer in range(config.num_layers)])
        for kind in ("ih", "hh")
    )
    return ih + hh


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device and its current stream: that of the tensors."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
