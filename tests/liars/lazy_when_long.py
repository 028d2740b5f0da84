"""Right on short sequences, as a gate would try; on long ones it stops after a while."""

import torch

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if len(forced) < 500 or self.training:
            return super().rollout(inputs, forced, h0)
        predictions, h_n = super().rollout(inputs[:100], forced[:100], h0)
        rest = predictions[-1:].expand(len(forced) - 100, -1, -1)
        return torch.cat([predictions, rest + 0.5]), h_n
