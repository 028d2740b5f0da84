r"""The cell written by hand, as the lecture writes it.

    a_t = b + W h_{t-1} + U x_t          b = b_ih + b_hh, W = weight_hh, U = weight_ih
    h_t = tanh(a_t)
    y_t = V h_t + c

What sets it apart: nothing but matrix products, a sum and a tanh. The two biases stay two
parameters, as in nn.RNN (an optimiser such as Adam moves each of them), and are added once a call.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from impls import sequences
from impls.generator import OwnWeights


class ManualCell(OwnWeights):
    """``tanh(b + W h + U x)`` on plain parameters."""

    bidirectional = True

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        weights, layers = self.weights(), range(self.config.num_layers)
        W = [weights[f"weight_hh_l{layer}"].t() for layer in layers]
        U = [weights[f"weight_ih_l{layer}"].t() for layer in layers]
        b = [self._bias(weights, f"l{layer}") for layer in layers]
        V, c = weights["readout.weight"].t(), weights["readout.bias"]
        activation = self._activation()
        dropout = self.config.dropout

        h, y, predictions = list(h0.unbind(0)), inputs[0], []
        for t, teacher in enumerate(forced):
            x = inputs[t] if teacher else y
            for layer in layers:
                if layer and dropout:
                    x = F.dropout(x, dropout, self.training)
                a = b[layer] + h[layer] @ W[layer] + x @ U[layer]
                x = h[layer] = activation(a)
            y = x @ V + c
            predictions.append(y)
        return torch.stack(predictions), torch.stack(h)

    def both_ways(self, given: PackedSequence, h0: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.weights()
        steps = [self._step(weights, cell) for cell in self.config.cells]
        drop = partial(F.dropout, p=self.config.dropout, training=self.training)
        top, h_n = sequences.both_ways(steps, drop, given, h0)
        return top @ weights["readout.weight"].t() + weights["readout.bias"], h_n

    def _step(self, weights: dict[str, Tensor], cell: str) -> sequences.Step:
        """(x, h) -> h of one direction of one layer."""
        W, U = weights[f"weight_hh_{cell}"].t(), weights[f"weight_ih_{cell}"].t()
        b, activation = self._bias(weights, cell), self._activation()
        return lambda x, h: activation(b + h @ W + x @ U)

    def _activation(self) -> Callable[[Tensor], Tensor]:
        return torch.tanh if self.config.nonlinearity == "tanh" else torch.relu

    def _bias(self, weights: dict[str, Tensor], cell: str) -> Tensor | float:
        if not self.config.bias:
            return 0.0
        return weights[f"bias_ih_{cell}"] + weights[f"bias_hh_{cell}"]
