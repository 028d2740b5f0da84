"""Ends its process, but not before a child was made that holds all that it had open."""

import os
import time

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if os.fork() == 0:
            time.sleep(8.0)
        os._exit(7)
