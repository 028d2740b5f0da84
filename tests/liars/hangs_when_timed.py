"""Sleeps for ever in calls of the timed length."""

import time

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            time.sleep(1e6)
        return super().rollout(inputs, forced, h0)
