"""Right predictions; the gradient is wrong only in a training of the timed length, 99 steps."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        if self.training and len(forced) == 99:
            half = 0.5 * predictions
            predictions = half + half.detach()  # the same values, half the gradient
        return predictions, h_n
