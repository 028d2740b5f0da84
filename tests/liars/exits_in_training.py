"""Ends the process in a training of the real size."""

import os

from bench.recipes import RECIPES
from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if self.training and inputs.shape[1] == RECIPES["quick"].batch_size:
            os._exit(7)
        return super().rollout(inputs, forced, h0)
