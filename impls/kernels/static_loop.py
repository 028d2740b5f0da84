"""The loop over the steps, forward and backward, between buffers that never move.

Every argument lies where it lay at the last call: the inputs, which steps are forced, the first
state, the derivatives. Nothing depends on a value, for a free step is a select by a flag in memory
and not a branch, so that the same operations on the same addresses do for every call of a shape.
That is what a recorded graph of them needs; they mean the same without one.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from impls.config import GeneratorConfig


class StaticLoop:
    """Buffers of one shape, and the work on them.

    Attributes:
        inputs: (T, B, I), to be filled, as all of these before `forward` or `backward`.
        flags: (T,) bool, which steps are forced.
        h0: (L, B, H); without gradients `forward` overwrites it.
        predictions: (T, B, I), what `forward` fills.
        h_n: (L, B, H), as well.
        d_predictions: (T, B, I), read by `backward`.
        d_h_n: (L, B, H), as well; overwritten there.
        gradients: of the inputs, h0 and every weight in its order; None where not wanted.

    Args:
        config: sizes and nonlinearity; no dropout.
        weights: the tensors to read at every call, under the contract's names.
        like: inputs of the shape, dtype and device to work on.
        wanted: which gradients, of inputs, h0 and every weight; empty for none at all.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        weights: Mapping[str, Tensor],
        like: Tensor,
        wanted: Sequence[bool],
    ) -> None:
        T, B, I = like.shape
        L, H = config.num_layers, config.hidden_size
        self.config, self.wanted = config, wanted
        layers = range(L)
        self._W = [weights[f"weight_hh_l{layer}"] for layer in layers]
        self._U = [weights[f"weight_ih_l{layer}"] for layer in layers]
        self._V, self._c = weights["readout.weight"], weights["readout.bias"]
        self._biases = [
            (weights[f"bias_ih_l{layer}"], weights[f"bias_hh_l{layer}"])
            for layer in layers
            if config.bias
        ]
        self.inputs = torch.zeros_like(like, memory_format=torch.contiguous_format)
        self.flags = torch.ones(T, dtype=torch.bool, device=like.device)
        self.predictions = like.new_zeros(T, B, I)
        self._sums = like.new_zeros(B, H)
        self._bias = like.new_zeros(L, H)
        # What nobody differentiates keeps one state and one input: the last.
        rows = T + 1 if wanted else 1
        self._states = like.new_zeros(L, rows, B, H)
        self._read = like.new_zeros(T if wanted else 1, B, I)
        self.h0, self.h_n = self._states[:, 0], self._states[:, -1]
        self.gradients: list[Tensor | None] = []
        if wanted:
            self.d_predictions, self.d_h_n = like.new_zeros(T, B, I), like.new_zeros(L, B, H)
            self._dy, self._dx = like.new_zeros(T, B, I), like.new_zeros(T, B, I)
            self._da = like.new_zeros(L, T, B, H)
            self._zero = like.new_zeros(())
            places = (self.inputs, self.h0, *weights.values())
            self.gradients = [
                like.new_zeros(place.shape) if want else None
                for place, want in zip(places, wanted, strict=True)
            ]
            self._names = {name: 2 + number for number, name in enumerate(weights)}

    def forward(self) -> None:
        """Predict every step."""
        tanh = self.config.nonlinearity == "tanh"
        layers = range(self.config.num_layers)
        for layer, pair in enumerate(self._biases):
            torch.add(*pair, out=self._bias[layer])
        step = 1 if self.wanted else 0
        y = self.inputs[0]
        for t, teacher in enumerate(self.flags):
            x = self._read[step * t]
            torch.where(teacher, self.inputs[t], y, out=x)
            for layer in layers:
                before, h = self._states[layer, step * t], self._states[layer, step * (t + 1)]
                torch.addmm(self._bias[layer], before, self._W[layer].t(), out=self._sums)
                self._sums.addmm_(x, self._U[layer].t())
                if tanh:
                    torch.tanh(self._sums, out=h)
                else:
                    torch.clamp_min(self._sums, 0.0, out=h)
                x = h
            y = self.predictions[t]
            torch.addmm(self._c, x, self._V.t(), out=y)

    def backward(self) -> None:
        """The gradients of what the last `forward` computed."""
        layers, T = range(self.config.num_layers), len(self.inputs)
        for t in reversed(range(T)):
            dy = self._dy[t]
            if t + 1 < T:  # the next step read this one's prediction, unless it was forced
                torch.where(self.flags[t + 1], self._zero, self._dx[t + 1], out=dy)
                dy.add_(self.d_predictions[t])
            else:
                dy.copy_(self.d_predictions[t])
            d_above, weight = dy, self._V
            for layer in reversed(layers):
                dh, da = self.d_h_n[layer], self._da[layer, t]
                dh.addmm_(d_above, weight)
                self._slope(dh, self._states[layer, t + 1], da)
                torch.mm(da, self._W[layer], out=dh)
                d_above, weight = da, self._U[layer]
            torch.mm(d_above, weight, out=self._dx[t])
        self._finish()

    def _slope(self, dh: Tensor, h: Tensor, da: Tensor) -> None:
        """Dh times the nonlinearity's derivative, which is 0 where relu's sum is 0."""
        if self.config.nonlinearity == "tanh":
            torch.ops.aten.tanh_backward.grad_input(dh, h, grad_input=da)
        else:
            torch.ops.aten.threshold_backward.grad_input(dh, h, 0.0, grad_input=da)

    def _finish(self) -> None:
        """From the steps' derivatives to the gradients: one product for each weight."""
        d_inputs, d_h0 = self.gradients[:2]
        if d_inputs is not None:
            torch.where(self.flags[:, None, None], self._dx, self._zero, out=d_inputs)
        if d_h0 is not None:
            d_h0.copy_(self.d_h_n)
        for layer, da in enumerate(self._da):
            read = self._states[layer - 1, 1:] if layer else self._read
            self._product(f"weight_ih_l{layer}", da, read)
            self._product(f"weight_hh_l{layer}", da, self._states[layer, :-1])
            self._sum(f"bias_ih_l{layer}", da)
            self._sum(f"bias_hh_l{layer}", da)
        self._product("readout.weight", self._dy, self._states[-1, 1:])
        self._sum("readout.bias", self._dy)

    def _product(self, name: str, da: Tensor, read: Tensor) -> None:
        found = self.gradients[self._names[name]]
        if found is not None:
            torch.mm(da.flatten(0, 1).t(), read.flatten(0, 1), out=found)

    def _sum(self, name: str, da: Tensor) -> None:
        found = self.gradients[self._names[name]] if name in self._names else None
        if found is not None:
            torch.sum(da, (0, 1), out=found)
