"""How long a GPU is at work: the arithmetic, a profiler of the tests' own, and torch's own."""

import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

from bench import device_time
from bench.device_time import covered, device_work
from bench.measure import Cell

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)

spans = st.tuples(st.integers(-60, 60), st.integers(0, 40)).map(lambda pair: (pair[0], sum(pair)))
lists = st.lists(spans, max_size=12)


# The union of intervals.


@pytest.mark.parametrize(
    ("intervals", "length"),
    [
        ([], 0),
        ([(3, 8)], 5),
        ([(3, 3)], 0),
        ([(0, 2), (5, 6)], 3),  # idle in between
        ([(0, 2), (2, 3)], 3),
        ([(0, 10), (2, 3)], 10),  # two streams
        ([(0, 10), (2, 3), (4, 12)], 12),
        ([(10**18, 10**18 + 1), (10**18 + 2, 10**18 + 3)], 2),  # nanoseconds since 1970
    ],
)
def test_what_overlaps_counts_once(intervals, length):
    assert covered(intervals) == length


@given(lists)
def test_it_is_the_number_of_points_in_any_of_them(intervals):
    points = {point for start, end in intervals for point in range(start, end)}
    assert covered(intervals) == len(points)


@given(lists, st.randoms())
def test_their_order_does_not_matter(intervals, rng):
    shuffled = list(intervals)
    rng.shuffle(shuffled)
    assert covered(shuffled) == covered(intervals)


@given(st.lists(spans, min_size=1), st.integers(-(10**18), 10**18))
def test_it_lies_between_the_longest_and_all_together_and_does_not_know_the_time(intervals, later):
    lengths = [end - start for start, end in intervals]
    whole = max(end for _, end in intervals) - min(start for start, _ in intervals)
    found = covered(intervals)
    assert max(lengths) <= found <= min(sum(lengths), whole)
    assert covered((start + later, end + later) for start, end in intervals) == found


@given(lists, lists)
def test_two_streams_are_busy_no_longer_than_one_after_the_other(one, other):
    both = covered(one + other)
    assert max(covered(one), covered(other)) <= both <= covered(one) + covered(other)


# A profiler of the tests' own.


def event(start, duration, *, name="kernel", kind=DeviceType.CUDA, annotation=False):
    return SimpleNamespace(
        start_ns=lambda: start, duration_ns=lambda: duration, device_type=lambda: kind,
        is_user_annotation=lambda: annotation, name=lambda: name,
    )  # fmt: skip


class Profiler:
    """Notes what it is told in ``log``, fails at what is in ``broken``, and has such events."""

    def __init__(self, log, events, broken):
        self.log, self.broken = log, broken
        results = SimpleNamespace(events=lambda: events)
        self.profiler = None if "results" in broken else SimpleNamespace(kineto_results=results)

    def __getattr__(self, name):
        def told():
            self.log.append(name)
            if name in self.broken:
                raise RuntimeError(f"{name}: CUPTI_ERROR_INSUFFICIENT_PRIVILEGES")

        return told


@pytest.fixture
def cupti(monkeypatch):
    """A CUDA and a CUPTI that are not there; what happened, and what is to be found."""
    found = SimpleNamespace(log=[], events=[event(0, 10)], broken=set(), options=None)

    def profile(**options):
        found.options = options
        if "profile" in found.broken:
            raise AssertionError("Legacy CUDA profiling requires use_cpu=True")
        return Profiler(found.log, found.events, found.broken)

    monkeypatch.setattr(device_time, "profile", profile)
    monkeypatch.setattr(device_time, "supported_activities", lambda: {ProfilerActivity.CUDA})
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: found.log.append("wait"))
    return found


def called(cupti, calls=2):
    return device_work(Cell(lambda: cupti.log.append("call"), CUDA), calls)


def test_a_call_goes_ahead_the_queue_is_empty_around_the_others_and_the_profiler_is_stopped(cupti):
    assert called(cupti, calls=3)
    assert cupti.log == [
        "start", "wait", "call", "wait", "step", "wait", *["call"] * 3, "wait", "stop",
    ]  # fmt: skip
    assert cupti.options["activities"] == [ProfilerActivity.CUDA]


