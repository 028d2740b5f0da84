"""How long a GPU itself is at work in one call, and how many operations it is given for it.

Wall seconds do not tell whether the GPU computed or waited for the CPU to hand out the next kernel.
CUPTI, NVIDIA's interface for profilers, does: it stamps the start and the end of every kernel, copy
and memset on the device, those of a replayed CUDA graph too. `torch.profiler` asks it.

- Profiled last of all in a process: the first start loads and starts CUPTI, and afterwards torch
  does not take it down, so that launches stay slower
  (https://github.com/pytorch/pytorch/pull/146604). In the warm-up it would weigh on every sample.
- As many calls as a sample has: a loop of a thousand steps is one, with its thousands of kernels;
  of a short call as many as fill 20 ms. One more comes before, for CUPTI takes a while to be ready.
- Read from the profiler's raw events, in whole nanoseconds. Their ``start_ns``, ``duration_ns``,
  ``device_type`` and ``is_user_annotation`` are the same in torch 2.11, 2.12 and 2.13, and torch's
  public ``events()`` is made of them, in more than ten times as long. ``activity_type``, which
  would tell waits from work, came with 2.12 only.
"""

from collections.abc import Callable, Iterable
from typing import Any

from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile, schedule, supported_activities

from bench.measure import Cell, block
from bench.messages import DeviceWork

ACTIVITY, KIND = ProfilerActivity.CUDA, DeviceType.CUDA
# The names under which CUPTI tells of waits: no work, though on the device's side.
WAITS = frozenset({"Context Sync", "Event Sync", "Stream Sync", "Stream Wait Event"})

Interval = tuple[int, int]


def covered(intervals: Iterable[Interval]) -> int:
    """How much is covered by any of the intervals, from a start to its end: overlaps count once.

    Streams overlap, and so can the kernels of one.
    """
    ordered = sorted(intervals)
    total, reached = 0, ordered[0][0] if ordered else 0
    for start, end in ordered:
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def device_work(cell: Cell, calls: int) -> DeviceWork | None:
    """What the GPU did for one call, the mean of ``calls``.

    None on the CPU, where no profiler starts, and wherever there is nothing to be learnt: a torch
    without CUPTI, a driver that lets nobody profile. What the call raises goes through.
    """
    if cell.device.type != "cuda":
        return None
    profiler = _answer(_started)
    if profiler is None:
        return None
    try:
        block(cell, 1)
        _answer(profiler.step)  # from here on it records
        block(cell, calls)
    finally:
        _answer(profiler.stop)
    found = _answer(lambda: _intervals(profiler))
    if not found:  # whoever computes on a device gives it work, so the profiler is blind
        return None
    return DeviceWork(1e-9 * covered(found) / calls, round(len(found) / calls))


def _started() -> profile | None:
    """A profiler that records from its first step on; None where torch has no CUPTI."""
    if ACTIVITY not in supported_activities():  # type: ignore[no-untyped-call]
        return None
    once = schedule(wait=0, warmup=1, active=1, repeat=1)
    profiler = profile(activities=[ACTIVITY], schedule=once)
    profiler.start()
    return profiler


def _intervals(profiler: profile) -> list[Interval]:
    """Start and end of everything that the device did, in nanoseconds."""
    results: Any = profiler.profiler.kineto_results if profiler.profiler else None
    return [
        (event.start_ns(), event.start_ns() + event.duration_ns())
        for event in results.events()
        if event.device_type() == KIND
        and not event.is_user_annotation()  # a range around others, not work
        and event.name() not in WAITS
    ]


def _answer(question: Callable[[], Any]) -> Any:
    """What the profiler answers, or None: whatever is wrong with it is no fault of the call's."""
    try:
        return question()
    except Exception:  # noqa: BLE001 - torch raises RuntimeError, AssertionError and others
        return None
