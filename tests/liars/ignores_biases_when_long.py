"""Leaves the biases out of calls longer than the gate's: the timed weights' biases are zero."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def _bias(self, weights, layer):
        return 0.0 if self.long else super()._bias(weights, layer)

    def rollout(self, inputs, forced, h0):
        self.long = len(forced) >= 500
        return super().rollout(inputs, forced, h0)
