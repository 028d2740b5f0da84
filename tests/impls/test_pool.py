"""The threads that share a call: who does what, and on which cores."""

import os
import threading

import pytest

from impls.kernels import pool

pinning = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system lets no thread choose its cores"
)


@pytest.fixture(autouse=True)
def _a_pool_of_its_own():
    pool._pool.cache_clear()
    yield
    pool._pool.cache_clear()


def where_others_ran(count=3):
    """Cores that each thread but the caller was allowed, all being at work at once."""
    allowed, all_here = {}, threading.Barrier(count)

    def work(number):
        all_here.wait(timeout=20)
        if number:
            allowed[number] = os.sched_getaffinity(0)

    pool.side_by_side(work, count)
    return list(allowed.values())


def test_each_number_is_done_once_and_the_first_by_the_caller():
    done = {}
    pool.side_by_side(lambda number: done.setdefault(number, threading.get_ident()), 3)
    assert sorted(done) == [0, 1, 2]
    assert done[0] == threading.get_ident()
    assert threading.get_ident() not in (done[1], done[2])


def test_what_a_thread_raises_reaches_the_caller():
    def work(number):
        if number == 1:
            raise ValueError("one")

    with pytest.raises(ValueError, match="one"):
        pool.side_by_side(work, 2)


@pinning
def test_the_others_keep_off_the_callers_core_and_follow_it(monkeypatch):
    every = sorted(os.sched_getaffinity(0))
    if len(every) == 1:
        pytest.skip("one core: there is no other to be on")
    where_others_ran()  # the threads exist from here on
    for core in (every[0], every[1]):
        monkeypatch.setattr(pool, "_core_of_caller", lambda core=core: core)
        assert where_others_ran() == [set(every) - {core}] * 2
    assert os.sched_getaffinity(0) == set(every)


@pinning
@pytest.mark.parametrize("why", ["one core", "forbidden", "unknown"])
def test_where_they_cannot_they_stay(why, monkeypatch):
    where_others_ran()
    every = os.sched_getaffinity(0)
    if why == "one core":
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(pool, "_core_of_caller", None if why == "unknown" else lambda: 0)
    calls = []

    def refuse(*arguments):
        calls.append(arguments)
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    done = []
    pool.side_by_side(done.append, 3)
    assert sorted(done) == [0, 1, 2]
    assert bool(calls) == (why == "forbidden" and len(every) > 1)
