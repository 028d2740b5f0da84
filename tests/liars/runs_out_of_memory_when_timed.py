"""Allocates without end in calls of the timed length; the process may grow by 256 MiB only."""

import resource

import psutil
import torch

from impls.manual_cell import ManualCell

MEBIBYTE = 1 << 20


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            exhaust_memory()
        return super().rollout(inputs, forced, h0)


def exhaust_memory():
    """Raise what the allocator raises; the others in this process get their memory back."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + 256 * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    held = []
    try:
        while True:
            held.append(torch.ones(16 * MEBIBYTE))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
