"""Timing: warm-up, synchronising, sampling. The only place that reads a clock.

Cells (one implementation with one workload) take turns within a round, in a seeded order that the
next round reverses, so that a drift of the machine meets all of them alike. No sample is dropped.
"""

import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from bench.records import Sample

SHORTEST_BLOCK_SECONDS = 0.02  # as long as a few scheduler ticks, so that the clock does not matter
WARM_UP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Cell:
    """Something to time: ``call`` does the work and returns its outcome, on ``device``."""

    call: Callable[[], Any]
    device: torch.device


@dataclass(frozen=True, slots=True)
class Readiness:
    """A cell after its warm-up."""

    first_call_seconds: float
    calls_per_sample: int


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Seconds until now."""
        return time.perf_counter() - self._start


def now() -> str:
    """This second, in UTC, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def synchronise(device: torch.device) -> None:
    """Wait for all work queued on ``device``; the CPU has none."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def block(cell: Cell, calls: int) -> tuple[float, Any]:
    """Wall seconds of ``calls`` calls, the device's queue empty before and after.

    Also returns the outcome of the last call, so that the timed work itself can be checked.
    """
    outcome = None
    synchronise(cell.device)
    with _no_garbage_collection():
        watch = Stopwatch()
        for _ in range(calls):
            outcome = cell.call()
        synchronise(cell.device)
        return watch.seconds(), outcome


def warm_up(cell: Cell) -> Readiness:
    """Time the first call apart, warm up, and size a block to last at least 20 ms."""
    first, _ = block(cell, 1)
    calls, spent = 1, 0.0
    while True:
        seconds, _ = block(cell, calls)
        spent += seconds
        if seconds >= SHORTEST_BLOCK_SECONDS and spent >= WARM_UP_SECONDS:
            return Readiness(first, calls)
        if seconds < SHORTEST_BLOCK_SECONDS:
            # A tenth more than needed, so that a slightly faster block still lasts long enough.
            calls = max(calls + 1, int(calls * min(10.0, 1.1 * SHORTEST_BLOCK_SECONDS / seconds)))


def turns(cells: int, rounds: int, seed: int) -> Iterator[tuple[int, int]]:
    """Yield (round, index of the cell): every cell once a round, each round reversing the last."""
    order = list(range(cells))
    random.Random(seed).shuffle(order)  # noqa: S311 - an order of timing, not a secret
    for round_index in range(rounds):
        for index in order if round_index % 2 == 0 else reversed(order):
            yield round_index, index


def sample(cell: Cell, ready: Readiness, round_index: int) -> tuple[Sample, Any]:
    """Time one block; also returns the outcome of its last call."""
    calls = ready.calls_per_sample
    seconds, outcome = block(cell, calls)
    return Sample(process=0, round=round_index, seconds=seconds / calls), outcome


def peak_memory_bytes(cell: Cell) -> int | None:
    """The process's device memory at the peak of one call, weights and data included.

    None on the CPU, where it is not measured.
    """
    if cell.device.type != "cuda":
        return None
    synchronise(cell.device)
    torch.cuda.reset_peak_memory_stats(cell.device)
    cell.call()
    synchronise(cell.device)
    return torch.cuda.max_memory_allocated(cell.device)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """As ``timeit`` does: a collection would hit whoever is being timed."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
