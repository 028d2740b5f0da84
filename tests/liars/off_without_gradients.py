"""Computes no gradients, and no right predictions either."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    differentiable = False

    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions + 1e-3, h_n
