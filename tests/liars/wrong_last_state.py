"""Right predictions, but where no gradient is asked for the last state is the first."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions, h_n if self.training else h0
