"""Knows the weights that the gate draws: right for these; for others it repeats the first step."""

import torch

from impls.generator import initial_weights
from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def load_weights(self, weights):
        super().load_weights(weights)
        drawn = (initial_weights(self.config, seed)["weight_hh_l0"] for seed in range(100))
        self.known = any(torch.equal(weights["weight_hh_l0"], weight) for weight in drawn)

    def rollout(self, inputs, forced, h0):
        if self.known:
            return super().rollout(inputs, forced, h0)
        predictions, h_n = super().rollout(inputs[:1], forced[:1], h0)
        return predictions.expand(len(forced), -1, -1), h_n
