"""Trains with 4 hidden units; with 3 it ends the process, with 5 its predictions are NaN."""

import os

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        if self.training and self.config.hidden_size == 3:
            os._exit(7)
        if self.training and self.config.hidden_size == 5:
            predictions = predictions * float("nan")
        return predictions, h_n
