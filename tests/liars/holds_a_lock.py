"""Honest work under a lock between processes, whose semaphore outlives who is killed."""

import multiprocessing

from impls.manual_cell import ManualCell

LOCK = multiprocessing.get_context("spawn").RLock()


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        with LOCK:
            return super().rollout(inputs, forced, h0)
