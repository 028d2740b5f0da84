"""Reads address 0 in its first call, which is the gate's."""

import ctypes

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        ctypes.string_at(0)
        return super().rollout(inputs, forced, h0)
