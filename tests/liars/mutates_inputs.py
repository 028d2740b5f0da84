"""Writes its predictions into the caller's inputs."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        if not inputs.requires_grad:
            inputs.copy_(predictions)
        return predictions, h_n
