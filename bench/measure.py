"""Warm-up, synchronising, blocks of calls on the clock."""

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from bench.clock import Stopwatch

SHORTEST_BLOCK_SECONDS = 0.02  # as long as a few scheduler ticks, so that the clock does not matter
WINDOW_SECONDS = 0.05
WINDOWS_AGREE = 0.05
LONGEST_WARM_UP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Cell:
    """Something to time: ``call`` does the work and returns its outcome, on ``device``."""

    call: Callable[[], Any]
    device: torch.device


@dataclass(frozen=True, slots=True)
class Readiness:
    """A cell after its warm-up, which took ``seconds``, the first call among them."""

    first_call_seconds: float
    seconds: float
    windows: int
    agreed: bool
    calls_per_sample: int


def synchronise(device: torch.device) -> None:
    """Wait for all work queued on ``device``, on whatever stream; the CPU has none."""
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


def warm_up(cell: Cell, tick: Callable[[], None] = lambda: None) -> Readiness:
    """Time the first call apart, size a block, and go on until two windows agree within 5 %.

    A window is a block, or as many as fill 50 ms, and its figure the fastest of them: what else
    the machine does only ever adds. A first call that fills a window is one. After 3 seconds the
    last two windows are what they are. ``tick`` is called after each.
    """
    first, _ = block(cell, 1)
    tick()
    calls, figure, spent = _sized(cell)
    # What lasted as long as a window is one: long calls need no more than two.
    figures = [first] if first >= WINDOW_SECONDS else []
    figures += [figure] if figure * calls >= WINDOW_SECONDS else []
    while not _agree(figures) and (len(figures) < 2 or spent < LONGEST_WARM_UP_SECONDS):
        figure, seconds = _window(cell, calls)
        figures.append(figure)
        spent += seconds
        calls = max(calls, _calls_for(figure))
        tick()
    return Readiness(first, first + spent, len(figures), _agree(figures), calls)


def _sized(cell: Cell) -> tuple[int, float, float]:
    """Calls that fill a block of at least 20 ms, seconds of one of them, and seconds spent."""
    calls, spent = 1, 0.0
    while True:
        seconds, _ = block(cell, calls)
        spent += seconds
        if seconds >= SHORTEST_BLOCK_SECONDS:
            return calls, seconds / calls, spent
        calls = max(calls + 1, min(10 * calls, _calls_for(seconds / calls)))


def _calls_for(seconds: float) -> int:
    """Calls of ``seconds`` each that fill a block, also when they turn out a tenth faster."""
    if seconds >= SHORTEST_BLOCK_SECONDS:
        return 1
    return math.ceil(1.1 * SHORTEST_BLOCK_SECONDS / max(seconds, 1e-9))


def _window(cell: Cell, calls: int) -> tuple[float, float]:
    """Seconds of one call in the fastest block of a window, and seconds of all its blocks."""
    fastest, spent = float("inf"), 0.0
    while spent < WINDOW_SECONDS:
        seconds, _ = block(cell, calls)
        fastest = min(fastest, seconds / calls)
        spent += seconds
    return fastest, spent


def _agree(figures: list[float]) -> bool:
    if len(figures) < 2:
        return False
    before, last = figures[-2:]
    return abs(last - before) <= WINDOWS_AGREE * before


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
