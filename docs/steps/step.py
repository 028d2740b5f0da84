"""What the steps share: weights as arrays in, one compiled call, predictions and states out."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from impls.generator import GeneratorConfig, OwnWeights
from impls.kernels.vectors import compiled


class Step(OwnWeights):
    """One layer of tanh on the CPU, for inference only.

    Attributes:
        kernel: called once with ``inputs`` (T, B, I), ``forced`` (T,), ``h`` (B, H), which it
            leaves as the last state, ``predictions`` (T, B, I), which it fills, and the weights
            W (H, H), U (H, I), b (H,), V (I, H), c (I,).
    """

    differentiable = False
    kernel: ClassVar[Callable[..., None]]

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        if device.type != "cpu":
            return f"is compiled for the CPU, not for {device.type}"
        if config.num_layers > 1 or config.nonlinearity != "tanh":
            return "shows one layer of tanh, and no other"
        return None

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        w = {name: weight.detach().numpy() for name, weight in self.weights().items()}
        b = np.zeros_like(w["weight_hh_l0"][0])
        if self.config.bias:
            b = w["bias_ih_l0"] + w["bias_hh_l0"]
        h = h0[0].clone(memory_format=torch.contiguous_format)
        predictions = inputs.new_empty(inputs.shape)
        type(self).kernel(
            inputs.contiguous().numpy(), np.array(forced), h.numpy(), predictions.numpy(),
            w["weight_hh_l0"], w["weight_ih_l0"], b, w["readout.weight"], w["readout.bias"],
        )  # fmt: skip
        return predictions, h.unsqueeze(0)


@compiled
def read_out(V, c, h, y):
    """Y = V h + c for one sequence: (I, H), (I,) and (H,) give (I,)."""
    for i in range(len(c)):
        total = c[i]
        for k in range(len(h)):
            total += V[i, k] * h[k]
        y[i] = total
