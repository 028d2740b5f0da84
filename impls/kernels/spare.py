"""Room for what the forward pass keeps, taken from the last call where that has let go of it.

Memory that is fresh from the system costs a page fault for every page at its first touch, and on a
virtual machine often a second one in the host: 50 MB of states can cost as much as the arithmetic
on them. One block is kept between calls. As with the interpreter's own free lists, a full garbage
collection gives it back to the system.
"""

import gc
import math
import weakref
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from impls.kernels.vectors import VECTOR_BYTES

# Bytes from which on a block comes from NumPy, which asks the system for large pages, and is kept.
LARGE = 1 << 22

# At most one block. Its list is only ever changed by single steps that no other thread can split.
_spare: list[NDArray[np.uint8]] = []


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Room of ``like``'s dtype on the CPU, not initialised, that begins where a vector may."""
    size = math.prod(shape) * like.itemsize
    if size < LARGE:
        return like.new_empty(shape)
    block = _block(size + VECTOR_BYTES)
    skip = -block.ctypes.data % VECTOR_BYTES
    view = block[skip : skip + size]
    # The tensor holds the view, and the view's end, not the block's, is the end of the tensor.
    weakref.finalize(view, _keep, block).atexit = False
    return torch.from_numpy(view).view(like.dtype).view(shape)


def _block(size: int) -> NDArray[np.uint8]:
    """At least ``size`` bytes, and less than twice as many."""
    try:
        block = _spare.pop()
    except IndexError:
        return np.empty(size, np.uint8)
    return block if size <= block.nbytes < 2 * size else np.empty(size, np.uint8)


def _keep(block: NDArray[np.uint8]) -> None:
    _spare[:] = [block]


def _give_back(phase: str, info: dict[str, Any]) -> None:
    if phase == "start" and info["generation"] == 2:
        _spare.clear()


gc.callbacks.append(_give_back)
