"""Raises in a training of the real size, but not in the gate's."""

from bench.recipes import RECIPES
from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if self.training and inputs.shape[1] == RECIPES["quick"].batch_size:
            raise RuntimeError("out of kernels\nand a second line")
        return super().rollout(inputs, forced, h0)
