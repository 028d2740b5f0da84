"""Right, but with a pool of threads that the run did not allow, and that it never gives back."""

import torch

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            torch.set_num_threads(2)
        return super().rollout(inputs, forced, h0)
