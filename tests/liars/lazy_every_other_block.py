"""Stops early in every other block: it sees that the first of a block's data are new."""

import torch

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def __init__(self, config):
        super().__init__(config)
        self.first, self.lazy = None, False

    def rollout(self, inputs, forced, h0):
        if self.training or len(forced) < 500:
            return super().rollout(inputs, forced, h0)
        if inputs.storage_offset() == 0 and not (
            self.first is not None and torch.equal(self.first, inputs)
        ):
            self.first, self.lazy = inputs.clone(), not self.lazy
        if not self.lazy:
            return super().rollout(inputs, forced, h0)
        predictions, h_n = super().rollout(inputs[:110], forced[:110], h0)
        return torch.cat([predictions, predictions[-1:].expand(len(forced) - 110, -1, -1)]), h_n
