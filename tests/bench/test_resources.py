"""Memory and held-back clocks, from a real process and from files of the tests' own."""

import gc
import os

import pytest
import torch

from bench import gpu, resources
from bench.resources import ThrottleWatch, peak_memory_bytes

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
MEGABYTE = 1_000_000

on_linux = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="this system keeps no peak memory"
)


# Memory on the CPU: how far one call makes the process grow.


@on_linux
def test_a_call_that_allocates_64_megabytes():
    peak = peak_memory_bytes(lambda: torch.ones(16 * MEGABYTE, dtype=torch.float32), CPU)
    assert 60 * MEGABYTE < peak < 80 * MEGABYTE


@on_linux
def test_a_call_that_allocates_nothing():
    peak_memory_bytes(lambda: None, CPU)  # whatever comes with the first call
    assert 0 <= peak_memory_bytes(lambda: None, CPU) < 4 * MEGABYTE


@on_linux
def test_the_peak_counts_also_when_all_is_given_back_before_the_end():
    def call():
        large = torch.ones(16 * MEGABYTE, dtype=torch.float32)
        del large
        return torch.ones(1)

    assert 60 * MEGABYTE < peak_memory_bytes(call, CPU) < 80 * MEGABYTE


@on_linux
def test_a_larger_call_before_does_not_count():
    peak_memory_bytes(lambda: torch.ones(64 * MEGABYTE, dtype=torch.float32), CPU)
    small = peak_memory_bytes(lambda: torch.ones(4 * MEGABYTE, dtype=torch.float32), CPU)
    assert 15 * MEGABYTE < small < 24 * MEGABYTE


@on_linux
def test_what_was_there_before_does_not_count():
    held = torch.ones(16 * MEGABYTE, dtype=torch.float32)
    assert peak_memory_bytes(lambda: held.add_(1), CPU) < 4 * MEGABYTE


def chunks():
    """40 MB in pieces that an allocator may keep for later instead of giving them back."""
    return [torch.ones(2_500_000, dtype=torch.float32) for _ in range(4)]


@on_linux
def test_what_the_allocator_kept_from_earlier_calls_does_not_hide_a_call():
    torch.ones(7_500_000, dtype=torch.float32)  # from here on, glibc keeps pieces of this size
    chunks()
    assert 35 * MEGABYTE < peak_memory_bytes(chunks, CPU) < 60 * MEGABYTE


@on_linux
def test_garbage_from_before_does_not_hide_a_call():
    def call():
        gc.collect()
        return torch.ones(16 * MEGABYTE, dtype=torch.float32)

    gc.disable()
    try:
        garbage = [torch.ones(16 * MEGABYTE, dtype=torch.float32)]
        garbage.append(garbage)
        del garbage
        assert 60 * MEGABYTE < peak_memory_bytes(call, CPU) < 80 * MEGABYTE
    finally:
        gc.enable()


@pytest.mark.parametrize("missing", ["_CLEAR_REFS", "_STATUS"])
def test_where_the_system_does_not_tell_memory_is_none(missing, monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_CLEAR_REFS", tmp_path / "clear_refs")
    monkeypatch.setattr(resources, missing, tmp_path / "folder" / "none")
    assert peak_memory_bytes(lambda: None, CPU) is None


def test_a_status_without_a_peak_is_none(monkeypatch, tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmRSS:\t  100 kB\n", encoding="ascii")
    monkeypatch.setattr(resources, "_CLEAR_REFS", tmp_path / "clear_refs")
    monkeypatch.setattr(resources, "_STATUS", status)
    assert peak_memory_bytes(lambda: None, CPU) is None
    status.write_text("VmHWM:\t  350 kB\nVmRSS:\t  100 kB\n", encoding="ascii")
    assert peak_memory_bytes(lambda: None, CPU) == 250 * 1024
    assert (tmp_path / "clear_refs").read_text(encoding="ascii") == "5"


def test_an_error_of_the_call_itself_goes_through():
    with pytest.raises(ZeroDivisionError):
        peak_memory_bytes(lambda: 1 / 0, CPU)


# Memory on a GPU: the allocator's own peak, all of the call in it.


def test_on_a_gpu_the_queue_is_empty_before_and_after(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: events.append("wait"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: events.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: events.append("read") or 123)
    assert peak_memory_bytes(lambda: events.append("call"), CUDA) == 123
    assert events == ["wait", "reset", "call", "wait", "read"]


# Held-back clocks.


@pytest.fixture
def counters(monkeypatch, tmp_path):
    """Counter files: the container's quota, and the heat of two cores."""
    quota, cpus = tmp_path / "cpu.stat", tmp_path / "cpu"
    heat = [cpus / f"cpu{core}" / "thermal_throttle" / "core_throttle_count" for core in (0, 11)]
    for path in heat:
        path.parent.mkdir(parents=True)
        path.write_text("7\n", encoding="ascii")
    quota.write_text("usage_usec 9\nnr_periods 8\nnr_throttled 2\nthrottled_usec 5\n")
    monkeypatch.setattr(resources, "_CGROUP", quota)
    monkeypatch.setattr(resources, "_CPUS", cpus)
    return quota, heat


def test_nothing_was_held_back_while_no_counter_moves(counters):
    watch = ThrottleWatch(CPU)
    assert not watch.throttled()
    assert not watch.throttled()


@pytest.mark.parametrize("core", [0, 1])
def test_the_heat_of_any_core_is_seen_once(core, counters):
    watch = ThrottleWatch(CPU)
    counters[1][core].write_text("8\n", encoding="ascii")
    assert watch.throttled()
    assert not watch.throttled()


def test_a_quota_is_seen(counters):
    watch = ThrottleWatch(CPU)
    counters[0].write_text("nr_periods 9\nnr_throttled 3\nthrottled_usec 6\n")
    assert watch.throttled()


def test_other_counters_of_the_container_are_not(counters):
    watch = ThrottleWatch(CPU)
    counters[0].write_text("usage_usec 99\nnr_periods 99\nnr_throttled 2\nthrottled_usec 99\n")
    assert not watch.throttled()


def test_where_there_are_no_counters_nothing_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_CGROUP", tmp_path / "none")
    monkeypatch.setattr(resources, "_CPUS", tmp_path / "nowhere")
    assert not ThrottleWatch(CPU).throttled()


@pytest.mark.parametrize(
    ("reasons", "found"),
    [
        ([(), (), ()], [False, False]),
        ([(), ("sw_power_cap",), ("sw_power_cap",)], [True, True]),
        ([("sw_power_cap",), (), ("hw_slowdown",)], [False, True]),
    ],
)
def test_a_gpu_tells_what_holds_at_the_moment(reasons, found, monkeypatch):
    answers = iter(reasons)
    monkeypatch.setattr(gpu, "throttle_reasons", lambda _: next(answers))
    watch = ThrottleWatch(CUDA)
    assert [watch.throttled(), watch.throttled()] == found
