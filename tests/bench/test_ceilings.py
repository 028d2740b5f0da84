"""The machine's own pace: what is counted, what is timed, and that both are plausible."""

import pytest
import torch

from bench import ceilings, clock
from bench.ceilings import canary, measure_ceilings
from bench.measure import block

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch):
    """Little enough to be done at once."""
    monkeypatch.setattr(ceilings, "PRODUCT_SIZES", (64, 128))
    monkeypatch.setattr(ceilings, "LARGE_COPY_BYTES", 1 << 22)
    monkeypatch.setattr(ceilings, "SUMMED", 1 << 12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_cpu_has_ceilings_of_a_plausible_height(dtype, small):
    """From a slow core to a fast one, with room to either side."""
    found = measure_ceilings("cpu", CPU, dtype)
    assert found.device == "cpu"
    assert 1e8 < found.flops_per_second < 1e14
    assert 1e8 < found.bytes_per_second <= found.cached_bytes_per_second < 1e14
    assert 1e-10 < found.step_seconds < 1e-7


def test_only_a_cpu_is_asked_for_its_latency(small):
    """A running sum on a GPU is no chain: it is made in parallel."""
    assert measure_ceilings("cuda", torch.device("meta"), torch.float32).step_seconds is None


SECONDS = {"product 256": 0.25, "product 2048": 0.5, "copy large": 2.0, "copy cached": 1 / 512}


@pytest.fixture
def seconds(monkeypatch):
    """What each of the machine's works takes, for a test to change."""
    seconds = dict(SECONDS)
    sizes = {ceilings.LARGE_COPY_BYTES: "large", ceilings.CACHED_COPY_BYTES: "cached"}
    monkeypatch.setattr(ceilings, "_product", lambda n, *_: f"product {n}")
    monkeypatch.setattr(ceilings, "_copy", lambda size, _: f"copy {sizes[size]}")
    monkeypatch.setattr(ceilings, "_dependent_step", lambda _: 1e-9)
    monkeypatch.setattr(ceilings, "_fastest", lambda call, _: seconds[call])
    return seconds


def test_a_product_is_two_operations_for_each_of_its_n_cubed_terms(seconds):
    found = measure_ceilings("cpu", CPU, torch.float32)
    assert found.flops_per_second == 2 * 2048**3 / 0.5
    seconds["product 2048"] = 1e9  # the smaller is the faster one then
    assert measure_ceilings("cpu", CPU, torch.float32).flops_per_second == 2 * 256**3 / 0.25


def test_a_copy_reads_and_writes_each_byte(seconds):
    large, cached = ceilings.LARGE_COPY_BYTES, ceilings.CACHED_COPY_BYTES
    found = measure_ceilings("cpu", CPU, torch.float32)
    assert found.bytes_per_second == 2 * large / 2.0
    assert found.cached_bytes_per_second == 2 * cached * 512
    seconds["copy cached"] = 1e9  # a cache is never slower than the memory behind it
    assert measure_ceilings("cpu", CPU, torch.float32).cached_bytes_per_second == 2 * large / 2.0


def test_the_work_is_what_is_counted():
    product = ceilings._product(48, CPU, torch.float64)()
    assert (product.shape, product.dtype) == ((48, 48), torch.float64)
    copied = ceilings._copy(1 << 16, CPU)()
    assert copied.numel() * copied.element_size() == 1 << 16
    assert (copied == 1.0).all()


def test_a_step_is_a_sum_over_its_length(monkeypatch):
    """As many additions as there are numbers, each waiting for the one before."""
    sums = []

    def fastest(call, _):
        sums.append(call())
        return 1.0

    monkeypatch.setattr(ceilings, "_fastest", fastest)
    assert ceilings._dependent_step(torch.float64) == 1.0 / ceilings.SUMMED
    assert sums[0][-1] == ceilings.SUMMED == len(sums[0])


def test_the_fastest_of_several_blocks_counts(monkeypatch):
    """Ten milliseconds a call, once nine, and whatever the machine adds."""
    now, taken = [0.0], iter([0.010, 0.010, 0.030, 0.009, 0.010, 0.010, 0.010, 0.010])

    def call():
        now[0] += next(taken)

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    assert ceilings._fastest(call, CPU) == pytest.approx(0.009)


def test_short_calls_fill_a_block(monkeypatch):
    now, calls = [0.0], [0]

    def call():
        now[0] += 1e-4
        calls[0] += 1

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    assert ceilings._fastest(call, CPU) == pytest.approx(1e-4)
    assert calls[0] // ceilings.REPEATS == 50  # and one or two to find out


# The canary.


def test_the_canary_is_the_same_product_always():
    before = torch.get_rng_state()
    first, second = canary(CPU), canary(CPU)
    assert torch.equal(torch.get_rng_state(), before)
    seconds, one = block(first, 1)
    assert seconds > 0
    one = one.clone()
    assert torch.equal(one, second.call())
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(128, 128, generator=generator).double()
    torch.testing.assert_close(one.double(), matrix[:1] @ matrix, rtol=1e-4, atol=1e-4)


def test_the_canary_sings_on_its_device():
    assert canary(torch.device("meta")).call().device.type == "meta"
