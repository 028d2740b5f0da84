"""Every registered implementation against the float64 reference, over many drawn shapes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import impls
from bench.config import TOLERANCE
from bench.parity import compare, draw_trial
from impls import REGISTRY, GeneratorConfig
from tests.impls.fitting import examples, fitting

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
@pytest.mark.parametrize("name", REGISTRY)
def test_outputs_states_and_gradients(name, dtype):
    @examples(150, name, compiled=2)
    @given(
        config=CONFIGS,
        forced=FORCED,
        batch=st.integers(1, 9),
        weights_seed=st.integers(0, 2**31),
        data_seed=st.integers(0, 2**31),
    )
    def check(config, forced, batch, weights_seed, data_seed):
        config, rng = fitting(config, name), np.random.default_rng(data_seed)
        trial = draw_trial(config, rng, forced, batch, getattr(torch, dtype))
        model = impls.create(name, config, dtype=getattr(torch, dtype), seed=weights_seed)
        errors = compare(model, model, trial)
        assert errors.output <= TOLERANCE[dtype]
        assert errors.gradient <= TOLERANCE[dtype]

    check()


def test_tolerances_are_those_of_the_contract():
    assert TOLERANCE == {"float32": 1e-5, "float64": 1e-10}


@pytest.mark.parametrize("source", REGISTRY)
@pytest.mark.parametrize("sink", REGISTRY)
def test_weights_are_interchangeable(source, sink):
    @examples(10, source, sink, compiled=1)
    @given(config=CONFIGS, forced=FORCED, seed=st.integers(0, 2**31))
    def check(config, forced, seed):
        _exchange(source, sink, config, forced, seed)

    check()


def _exchange(source, sink, config, forced, seed):
    config, rng = fitting(config, source, sink), np.random.default_rng(seed)
    inputs = torch.from_numpy(rng.normal(size=(len(forced), 2, config.input_size)))
    flags = torch.from_numpy(forced)
    giver = impls.create(source, config, dtype=torch.float64, seed=seed)
    taker = impls.create(sink, config, dtype=torch.float64, seed=seed + 1)
    taker.load_weights(giver.weights())
    for name, weight in taker.weights().items():
        assert torch.equal(weight, giver.weights()[name])
    for given_, taken in zip(giver(inputs, flags), taker(inputs, flags), strict=True):
        torch.testing.assert_close(taken, given_, rtol=1e-10, atol=1e-10)


@pytest.mark.gpu
@pytest.mark.parametrize("name", REGISTRY)
def test_parity_on_cuda(name):
    from bench import environment, parity

    with environment.pinned(1):
        outcome = parity.check(
            name,
            fitting(GeneratorConfig(num_layers=2), name),
            torch.device("cuda"),
            torch.float32,
            seed=0,
        )
    assert outcome.passed, outcome
