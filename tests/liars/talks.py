"""Prints through every door there is, on every call."""

import os
import sys

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        sys.stdout.write("a word of Python's\n")
        sys.stdout.flush()
        sys.stderr.write("a word of a warning's\n")
        os.write(1, b"a word of C's\n")
        return super().rollout(inputs, forced, h0)
