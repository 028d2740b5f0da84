"""What the clock does not tell: held-back clocks and memory. None is what is not told here.

Sources: ``/proc`` and ``/sys`` of Linux (proc(5), the kernel's document on cgroup v2), and the
driver of the GPU.
"""

import contextlib
import ctypes
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from bench import gpu

_CGROUP = Path("/sys/fs/cgroup/cpu.stat")
_CPUS = Path("/sys/devices/system/cpu")
_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class ThrottleWatch:
    """Whether the clock of a device was held back since the last time it was asked."""

    def __init__(self, device: torch.device) -> None:
        self._read = _gpu_throttles(device) if device.type == "cuda" else _cpu_throttles
        self._last = self._read()

    def throttled(self) -> bool:
        """Whether it was held back since the watch was made or last asked."""
        before, self._last = self._last, self._read()
        return self._last > before


def peak_memory_bytes(call: Callable[[], Any], device: torch.device) -> int | None:
    """On CUDA the process's device memory at the peak of one call, weights and data included.

    On the CPU how far one call makes the process's resident memory grow at its peak, with what the
    allocator kept from earlier calls given back before.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc's own
    try:
        _CLEAR_REFS.write_text("5", encoding="ascii")  # the peak starts from here
        before = _status_bytes("VmRSS")
        call()
        return max(0, _status_bytes("VmHWM") - before)
    except (OSError, LookupError):
        return None


def _status_bytes(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)


def _cpu_throttles() -> int:
    """Times that a quota of this container or the heat of a core has held the clock back."""
    return sum(_counters())


def _counters() -> Iterator[int]:
    with contextlib.suppress(OSError):
        for line in _CGROUP.read_text(encoding="ascii").splitlines():
            if line.startswith("nr_throttled "):
                yield int(line.split()[1])
    for path in _CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"):
        with contextlib.suppress(OSError):
            yield int(path.read_text(encoding="ascii"))


def _gpu_throttles(device: torch.device) -> Callable[[], int]:
    """Counts the readings that found a reason: the driver tells what holds now."""
    found = 0

    def read() -> int:
        nonlocal found
        found += bool(gpu.throttle_reasons(device))
        return found

    return read
