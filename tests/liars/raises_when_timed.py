"""Raises in calls of the timed length."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            raise RuntimeError("out of kernels\nand a second line")
        return super().rollout(inputs, forced, h0)
