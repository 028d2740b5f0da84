"""Whether a call waits for the GPU, as far as torch knows."""

import warnings
from contextlib import contextmanager

import torch


@contextmanager
def no_waits():
    """Whatever of torch's own waits for the GPU in here is an error."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # once a process torch says that the mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
