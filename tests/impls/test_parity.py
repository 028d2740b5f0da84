"""Every implementation that runs any shape against the float64 reference, over many drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import impls
from bench.config import TOLERANCE
from bench.parity import compare, draw_trial
from impls import GeneratorConfig
from tests.impls.fitting import (
    ON_CUDA,
    UNCOMPILED,
    dtype_of,
    few_shapes,
    fitting,
    skip_unless,
    skip_unless_installed,
)

CONFIGS = st.builds(
    GeneratorConfig,
    input_size=st.integers(1, 3),
    hidden_size=st.integers(1, 40),
    num_layers=st.integers(1, 3),
    nonlinearity=st.sampled_from(["tanh", "relu"]),
    bias=st.booleans(),
)
# As many steps as drawn first: a list of free length would mostly be short.
FORCED = st.integers(0, 59).flatmap(
    lambda rest: st.lists(st.booleans(), min_size=rest, max_size=rest).map(
        lambda flags: np.array([True, *flags])
    )
)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", UNCOMPILED)
@given(
    config=CONFIGS,
    forced=FORCED,
    batch=st.integers(1, 9),
    weights_seed=st.integers(0, 2**31),
    data_seed=st.integers(0, 2**31),
)
@settings(max_examples=150)
def test_outputs_states_and_gradients(name, dtype, config, forced, batch, weights_seed, data_seed):
    skip_unless(name, dtype=getattr(torch, dtype))
    config, forced, batch = few_shapes(config, forced, batch, name)
    config, rng = fitting(config, name), np.random.default_rng(data_seed)
    trial = draw_trial(config, rng, forced, batch, getattr(torch, dtype))
    model = impls.create(name, config, dtype=getattr(torch, dtype), seed=weights_seed)
    errors = compare(model, model, trial)
    assert errors.output <= TOLERANCE[dtype]
    if impls.load(name).differentiable:
        assert errors.gradient <= TOLERANCE[dtype]
    else:
        assert errors.gradient is None


def test_tolerances_are_those_of_the_contract():
    assert TOLERANCE == {"float32": 1e-5, "float64": 1e-10}


@pytest.mark.parametrize("source", UNCOMPILED)
@pytest.mark.parametrize("sink", UNCOMPILED)
@given(config=CONFIGS, forced=FORCED, seed=st.integers(0, 2**31))
@settings(max_examples=10)
def test_weights_are_interchangeable(source, sink, config, forced, seed):
    config, forced, batch = few_shapes(config, forced, 2, source, sink)
    config, dtype = fitting(config, source, sink), dtype_of(source, sink)
    rng = np.random.default_rng(seed)
    inputs = torch.from_numpy(rng.normal(size=(len(forced), batch, config.input_size))).to(dtype)
    flags = torch.from_numpy(forced)
    giver = impls.create(source, config, dtype=dtype, seed=seed)
    taker = impls.create(sink, config, dtype=dtype, seed=seed + 1)
    taker.load_weights(giver.weights())
    for name, weight in taker.weights().items():
        assert torch.equal(weight, giver.weights()[name])
    # Rounding that two runs feed back for up to 60 steps.
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-4}[dtype]
    with torch.no_grad():
        outcomes = zip(giver(inputs, flags), taker(inputs, flags), strict=True)
    for given_, taken in outcomes:
        torch.testing.assert_close(taken, given_, rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ON_CUDA)
def test_parity_on_cuda(name):
    from bench import environment, parity

    skip_unless_installed(name, "cuda")
    cuda, config = torch.device("cuda"), GeneratorConfig(num_layers=2)
    # A second layer takes what compiles all steps twice as long.
    if impls.load(name).unsupported(config, cuda, torch.float32) or impls.REGISTRY[name].compiles:
        config = GeneratorConfig()
    with environment.pinned(1):
        outcome = parity.check(name, config, cuda, torch.float32, seed=0)
    assert outcome.passed, outcome
