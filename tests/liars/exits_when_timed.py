"""Ends the process in calls of the timed length."""

import os

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            os._exit(7)
        return super().rollout(inputs, forced, h0)
