"""Predicts NaN at the end of calls of the timed length."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        if len(forced) == 999 and not self.training:
            predictions[-1] = float("nan")
        return predictions, h_n
