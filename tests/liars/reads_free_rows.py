"""Reads the true value where it must not: its predictions look better than they are."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        return super().rollout(inputs, [True] * len(forced), h0)
