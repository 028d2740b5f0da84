"""The warm-up's arithmetic on a clock of the tests' own, and what surrounds a block."""

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench import clock, measure
from bench.measure import Cell, warm_up

CPU = torch.device("cpu")


class FakeClock:
    """Time passes only where a call says so."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 100.0, 0
        monkeypatch.setattr(clock.time, "perf_counter", lambda: self.now)

    def call(self, *seconds):
        """A callable that takes the given seconds, the last of them ever after."""
        left = list(seconds)

        def work():
            self.now += left.pop(0) if len(left) > 1 else left[0]
            self.calls += 1

        return work


@pytest.fixture
def fake(monkeypatch):
    return FakeClock(monkeypatch)


def test_the_first_call_is_kept_apart(fake):
    ready = warm_up(Cell(fake.call(5.0, 0.001), CPU))
    assert ready.first_call_seconds == pytest.approx(5.0)
    assert ready.agreed
    assert ready.seconds == pytest.approx(fake.now - 100.0)


@pytest.mark.parametrize("seconds", [1e-6, 3e-4, 0.011, 0.5])
def test_a_block_lasts_at_least_twenty_milliseconds(fake, seconds):
    ready = warm_up(Cell(fake.call(seconds), CPU))
    assert ready.calls_per_sample * seconds >= measure.SHORTEST_BLOCK_SECONDS
    assert ready.calls_per_sample * seconds <= max(3 * measure.SHORTEST_BLOCK_SECONDS, seconds)


def test_a_call_that_speeds_up_still_fills_its_block(fake):
    cell = Cell(fake.call(5.0, 0.019, 0.008, 0.008, 0.006, 0.006, 0.006, 0.005), CPU)
    assert warm_up(cell).calls_per_sample * 0.005 >= measure.SHORTEST_BLOCK_SECONDS


def test_a_call_that_speeds_up_after_its_block_was_sized_still_fills_it(fake):
    """One call was enough at first; five are needed in the end."""
    ready = warm_up(Cell(fake.call(5.0, 0.021, 0.004), CPU))
    assert ready.calls_per_sample * 0.004 >= measure.SHORTEST_BLOCK_SECONDS


@pytest.mark.parametrize("seconds", [0.051, 0.5, 40.0])
def test_two_calls_are_enough_for_long_ones_that_agree(fake, seconds):
    ready = warm_up(Cell(fake.call(seconds, 1.049 * seconds), CPU))
    assert fake.calls == 2
    assert (ready.windows, ready.agreed, ready.calls_per_sample) == (2, True, 1)


def test_a_long_first_call_that_was_slower_is_followed_by_two_more(fake):
    ready = warm_up(Cell(fake.call(2.0, 1.0), CPU))
    assert fake.calls == 3
    assert (ready.windows, ready.agreed) == (3, True)
    assert ready.first_call_seconds == pytest.approx(2.0)


def test_short_calls_need_two_windows_of_fifty_milliseconds(fake):
    ready = warm_up(Cell(fake.call(0.001), CPU))
    assert (ready.windows, ready.agreed) == (2, True)
    assert ready.seconds >= 2 * measure.WINDOW_SECONDS


def test_windows_that_differ_by_more_than_five_percent_are_not_the_end(fake):
    """0.1, 0.094, 0.0884, 0.0831 s: each 6 % below the last; then two alike."""
    ready = warm_up(Cell(fake.call(0.1, 0.094, 0.0884, 0.0831, 0.0831), CPU))
    assert fake.calls == 5
    assert (ready.windows, ready.agreed) == (5, True)


def test_windows_that_rise_do_not_agree_either(fake):
    ready = warm_up(Cell(fake.call(0.1, 0.107, 0.114, 0.114), CPU))
    assert ready.windows == 4


def test_after_three_seconds_the_warm_up_is_over(fake):
    ready = warm_up(Cell(fake.call(*[0.2, 0.1] * 40), CPU))
    assert not ready.agreed
    assert ready.first_call_seconds == pytest.approx(0.2)
    # Everything after the first call counts; the cap is passed by no more than a window.
    assert 3.0 <= ready.seconds - 0.2 < 3.0 + 0.2


def test_a_call_longer_than_the_cap_is_made_no_more_than_twice(fake):
    ready = warm_up(Cell(fake.call(5.0, 9.0), CPU))
    assert fake.calls == 2
    assert (ready.windows, ready.agreed) == (2, False)


def test_one_window_is_never_enough_however_long_it_was(fake):
    """The first call was short and is no window: the second took the whole time there is."""
    ready = warm_up(Cell(fake.call(0.01, 5.0), CPU))
    assert (ready.windows, ready.agreed) == (2, True)


def test_a_long_warm_up_gives_signs_of_life(fake):
    ticks = []
    ready = warm_up(Cell(fake.call(*[0.2, 0.1] * 40), CPU), lambda: ticks.append(fake.now))
    assert len(ticks) >= ready.windows - 1
    pauses = [after - before for before, after in zip([100.0, *ticks], ticks, strict=False)]
    assert max(pauses) <= 0.5


def test_the_fastest_block_of_a_window_counts(fake):
    """Whatever else the machine does only adds: a slow block beside a fast one says nothing."""
    ready = warm_up(Cell(fake.call(0.03, 0.03, 0.03, 0.06, 0.03, 0.09, 0.03), CPU))
    assert ready.agreed
    assert ready.windows == 2


@given(seconds=st.lists(st.floats(1e-4, 0.2), min_size=1, max_size=40))
def test_a_warm_up_ends_and_its_figures_are_true(seconds):
    with pytest.MonkeyPatch.context() as monkeypatch:
        fake = FakeClock(monkeypatch)
        ready = warm_up(Cell(fake.call(*seconds), CPU))
        assert ready.first_call_seconds == pytest.approx(seconds[0])
        assert ready.seconds == pytest.approx(fake.now - 100.0)
        assert ready.windows >= 2
        longest = max(seconds) * ready.calls_per_sample + measure.WINDOW_SECONDS
        spent = ready.seconds - ready.first_call_seconds
        assert ready.agreed or spent >= measure.LONGEST_WARM_UP_SECONDS
        assert spent <= measure.LONGEST_WARM_UP_SECONDS + 2 * longest
        if len(seconds) == 1:
            assert ready.calls_per_sample * seconds[0] >= measure.SHORTEST_BLOCK_SECONDS


def test_the_outcome_is_that_of_the_last_timed_call():
    outcomes = iter("abcdef")
    assert measure.block(Cell(lambda: next(outcomes), CPU), 3)[1] == "c"


def test_the_device_is_waited_for_before_the_clock_starts_and_before_it_stops(monkeypatch):
    """A queue that is not waited for is time that is not counted."""
    events = []
    cuda = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "synchronize", events.append)
    monkeypatch.setattr(clock.time, "perf_counter", lambda: events.append("clock") or 0.0)
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


def test_a_collection_that_was_off_stays_off():
    import gc

    gc.disable()
    try:
        measure.block(Cell(lambda: None, CPU), 1)
        assert not gc.isenabled()
    finally:
        gc.enable()
