import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.statistics import rate, spread

SECONDS = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20)


def test_by_hand():
    found = rate([0.5, 0.1, 0.2], work=1000)
    assert found.estimate == pytest.approx(5_000)
    assert (found.low, found.high) == pytest.approx((2_000, 10_000))
    assert spread(found) == pytest.approx(1.6)


@given(SECONDS, st.integers(1, 10**6))
def test_the_estimate_lies_in_its_range(seconds, work):
    found = rate(seconds, work)
    assert found.low <= found.estimate <= found.high
    assert spread(found) >= 0


@given(SECONDS, st.integers(2, 50))
def test_no_sample_is_dropped(seconds, factor):
    """One slow sample must show, however many good ones stand beside it."""
    slow = max(seconds) * factor
    assert rate([*seconds, slow], 1).low == pytest.approx(1 / slow)
