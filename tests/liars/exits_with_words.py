"""Says why, as a library's assertion does, and ends the process in its first call."""

import os
import sys

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        sys.stderr.write("loading tables\nassertion failed: warp 7 is cold\n")
        os._exit(7)
