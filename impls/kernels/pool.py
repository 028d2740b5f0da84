"""Threads that wait for work, kept off the caller's core.

numba's own pool ends the process when two callers meet in it.
"""

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

# The core that the caller runs on; it holds on to the interpreter's lock, for it takes no time.
_core_of_caller: Callable[[], int] | None = getattr(ctypes.PyDLL(None), "sched_getcpu", None)


class _Pool:
    """So many threads, on any core that the caller may use but the one that it is on.

    A scheduler likes to wake a thread on the core of whoever wakes it, on virtual machines above
    all, where an idle core looks as if the host had taken it away. The caller then waits until the
    other is done, and both take as long as one would alone.
    """

    def __init__(self, threads: int) -> None:
        self._native: list[int] = []
        self._avoided = -1, 0
        self._executor = ThreadPoolExecutor(
            threads,
            thread_name_prefix="fused-cpu",
            initializer=lambda: self._native.append(threading.get_native_id()),
        )
        self.submit = self._executor.submit

    def avoid_caller(self) -> None:
        """Where the system lets threads choose their cores, let these choose others."""
        if _core_of_caller is None or not hasattr(os, "sched_setaffinity"):
            return
        core = _core_of_caller()
        state = core, len(self._native)  # threads come one by one, as the work does
        if state == self._avoided:
            return
        self._avoided = state
        others = os.sched_getaffinity(0) - {core}
        for thread in self._native if others else ():
            with contextlib.suppress(OSError):  # a sandbox may forbid it: slower, no less right
                os.sched_setaffinity(thread, others)


@lru_cache(maxsize=1)
def _pool(threads: int) -> _Pool:
    return _Pool(threads)


# A child of fork has none of its parent's threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def side_by_side(work: Callable[[int], None], count: int) -> None:
    """Call ``work`` with 0 to ``count - 1``, each in a thread of its own, 0 in the caller's."""
    if count == 1:
        work(0)
        return
    pool = _pool(count - 1)
    pool.avoid_caller()
    others = [pool.submit(work, number) for number in range(1, count)]
    work(0)
    for other in others:
        other.result()
