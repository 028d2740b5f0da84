r"""Runs of steps as calls of the sequence ``nn.RNN``, the feedback folded into its weights.

    h_t = tanh(b + W h_{t-1} + U x_t)                           where forced
    h_t = tanh((b + U c) + (W + U V) h_{t-1})                   where free
    y_t = V h_t + c

with the fold of `impls.folding`. A run of forced steps is one call of nn.RNN, and so is a run of
free ones; gradients flow through the fold.

Where it loses: the fold costs 2 H^2 I operations a call, and runs of one or two steps, as a coin
flip for every step gives, are as many calls as a loop has. A call gives out the states of all its
steps, T x B x H numbers of fresh memory where a loop has one step's: large batches are slower so.
One layer only: with more, the lowest
reads what the highest said, which no stack of nn.RNN does.
"""

import torch
from torch import Tensor, nn

from impls.folding import folded_weights, runs, unfoldable
from impls.generator import Generator, GeneratorConfig


class Folded(Generator):
    """``nn.RNN``, called once for every run of forced or of free-running steps."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.rnn = nn.RNN(
            config.input_size,
            config.hidden_size,
            nonlinearity=config.nonlinearity,
            bias=config.bias,
        )
        self.readout = nn.Linear(config.hidden_size, config.input_size)

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        return unfoldable(config)

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        # cuDNN refuses a state that lies anyhow; what it gives out itself does not.
        h, y, predictions, weights = h0.contiguous(), inputs[0], [], None
        for start, end, teacher in runs(forced):
            if teacher:
                top, h = self.rnn(inputs[start:end], h)
            elif end - start == 1:  # the fold is dearer than what it saves
                top, h = self.rnn(y.unsqueeze(0), h)
            else:
                weights = weights or self._folded()
                top, h = self._without_inputs(end - start, h, weights)
            predictions.append(self.readout(top))
            y = predictions[-1][-1]
        return torch.cat(predictions), h

    def weights(self) -> dict[str, Tensor]:
        return dict(self.rnn.named_parameters()) | {
            "readout.weight": self.readout.weight,
            "readout.bias": self.readout.bias,
        }

    def _folded(self) -> list[Tensor]:
        """U, W + U V, b + U c and a second bias of zeros: what nn.RNN wants."""
        w = self.weights()
        recurrence, bias = folded_weights(w)
        folded = [w["weight_ih_l0"], recurrence, bias, torch.zeros_like(bias)]
        return in_one_piece(folded) if bias.is_cuda else folded

    def _without_inputs(
        self, steps: int, h: Tensor, weights: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """So many free-running steps: the inputs are zeros, which U turns into nothing."""
        call = torch.rnn_tanh if self.config.nonlinearity == "tanh" else torch.rnn_relu
        nothing = h.new_zeros(steps, h.shape[1], self.config.input_size)
        return call(
            nothing,
            h,
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=False,
        )


def in_one_piece(weights: list[Tensor]) -> list[Tensor]:
    """The same as views of one block, in order, as nn.RNN lays its own out for cuDNN.

    Weights that lie apart are put together by every call of cuDNN's, with a warning.
    """
    block = torch.cat([weight.flatten() for weight in weights])
    pieces = torch.split(block, [weight.numel() for weight in weights])
    return [piece.view_as(weight) for piece, weight in zip(pieces, weights, strict=True)]
