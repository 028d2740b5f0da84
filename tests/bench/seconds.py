"""Seconds that a limit can be held against also where other processes want the cores."""

import resource


def seconds_of_children() -> float:
    """Processor seconds of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
