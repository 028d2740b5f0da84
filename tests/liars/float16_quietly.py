"""Multiplies in float16 and returns float32, as if nothing had happened."""

import torch

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        with torch.autocast("cpu", dtype=torch.float16):
            predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions.float(), h_n.float()
