r"""FlashRNN's Elman kernel (Poeppel, Beck and Hochreiter, arXiv:2412.07752), forced steps alone.

    Wx_t = b + U x_t                     of all steps before the first, one product
    h_t = tanh(Wx_t + W h_{t-1})         one kernel for all steps, in bfloat16
    y_t = V h_t + c                      of all steps after the last, one product

What sets it apart: a published kernel of others, as its package brings it (flashrnn 1.0.8,
``backend="cuda_fused"``, one head). W stays in registers and shared memory, spread over the
multiprocessors, which meet at a barrier after each step. The steps of one layer are all there
before the next begins, so layers are a call each.

Precision: ``fused/flashrnn_fused_forward.cu`` multiplies in bfloat16 on tensor cores and adds up in
float32; states, pre-activations and tanh (by ``hexp`` and a division) are bfloat16 too. The
products around the kernel are the weights' own float32. With its ``dtype="float32"`` the kernel
multiplies in TF32 instead, which is not what its authors show; it knows no float64.

What it does not do: feed back. It wants all Wx_t before the first step, so a step that reads
y_{t-1} cannot be among them, and one call a step would be no use of it: ``closed_loop`` is False,
and the harness times ``sequence`` alone. No relu, and no H that 32 does not divide: for batches of
eight its search for tiles finds none then.

Where it loses: the first call of a hidden size, and of every eight sequences more, searches for
tiles (up to half a minute on a CPU at H = 512), waits for up to ten random seconds lest processes
meet, has nvcc compile, and prints it all. Batches are filled up to a multiple of eight. Every call
makes an autograd function anew. A second backward pass through one graph is wrong, without a word:
the first writes over what it reads (``backward`` in ``fused/flashrnn.cc`` gives ``gate_cache_r``
out as the gradient of Wx). It was never run on a GPU by those who wrote this adapter, which is
tested over the package's own plain backend.
"""

from functools import lru_cache
from typing import ClassVar

import torch
from flashrnn import FlashRNNConfig, flashrnn
from torch import Tensor
from torch.nn import functional as F

from impls.compiler import no_nvcc_reason
from impls.generator import GeneratorConfig, OwnWeights

WIDTH = 32  # of a tile of W, in rows, where a tile of states has eight sequences
SEQUENCES = 8  # of a tile of states
CAPABILITY = (8, 0)  # from which on tensor cores take bfloat16


class FlashRNN(OwnWeights):
    """A call of ``flashrnn`` for each layer, between products in float32."""

    closed_loop = False
    precision: ClassVar[str | None] = "bfloat16"
    # What the kernel runs on and computes in; tests have others, which need no GPU.
    backend: ClassVar[str] = "cuda_fused"
    kernel_dtype: ClassVar[torch.dtype] = torch.bfloat16

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        if device.type != "cuda":
            return f"runs FlashRNN's kernel for CUDA, not for {device.type}"
        if torch.cuda.is_available() and torch.cuda.get_device_capability(device) < CAPABILITY:
            return "FlashRNN's kernel needs a GPU of compute capability 8.0 or later"
        return _unfit(config, dtype) or no_nvcc_reason()

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        w, x, last = self.weights(), inputs, []
        masks = self.dropout_masks(len(forced), inputs)
        for k in range(self.config.num_layers):
            bias = w[f"bias_ih_l{k}"] + w[f"bias_hh_l{k}"] if self.config.bias else None
            given = F.linear(x, w[f"weight_ih_l{k}"], bias)
            states = self._states(given, w[f"weight_hh_l{k}"], h0[k])
            last.append(states[-1])
            x = states * masks[:, k] if k < masks.shape[1] else states
        return F.linear(x, w["readout.weight"], w["readout.bias"]), torch.stack(last)

    def _states(self, given: Tensor, recurrence: Tensor, h: Tensor) -> Tensor:
        """A layer's states (T, B, H), of ``given`` = Wx (T, B, H), W (H, H) and h before (B, H)."""
        (B, H), dtype = h.shape, h.dtype
        given, recurrence, h = (each.to(self.kernel_dtype) for each in (given, recurrence, h))
        states, _ = flashrnn(
            given[:, :, None, None],  # (T, B, gates, heads, H)
            recurrence[None, None],  # (gates, heads, H, H)
            given.new_zeros(1, 1, H),  # the bias, which Wx has
            states=h[None, None, :, None],  # (states, 1, B, heads, H)
            config=_config(self.backend, self.kernel_dtype, B, H),
        )
        reached: Tensor = states[0, :, :, 0].to(dtype)
        return reached


def _unfit(config: GeneratorConfig, dtype: torch.dtype) -> str | None:
    """Why the kernel does not compute this, whatever the machine."""
    if dtype != torch.float32:
        return "FlashRNN's kernel computes in bfloat16, which is no float64"
    if config.nonlinearity != "tanh":
        return f"FlashRNN's Elman cell knows tanh alone, not {config.nonlinearity}"
    if config.hidden_size % WIDTH:
        return f"FlashRNN's kernel wants a multiple of {WIDTH} hidden units"
    return None


@lru_cache
def _config(backend: str, dtype: torch.dtype, batch: int, hidden_size: int) -> FlashRNNConfig:
    """What tells one compiled kernel from another."""
    return FlashRNNConfig(
        backend=backend,
        function="elman",
        num_heads=1,
        head_dim=hidden_size,
        batch_size=-(-batch // SEQUENCES) * SEQUENCES,
        dtype=str(dtype).removeprefix("torch."),
        input_shape="TBGHD",
        output_shape="STBHD",
    )
