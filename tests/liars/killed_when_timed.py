"""Dies as the system kills when memory runs out, in calls of the timed length."""

import os
import signal

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().rollout(inputs, forced, h0)
