"""Stops 200 steps after the last forced one and repeats its prediction: loops often settle."""

import torch

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        steps = sum(forced) + 200
        if self.training or len(forced) < 500 or len(forced) <= steps:
            return super().rollout(inputs, forced, h0)
        predictions, h_n = super().rollout(inputs[:steps], forced[:steps], h0)
        rest = predictions[-1:].expand(len(forced) - steps, -1, -1)
        return torch.cat([predictions, rest]), h_n
