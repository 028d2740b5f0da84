"""Ends the process when known memory holds other data: after the warm-up, in the first round."""

import os

import torch

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def __init__(self, config):
        super().__init__(config)
        self.first = {}

    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            known = self.first.setdefault(inputs.data_ptr(), inputs.clone())
            if not torch.equal(known, inputs):
                os._exit(7)
            # At once: blocks of many calls get memory of their own when the warm-up is over, and
            # blocks of few, which a busy machine makes of slow calls, would keep that of before.
            return torch.zeros_like(inputs), h0
        return super().rollout(inputs, forced, h0)
