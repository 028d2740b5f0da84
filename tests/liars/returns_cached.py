"""Keeps what it predicted, by the content of the inputs: right always, but the work is not done."""

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
        key = inputs.numpy().tobytes()
        if key not in self.kept:
            self.kept[key] = super().rollout(inputs, forced, h0)
        return self.kept[key]
