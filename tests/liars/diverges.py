"""Its third training call and all after it give NaN."""

from bench.recipes import RECIPES
from impls.manual_cell import ManualCell


class Liar(ManualCell):
    calls = 0

    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        if self.training and inputs.shape[1] == RECIPES["quick"].batch_size:
            self.calls += 1
            if self.calls >= 3:
                predictions = predictions * float("nan")
        return predictions, h_n
