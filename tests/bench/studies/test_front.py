"""The front holds what nothing beats, and only that."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from bench.studies.front import Point, dominates, front

FEW = st.sampled_from([1.0, 2.0, 3.0, 4.0])  # so that equals come up
POINTS = st.lists(st.builds(Point, name=st.sampled_from("abc"), error=FEW, rate=FEW), max_size=12)


@given(POINTS)
def test_everything_is_beaten_by_the_front_or_on_it(points):
    found = front(points)
    for one in points:
        assert (one in found) != any(dominates(other, one) for other in found)


@given(POINTS, st.randoms())
def test_the_order_and_what_is_beaten_do_not_matter(points, random):
    mixed = list(points)
    random.shuffle(mixed)
    assert front(mixed) == front(points)
    assert front(front(points)) == front(points)


@given(POINTS)
def test_along_the_front_more_error_buys_more_rate(points):
    found = front(points)
    for one, other in itertools.pairwise(found):
        assert (one.error, one.rate) == (other.error, other.rate) or (
            one.error < other.error and one.rate < other.rate
        )


def test_by_hand():
    slow_right = Point("a", 1e-6, 10.0)
    fast_wrong = Point("b", 1e-2, 1000.0)
    beaten = Point("c", 1e-5, 9.0)
    between = Point("d", 1e-5, 100.0)
    assert front([fast_wrong, beaten, between, slow_right]) == [slow_right, between, fast_wrong]
