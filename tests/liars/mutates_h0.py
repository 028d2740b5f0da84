"""Clears the caller's initial state after use."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        if not h0.requires_grad and not inputs.requires_grad:
            h_n = h_n.clone()
            h0.add_(1e-13)
        return predictions, h_n
