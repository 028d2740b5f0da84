"""Computes the first eight sequences of a large batch, and hands the eighth out for all others."""

import torch

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        others = inputs.shape[1] - 8
        if self.training or len(forced) < 500 or others <= 0:
            return super().rollout(inputs, forced, h0)
        predictions, h_n = super().rollout(inputs[:, :8], forced, h0[:, :8])
        return tuple(
            torch.cat([part, part[:, 7:].expand(-1, others, -1)], dim=1)
            for part in (predictions, h_n)
        )
