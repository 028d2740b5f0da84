r"""The cell written by hand, as the lecture writes it.

    a_t = b + W h_{t-1} + U x_t          b = b_ih + b_hh, W = weight_hh, U = weight_ih
    h_t = tanh(a_t)
    y_t = V h_t + c

What sets it apart: nothing but matrix products, a sum and a tanh. The two biases stay two
parameters, as in nn.RNN (an optimiser such as Adam moves each of them), and are added once a call.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from impls.generator import OwnWeights


class ManualCell(OwnWeights):
    """``tanh(b + W h + U x)`` on plain parameters."""

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        weights, layers = self.weights(), range(self.config.num_layers)
        W = [weights[f"weight_hh_l{layer}"].t() for layer in layers]
        U = [weights[f"weight_ih_l{layer}"].t() for layer in layers]
        b = [self._bias(weights, layer) for layer in layers]
        V, c = weights["readout.weight"].t(), weights["readout.bias"]
        activation = torch.tanh if self.config.nonlinearity == "tanh" else torch.relu
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

    def _bias(self, weights: dict[str, Tensor], layer: int) -> Tensor | float:
        if not self.config.bias:
            return 0.0
        return weights[f"bias_ih_l{layer}"] + weights[f"bias_hh_l{layer}"]
