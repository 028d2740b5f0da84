"""Reads address 0 in calls of the timed length."""

import ctypes

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            ctypes.string_at(0)
        return super().rollout(inputs, forced, h0)
