"""The floor under every time, against a count made element by element and against PyTorch's own."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import impls
from bench import limits, workloads
from bench.config import WORKLOADS
from bench.schema import Ceilings
from impls import GeneratorConfig
from tasks import TASKS
from tests.impls.fitting import ON_CPU, skip_unless

CONFIGS = st.builds(
    GeneratorConfig,
    input_size=st.integers(1, 3),
    hidden_size=st.integers(1, 5),
    num_layers=st.integers(1, 3),
    bias=st.booleans(),
    bidirectional=st.booleans(),
)
FORCED = st.lists(st.booleans(), min_size=0, max_size=6).map(lambda rest: [True, *rest])
NAMES = st.sampled_from(WORKLOADS)
DTYPES = st.sampled_from(["float32", "float64"])
RATES = st.floats(1e6, 1e15)
CEILINGS = st.builds(
    Ceilings,
    device=st.just("cpu"),
    threads=st.just(2),
    flops_per_second=RATES,
    bytes_per_second=RATES,
    cached_bytes_per_second=RATES,
    step_seconds=st.none() | st.floats(1e-12, 1e-3),
)


def counted_operations(config, workload, batch, forced):
    """One product and one sum for every weight that is used, one after the other."""
    units, layers, features = (
        range(size) for size in (config.hidden_size, config.num_layers, config.input_size)
    )
    count, ways = 0, range(2 if config.bidirectional else 1)
    for _ in range(batch):
        for t, is_forced in enumerate(forced):
            for layer, _ in [(layer, way) for layer in layers for way in ways]:
                for _ in [(to, source) for to in units for source in units]:
                    passes = 3 if workload == "train_step" else 1
                    count += 2 * passes * (t > 0)  # the first state is zero
                    count += 2 * passes * (layer > 0) * len(ways)  # from the layer below
            for _ in [(to, source) for to in units for source in features for _ in ways]:
                count += 2 * is_forced
                count += 2  # the read-out
    return count


def counted_bytes(config, batch, forced, dtype):
    numbers = sum(torch.empty(shape).numel() for shape in config.weight_shapes().values())
    for is_forced in forced:
        for _ in range(batch):
            for _ in range(config.input_size):
                numbers += 1 + is_forced  # a prediction is written, an input read
    return numbers * torch.finfo(getattr(torch, dtype)).bits // 8


@given(CONFIGS, NAMES, st.integers(1, 3), FORCED)
def test_operations_are_those_of_a_count_one_by_one(config, workload, batch, forced):
    expected = counted_operations(config, workload, batch, forced)
    assert limits.operations(config, workload, batch, forced) == expected


@given(CONFIGS, st.integers(1, 3), FORCED, DTYPES)
def test_bytes_are_those_of_a_count_one_by_one(config, batch, forced, dtype):
    expected = counted_bytes(config, batch, forced, dtype)
    assert limits.bytes_of(config, batch, forced, dtype) == expected


# PyTorch does not see into their kernels.
UNSEEN = {"compiled", "fused_cpu", "jax_scan", "onnx_runtime"}


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("name", [name for name in ON_CPU if name not in UNSEEN])
def test_nobody_does_less_than_the_floor(name, workload, layers, monkeypatch):
    """PyTorch counts the products that an implementation really makes: a few more, never fewer."""
    monkeypatch.setattr(workloads, "LONG_POINTS", 131)
    config = GeneratorConfig(hidden_size=64, num_layers=layers)
    skip_unless(name, config)
    model = impls.create(name, config)
    work = workloads.build(workload, model, TASKS["cosine"], 2, seed=0)
    with FlopCounterMode(display=False) as counter:
        work.call()
    made = counter.get_total_flops()
    floor = limits.operations(model.config, workload, 2, work.forced.tolist())
    assert floor <= made
    assert floor > 0.9 * made


def test_a_limit_by_hand():
    """Three steps, the last of them free, of two layers of two units; batch five."""
    config = GeneratorConfig(hidden_size=2, num_layers=2)
    forced = [True, True, False]
    ceilings = Ceilings(
        device="cpu",
        threads=2,
        flops_per_second=1.0,
        bytes_per_second=1.0,
        cached_bytes_per_second=1.0,
        step_seconds=1.0,
    )
    # 2 H^2 = 8: twice in each of the steps 2 and 3, once in each of three steps from layer to
    # layer; 2 H I = 4: three read-outs, two inputs.
    operations = 5 * (8 * 2 * 2 + 8 * 3 + 4 * 3 + 4 * 2)
    weights = 2 * 1 + 2 * 2 + 2 + 2 + 2 * 2 + 2 * 2 + 2 + 2 + 2 + 1
    moved = 4 * (5 * (3 + 2) + weights)
    chain = 1 + 1 + 2
    found = limits.limit(config, "generate", 5, forced, "float32", ceilings)
    assert (found.seconds, found.bound) == (operations, "arithmetic")
    memory_bound = ceilings.model_copy(update={"flops_per_second": 1e9})
    found = limits.limit(config, "generate", 5, forced, "float32", memory_bound)
    assert (found.seconds, found.bound) == (moved, "memory")
    latency_bound = memory_bound.model_copy(update={"cached_bytes_per_second": 1e9})
    found = limits.limit(config, "generate", 5, forced, "float32", latency_bound)
    assert (found.seconds, found.bound) == (chain, "latency")


@given(CONFIGS, NAMES, st.integers(1, 9), FORCED, DTYPES, CEILINGS)
def test_the_limit_is_the_highest_of_its_floors(config, workload, batch, forced, dtype, ceilings):
    found = limits.limit(config, workload, batch, forced, dtype, ceilings)
    work = limits.operations(config, workload, batch, forced)
    moved = limits.bytes_of(config, batch, forced, dtype)
    floors = {
        "arithmetic": work / ceilings.flops_per_second,
        "memory": moved / ceilings.cached_bytes_per_second,  # all of these fit a cache
        "latency": 0.0,
    }
    if ceilings.step_seconds is not None:
        per_free = config.num_layers
        per_forced = config.num_layers if config.bidirectional else 1
        floors["latency"] = (
            sum(per_forced if f else per_free for f in forced) * ceilings.step_seconds
        )
    assert found.seconds == pytest.approx(max(floors.values()))
    assert found.seconds == pytest.approx(floors[found.bound])


@given(CONFIGS, NAMES, st.integers(1, 9), FORCED, DTYPES, CEILINGS)
def test_more_work_never_takes_less(config, workload, batch, forced, dtype, ceilings):
    def seconds(config=config, workload=workload, batch=batch, forced=forced, dtype=dtype):
        return limits.limit(config, workload, batch, forced, dtype, ceilings).seconds

    least = seconds()
    for field in ("hidden_size", "num_layers", "input_size"):
        assert seconds(config=replace(config, **{field: getattr(config, field) + 1})) >= least
    assert seconds(batch=batch + 1) >= least
    assert seconds(forced=[*forced, False]) >= least
    assert seconds(forced=[*forced, True]) >= least
    assert seconds(workload="train_step") >= least
    assert seconds(dtype="float64") >= least


@given(CONFIGS, NAMES, FORCED, CEILINGS, st.floats(1.0, 100.0))
def test_a_faster_machine_never_has_a_higher_floor(config, workload, forced, ceilings, by):
    faster = Ceilings(
        device="cpu",
        threads=2,
        flops_per_second=by * ceilings.flops_per_second,
        bytes_per_second=by * ceilings.bytes_per_second,
        cached_bytes_per_second=by * ceilings.cached_bytes_per_second,
        step_seconds=None if ceilings.step_seconds is None else ceilings.step_seconds / by,
    )
    slow, fast = (
        limits.limit(config, workload, 3, forced, "float32", c).seconds for c in (ceilings, faster)
    )
    assert fast == pytest.approx(slow / by)


def test_what_fits_a_cache_may_go_at_the_caches_pace():
    config, forced = GeneratorConfig(hidden_size=2), [True] * 1000
    ceilings = Ceilings(
        device="cpu",
        threads=2,
        flops_per_second=1e30,
        bytes_per_second=1.0,
        cached_bytes_per_second=10.0,
        step_seconds=None,
    )
    # Two rows of 1,000 numbers of 4 bytes a sequence, and some weights: 32 MiB lie between.
    below, above = (
        limits.limit(config, "sequence", batch, forced, "float32", ceilings).seconds
        for batch in (4194, 4195)
    )
    weights = 4 * sum(torch.empty(s).numel() for s in config.weight_shapes().values())
    assert below == pytest.approx((4194 * 8000 + weights) / 10.0)
    assert above == pytest.approx(4195 * 8000 + weights)


# The ceilings of several processes.


@given(CEILINGS, CEILINGS)
def test_the_best_of_two_is_the_best_in_everything(one, two):
    found = limits.best(one, two)
    for field in ("flops_per_second", "bytes_per_second", "cached_bytes_per_second"):
        assert getattr(found, field) == max(getattr(one, field), getattr(two, field))
    steps = {one.step_seconds, two.step_seconds} - {None}
    assert found.step_seconds == (min(steps) if steps else None)
    assert found.threads == 2
    assert limits.best(two, one) == found
    assert limits.best(found, one) == found


@given(CONFIGS, NAMES, FORCED, CEILINGS, CEILINGS)
def test_the_best_of_two_never_raises_a_floor(config, workload, forced, one, two):
    def seconds(ceilings):
        return limits.limit(config, workload, 2, forced, "float32", ceilings).seconds

    if (one.step_seconds is None) == (two.step_seconds is None):
        assert seconds(limits.best(one, two)) <= min(seconds(one), seconds(two)) * (1 + 1e-12)
