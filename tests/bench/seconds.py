"""Seconds that a limit can be held against also where other processes want the cores."""

import functools
import resource
import subprocess
import sys

LIBRARIES = "import numpy, pydantic, rich.table, typer"


def seconds_of_children() -> float:
    """Processor seconds of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@functools.cache
def seconds_of_libraries() -> float:
    """Processor seconds that a start takes before a line of ours has run, here and now."""

    def once() -> float:
        before = seconds_of_children()
        subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
        return seconds_of_children() - before

    once()  # writes the bytecode
    return min(once() for _ in range(3))


def limit(seconds: float, starts: float) -> float:
    """``seconds``, or on a slow or a busy machine ``starts`` times the start of its libraries."""
    return max(seconds, starts * seconds_of_libraries())
