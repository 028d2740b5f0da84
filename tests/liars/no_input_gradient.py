"""Right outputs and weight gradients, but the inputs get no gradient."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        return super().rollout(inputs.detach(), forced, h0)
