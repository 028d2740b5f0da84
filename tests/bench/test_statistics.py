"""Estimates, intervals and verdicts against SciPy, simulations, and numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench import statistics
from bench.schema import Sample
from bench.statistics import Interval


def samples(*processes):
    return [
        Sample(process=number, round=turn, seconds=seconds)
        for number, process in enumerate(processes)
        for turn, seconds in enumerate(process)
    ]


def test_the_figure_of_a_process_is_its_median():
    found = statistics.by_process(samples((1.0, 9.0, 2.0), (4.0, 4.0, 100.0)))
    assert found == {0: pytest.approx(math.log(2.0)), 1: pytest.approx(math.log(4.0))}


def test_the_rate_is_the_geometric_mean_over_processes():
    estimate = statistics.rate(samples((1.0, 1.0, 50.0), (4.0, 4.0, 4.0)), work=10)
    assert estimate.estimate == pytest.approx(10 / 2.0)
    half = 12.706204736 * math.log(4.0) / math.sqrt(2.0) / math.sqrt(2.0)  # t, one degree
    assert estimate.low == pytest.approx(5.0 / math.exp(half))
    assert estimate.high == pytest.approx(5.0 * math.exp(half))


def test_one_process_has_no_interval():
    estimate = statistics.rate(samples((1.0, 2.0, 3.0)), work=1)
    assert (estimate.low, estimate.high) == (None, None)
    assert statistics.noise(samples((1.0, 2.0, 3.0))) is None


def test_wild_processes_still_make_a_file_that_can_be_written():
    estimate = statistics.rate(samples((1e-9,), (1e9,)), work=1)
    assert 0.0 < estimate.low < estimate.estimate < estimate.high < 1e30


VALUES = st.lists(st.floats(-10.0, 10.0), min_size=2, max_size=12).filter(
    lambda values: np.std(values) > 1e-6
)


@given(VALUES, st.sampled_from([0.9, 0.95, 0.999]))
def test_the_interval_of_a_mean_is_scipys(values, confidence):
    found = statistics.mean(values, confidence)
    low, high = stats.t.interval(
        confidence, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@given(VALUES, VALUES, st.sampled_from([0.9, 0.95, 0.999]))
def test_the_interval_of_a_difference_is_scipys(base, new, confidence):
    found = statistics.difference(base, new, confidence)
    exact = stats.ttest_ind(new, base, equal_var=False).confidence_interval(confidence)
    assert found.low == pytest.approx(exact.low, abs=1e-9)
    assert found.high == pytest.approx(exact.high, abs=1e-9)


def test_a_difference_without_any_spread_is_certain():
    assert statistics.difference([1.0, 1.0], [2.0, 2.0]) == Interval(1.0, 0.0)
    assert statistics.difference([1.0], [2.0, 2.0]) == Interval(1.0, None)


def test_pairs_are_taken_within_a_round():
    """The machine was twice as slow in some rounds; both arms met that."""
    base = samples((1.0, 2.0, 1.0), (5.0, 9.0, 7.0))
    new = samples((1.1, 2.2, 1.1), (5.5, 9.9, 70.0))
    assert statistics.apart(base, new) == {
        0: pytest.approx(math.log(1.1)), 1: pytest.approx(math.log(1.1)),
    }  # fmt: skip
    found = statistics.ratio(base, new)
    assert found.mean == pytest.approx(math.log(1.1))
    assert found.half == pytest.approx(0.0, abs=1e-12)
    assert statistics.ratio(base, samples((), (), (1.0,))) is None
    assert statistics.ratio(base, samples((1.1,))).half is None


def test_the_spread_between_processes_is_the_noise():
    logs = [math.log(seconds) for seconds in (1.0, 1.1, 1.3)]
    expected = math.expm1(np.std(logs, ddof=1))
    assert statistics.noise(samples((1.0,), (1.1,), (1.3,))) == pytest.approx(expected)


def test_outliers_are_found_from_their_own_processs_median():
    steady = (1.0, 1.01, 0.99, 1.02, 0.98)
    found = statistics.outliers(samples((*steady, 3.0), tuple(10 * s for s in steady)))
    assert found == [False] * 5 + [True] + [False] * 5


@given(st.integers(1, 1000))
def test_many_intervals_hold_together(comparisons):
    each = statistics.corrected(comparisons)
    assert 1.0 - comparisons * (1.0 - each) == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.02, 0.03, "slower"),
        (-0.03, -0.02, "faster"),
        (-0.005, 0.005, "same"),
        (-0.01, 0.01, "same"),
        (0.005, 0.03, "cannot tell"),
        (-0.03, 0.03, "cannot tell"),
        (-0.03, -0.005, "cannot tell"),
    ],
)
def test_verdicts(low, high, verdict):
    change = Interval((low + high) / 2.0, (high - low) / 2.0)
    assert statistics.verdict(change, 0.01) == verdict
    assert statistics.smallest_visible(change, 0.01) == pytest.approx(0.01 + (high - low) / 2.0)


def test_without_an_interval_nobody_can_tell():
    assert statistics.verdict(Interval(5.0, None), 0.01) == "cannot tell"
    assert statistics.smallest_visible(Interval(5.0, None), 0.01) is None


@given(st.floats(-1.0, 1.0), st.floats(0.0, 1.0), st.floats(0.001, 0.5))
def test_swapping_the_files_swaps_the_verdict(mean, half, margin):
    swapped = {"slower": "faster", "faster": "slower"}
    there = statistics.verdict(Interval(mean, half), margin)
    back = statistics.verdict(Interval(-mean, half), margin)
    assert back == swapped.get(there, there)


@given(st.floats(-1.0, 1.0), st.floats(0.0, 0.5), st.floats(0.01, 0.5), st.floats(1.0, 3.0))
def test_a_wider_interval_never_says_more(mean, half, margin, factor):
    narrow = statistics.verdict(Interval(mean, half), margin)
    wide = statistics.verdict(Interval(mean, factor * half), margin)
    assert wide in (narrow, "cannot tell")
