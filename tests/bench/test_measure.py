"""The clock's arithmetic on a clock of the tests' own, and the order of the turns."""

import time
from collections import Counter

import pytest
import torch

from bench import measure
from bench.measure import Cell, Readiness, sample, turns, warm_up

CPU = torch.device("cpu")


class FakeClock:
    """Time passes only where a call says so."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(measure.time, "perf_counter", lambda: self.now)

    def call(self, *seconds):
        """A callable that takes the given seconds, the last of them ever after."""
        left = list(seconds)

        def work():
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return work


@pytest.fixture
def clock(monkeypatch):
    return FakeClock(monkeypatch)


def test_the_first_call_is_kept_apart(clock):
    ready = warm_up(Cell(clock.call(5.0, 0.1), CPU))
    assert ready.first_call_seconds == pytest.approx(5.0)
    assert ready.calls_per_sample == 1


@pytest.mark.parametrize("seconds", [1e-6, 3e-4, 0.011, 0.5])
def test_a_block_lasts_at_least_twenty_milliseconds(clock, seconds):
    cell = Cell(clock.call(seconds), CPU)
    ready = warm_up(cell)
    assert ready.calls_per_sample * seconds >= measure.SHORTEST_BLOCK_SECONDS
    assert ready.calls_per_sample * seconds <= max(3 * measure.SHORTEST_BLOCK_SECONDS, seconds)


def test_a_call_that_speeds_up_still_fills_its_block(clock):
    cell = Cell(clock.call(5.0, 0.019, 0.008, 0.008, 0.006, 0.006, 0.006, 0.005), CPU)
    assert warm_up(cell).calls_per_sample * 0.005 >= measure.SHORTEST_BLOCK_SECONDS


def test_a_sample_is_the_mean_of_a_block(clock):
    cell = Cell(clock.call(0.01, 0.03, 0.02), CPU)
    found, _ = sample(cell, Readiness(0.0, 3), round_index=4)
    assert found.seconds == pytest.approx(0.02)
    assert (found.process, found.round) == (0, 4)


def test_the_outcome_is_that_of_the_last_timed_call():
    outcomes = iter("abcdef")
    cell = Cell(lambda: next(outcomes), CPU)
    assert measure.block(cell, 3)[1] == "c"
    assert sample(cell, Readiness(0.0, 2), 0)[1] == "e"


def test_turns_meet_every_cell_once_a_round_and_reverse():
    order = list(turns(cells=7, rounds=4, seed=1))
    assert Counter(order) == Counter((r, c) for r in range(4) for c in range(7))
    by_round = [[cell for r, cell in order if r == n] for n in range(4)]
    assert by_round[1] == by_round[0][::-1]
    assert by_round[2] == by_round[0]
    assert by_round[0] != sorted(by_round[0])
    assert order == list(turns(7, 4, 1))
    assert order != list(turns(7, 4, 2))


def test_the_device_is_waited_for_before_the_clock_starts_and_before_it_stops(monkeypatch):
    """A queue that is not waited for is time that is not counted."""
    events = []
    cuda = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "synchronize", events.append)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: events.append("clock") or 0.0)
    measure.block(Cell(lambda: events.append("call"), cuda), calls=2)
    assert events == [cuda, "clock", "call", "call", cuda, "clock"]


def test_blocks_agree_with_a_plain_clock():
    cell = Cell(lambda: time.sleep(0.02), CPU)
    assert measure.block(cell, 3)[0] == pytest.approx(0.06, rel=0.25)


def test_no_garbage_is_collected_while_the_clock_runs():
    import gc

    seen = []
    measure.block(Cell(lambda: seen.append(gc.isenabled()), CPU), 1)
    assert seen == [False]
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        measure.block(Cell(lambda: 1 / 0, CPU), 1)
    assert gc.isenabled()


def test_memory_is_not_measured_on_the_cpu():
    assert measure.peak_memory_bytes(Cell(lambda: None, CPU)) is None