def test_seconds_and_operations_are_those_of_one_call(cupti):
    cupti.events[:] = [
        event(1_000, 500), event(1_250, 500, name="Memcpy HtoD"), event(4_000, 250, name="Memset"),
        event(9_000, 0),
    ]  # fmt: skip
    found = called(cupti, calls=2)
    assert found.seconds == pytest.approx(0.5e-6)  # 750 ns and 250 ns, over two calls
    assert found.operations == 2


def test_only_work_on_the_device_counts(cupti):
    cupti.events += [
        event(0, 9_000, name="cudaLaunchKernel", kind=DeviceType.CPU),
        event(0, 9_000, name="ProfilerStep#0", annotation=True),
        *(event(0, 9_000, name=name) for name in sorted(device_time.WAITS)),
    ]
    found = called(cupti, calls=1)
    assert (found.seconds, found.operations) == (pytest.approx(1e-8), 1)


@pytest.mark.parametrize("broken", ["profile", "start", "step", "stop", "results"])
def test_a_profiler_that_does_not_work_tells_nothing_and_nothing_fails(broken, cupti):
    cupti.broken.add(broken)
    if broken in {"step", "stop"}:
        cupti.events.clear()  # it has not recorded
    assert called(cupti) is None
    if broken in {"profile", "start"}:
        assert "call" not in cupti.log


def test_a_profiler_that_sees_nothing_tells_nothing(cupti):
    cupti.events.clear()
    assert called(cupti) is None


def test_a_torch_without_cupti_starts_no_profiler(cupti, monkeypatch):
    monkeypatch.setattr(device_time, "supported_activities", lambda: {ProfilerActivity.CPU})
    assert called(cupti) is None
    assert cupti.log == []


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("broken", ["", "stop"])
def test_what_the_call_raises_goes_through_and_the_profiler_is_stopped(at, error, broken, cupti):
    cupti.broken.add(broken)

    def call():
        cupti.log.append("call")
        if cupti.log.count("call") == at:
            raise error

    with pytest.raises(error):
        device_work(Cell(call, CUDA), 2)
    assert cupti.log[-1] == "stop"


# Torch's own.


def test_on_the_cpu_no_profiler_starts(monkeypatch):
    monkeypatch.setattr(device_time, "supported_activities", lambda: {ProfilerActivity.CUDA})
    monkeypatch.setattr(device_time, "profile", lambda **_: pytest.fail("a profiler was made"))
    assert device_work(Cell(lambda: pytest.fail("it was called"), CPU), 3) is None


def test_torchs_own_profiler_is_asked_rightly(monkeypatch):
    """On the CPU's events, for want of a GPU: the same profiler, and the same fields."""
    monkeypatch.setattr(device_time, "ACTIVITY", ProfilerActivity.CPU)
    monkeypatch.setattr(device_time, "KIND", DeviceType.CPU)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    ones, more = torch.ones(2), 0

    def call():
        nonlocal more
        for _ in range(5 if more else 50):  # the first call is not recorded
            ones.neg_()
        more += 1

    found = [device_work(Cell(call, CUDA), calls) for calls in (3, 1)]
    assert [each.operations for each in found] == [5, 5]
    assert all(0.0 < each.seconds < 0.1 for each in found)


@pytest.mark.gpu
def test_a_real_gpu_tells_how_long_it_was_at_work():
    large = torch.ones(4096, 4096, device="cuda")
    found, twice = (
        device_work(Cell(lambda n=n: [large.neg_() for _ in range(n)], CUDA), 4) for n in (8, 16)
    )
    assert (found.operations, twice.operations) == (8, 16)
    assert 1e-6 < found.seconds < 0.1
    assert twice.seconds == pytest.approx(2 * found.seconds, rel=0.5)


@pytest.mark.gpu
def test_a_real_gpu_is_idle_while_the_host_sleeps():
    ones = torch.ones(2, device="cuda")

    def call():
        ones.neg_()
        time.sleep(0.02)
        ones.neg_()

    found = device_work(Cell(call, CUDA), 2)
    assert found.operations == 2
    assert 0.0 < found.seconds < 0.01


@pytest.mark.gpu
def test_the_kernels_of_a_replayed_graph_are_seen():
    ones, graph = torch.ones(2, device="cuda"), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(5):
            ones.neg_()
    assert device_work(Cell(graph.replay, CUDA), 3).operations == 5
