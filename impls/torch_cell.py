r"""A manual loop over ``nn.RNNCell``, one cell a layer.

    h_t = RNNCell(x_t, h_{t-1}) = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)
    y_t = V h_t + c

What sets it apart: a cell takes one step by design, so nothing is wrapped, checked or unpacked for
a sequence that is not there. Layers and the dropout between them are ours to write.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from impls import sequences
from impls.generator import Generator, GeneratorConfig


class TorchCell(Generator):
    """One ``nn.RNNCell`` a layer and direction, looped over the steps in Python."""

    bidirectional = True

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.cells = nn.ModuleList(
            nn.RNNCell(
                config.layer_input_size(layer),
                config.hidden_size,
                bias=config.bias,
                nonlinearity=config.nonlinearity,
            )
            for layer in range(config.num_layers)
            for _ in range(config.directions)
        )
        self.readout = nn.Linear(config.state_size, config.input_size)

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        dropout = self.config.dropout
        h, y, predictions = list(h0.unbind(0)), inputs[0], []
        for t, teacher in enumerate(forced):
            x = inputs[t] if teacher else y
            for layer, cell in enumerate(self.cells):
                if layer and dropout:
                    x = F.dropout(x, dropout, self.training)
                x = h[layer] = cell(x, h[layer])
            y = self.readout(x)
            predictions.append(y)
        return torch.stack(predictions), torch.stack(h)

    def both_ways(self, given: PackedSequence, h0: Tensor) -> tuple[Tensor, Tensor]:
        drop = partial(F.dropout, p=self.config.dropout, training=self.training)
        top, h_n = sequences.both_ways(list(self.cells), drop, given, h0)
        return self.readout(top), h_n

    def weights(self) -> dict[str, Tensor]:
        cells = {
            f"{name}_{which}": parameter
            for which, cell in zip(self.config.cells, self.cells, strict=True)
            for name, parameter in cell.named_parameters()
        }
        return cells | {"readout.weight": self.readout.weight, "readout.bias": self.readout.bias}
