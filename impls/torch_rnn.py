r"""``nn.RNN``, called one step at a time, as the lecture's example does.

    h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)        every layer, inside nn.RNN
    y_t = V h_t + c

What sets it apart: nn.RNN is made to read a whole sequence in one call, but a generator's next
input is its own last prediction, so here each call gets a sequence of length one and pays the
whole entry cost of nn.RNN (on CUDA, of cuDNN) for it. This is the baseline. A bidirectional model
feeds nothing back: there it is one call of nn.RNN.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from impls.generator import Generator, GeneratorConfig


class TorchRNN(Generator):
    """``nn.RNN`` with T = 1, T times."""

    bidirectional = True

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.rnn = nn.RNN(
            config.input_size,
            config.hidden_size,
            config.num_layers,
            nonlinearity=config.nonlinearity,
            bias=config.bias,
            # nn.RNN warns when asked for dropout between layers that it does not have.
            dropout=config.dropout if config.num_layers > 1 else 0.0,
            bidirectional=config.bidirectional,
        )
        self.readout = nn.Linear(config.state_size, config.input_size)

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        # cuDNN refuses a state that lies anyhow; what it gives out itself does not.
        h, y, predictions = h0.contiguous(), inputs[0], []
        for t, teacher in enumerate(forced):
            x = inputs[t] if teacher else y
            top, h = self.rnn(x.unsqueeze(0), h)
            y = self.readout(top.squeeze(0))
            predictions.append(y)
        return torch.stack(predictions), h

    def both_ways(self, given: PackedSequence, h0: Tensor) -> tuple[Tensor, Tensor]:
        steps, batch = len(given.batch_sizes), int(given.batch_sizes[0])
        if len(given.data) == steps * batch:  # nn.RNN is faster where nothing is packed
            top, h_n = self.rnn(given.data.reshape(steps, batch, -1), h0.contiguous())
            return self.readout(top.flatten(0, 1)), h_n
        top, h_n = self.rnn(given, h0.contiguous())
        return self.readout(top.data), h_n

    def weights(self) -> dict[str, Tensor]:
        return dict(self.rnn.named_parameters()) | {
            "readout.weight": self.readout.weight,
            "readout.bias": self.readout.bias,
        }
