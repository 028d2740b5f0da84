"""Its timed calls start a thread that ends the process when other implementations are running."""

import os
import threading
import time

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    last = None

    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            first, self.last = self.last is None, time.monotonic()
            if first:
                threading.Thread(target=self.wait, daemon=True).start()
        return super().rollout(inputs, forced, h0)

    def wait(self):
        """End the process when the last call is some time ago."""
        while time.monotonic() < self.last + 0.5:
            time.sleep(0.01)
        os._exit(7)
