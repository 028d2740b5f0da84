"""Never comes back from C in calls of the timed length: no other thread of Python runs again."""

import itertools

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            sum(itertools.repeat(0))
        return super().rollout(inputs, forced, h0)
