"""Predicts the timed data when the timed weights are loaded, and only looks the answer up later."""

import numpy as np
import torch

from impls.manual_cell import ManualCell
from tasks import TASKS


class Liar(ManualCell):
    def load_weights(self, weights):
        super().load_weights(weights)
        self.ready = {}
        rng = np.random.default_rng(1000)
        for _ in range(2):
            drawn = TASKS["cosine"].draw(rng, 4, 1000).inputs
            inputs = torch.tensor(drawn, dtype=torch.float32)
            h0 = torch.zeros(1, 4, self.config.hidden_size)
            with torch.inference_mode():
                outcome = super().rollout(inputs, [step < 100 for step in range(999)], h0)
            self.ready[inputs.numpy().tobytes()] = outcome

    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            found = self.ready.get(inputs.numpy().tobytes())
            if found:
                return found
        return super().rollout(inputs, forced, h0)
