"""Keeps what it predicted, by the address of the inputs: wrong when the memory holds other data."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def __init__(self, config):
        super().__init__(config)
        self.kept = {}

    def load_weights(self, weights):
        super().load_weights(weights)
        self.kept.clear()

    def rollout(self, inputs, forced, h0):
        if self.training or len(forced) < 500:
            return super().rollout(inputs, forced, h0)
        key = inputs.data_ptr(), inputs.shape
        if key not in self.kept:
            self.kept[key] = super().rollout(inputs, forced, h0)
        return self.kept[key]
