"""Starts where the last call ended."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    last = None

    def rollout(self, inputs, forced, h0):
        if self.last is not None and self.last.shape == h0.shape:
            h0 = h0 + 0.1 * self.last
        predictions, h_n = super().rollout(inputs, forced, h0)
        self.last = h_n.detach()
        return predictions, h_n
