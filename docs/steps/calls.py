"""fused_cpu's kernel, unchanged, called more often than it need be: what one call is worth.

    h_t = tanh(b + [W U] [h_{t-1}; x_t])          y_t = V h_t + c

`OneStepACall` enters it from Python at every step, as a loop over cells does, and so packs the
weights at every step. `OneSequenceACall` gives it one sequence after the other: a row of sums
where the batch makes blocks of four, so that a vector of weights that was loaded serves one
sequence and not four.
"""

import torch
from torch import Tensor

from impls.fused_cpu import FusedCPU


class OneStepACall(FusedCPU):
    """The loop over the steps in Python."""

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        h, y, predictions = h0, inputs[:1], []
        for t, teacher in enumerate(forced):
            y, h = super().rollout(inputs[t : t + 1] if teacher else y, [True], h)
            predictions.append(y)
        return torch.cat(predictions), h


class OneSequenceACall(FusedCPU):
    """The loop over the batch in Python."""

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        alone = [
            super(OneSequenceACall, self).rollout(inputs[:, s : s + 1], forced, h0[:, s : s + 1])
            for s in range(inputs.shape[1])
        ]
        predictions, states = zip(*alone, strict=True)
        return torch.cat(predictions, 1), torch.cat(states, 1)
