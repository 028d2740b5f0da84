"""The reference against the equations written out, and its gradients against differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impls import GeneratorConfig, reference


def drawn(config, rng, steps, batch):
    weights = {
        name: rng.uniform(-0.5, 0.5, size=shape) for name, shape in config.weight_shapes().items()
    }
    inputs = rng.normal(size=(steps, batch, config.input_size))
    h0 = rng.normal(size=config.state_shape(batch))
    return weights, inputs, h0


def test_one_unit_by_hand():
    config = GeneratorConfig(hidden_size=1)
    weights = {
        "weight_ih_l0": np.array([[0.5]]),
        "weight_hh_l0": np.array([[-0.25]]),
        "bias_ih_l0": np.array([0.1]),
        "bias_hh_l0": np.array([0.2]),
        "readout.weight": np.array([[2.0]]),
        "readout.bias": np.array([-0.3]),
    }
    inputs = np.array([[[0.7]], [[np.nan]], [[-0.4]]])
    out = reference.forward(config, weights, inputs, [True, False, True], np.array([[[0.9]]]))
    h1 = np.tanh(0.1 + 0.2 - 0.25 * 0.9 + 0.5 * 0.7)
    y1 = 2.0 * h1 - 0.3
    h2 = np.tanh(0.1 + 0.2 - 0.25 * h1 + 0.5 * y1)
    y2 = 2.0 * h2 - 0.3
    h3 = np.tanh(0.1 + 0.2 - 0.25 * h2 + 0.5 * -0.4)
    np.testing.assert_allclose(out.predictions.ravel(), [y1, y2, 2.0 * h3 - 0.3], atol=1e-15)
    np.testing.assert_allclose(out.h_n.ravel(), [h3], atol=1e-15)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@given(
    layers=st.integers(1, 3),
    bias=st.booleans(),
    bidirectional=st.booleans(),
    rest=st.lists(st.booleans(), min_size=1, max_size=5),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=25)
def test_gradients_by_differences(nonlinearity, layers, bias, bidirectional, rest, seed):
    """The directional derivative of a random linear loss, by central differences."""
    config = GeneratorConfig(2, 4, layers, nonlinearity, bias, bidirectional=bidirectional)
    rng = np.random.default_rng(seed)
    forced = [True, *(each or bidirectional for each in rest)]
    weights, inputs, h0 = drawn(config, rng, len(forced), 3)
    d_predictions = rng.normal(size=inputs.shape)
    d_h_n = rng.normal(size=h0.shape)

    def loss(weights, inputs, h0):
        out = reference.forward(config, weights, inputs, forced, h0)
        return float((out.predictions * d_predictions).sum() + (out.h_n * d_h_n).sum())

    rollout = reference.forward(config, weights, inputs, forced, h0)
    found = reference.backward(config, weights, forced, rollout, d_predictions, d_h_n)
    step = 1e-6
    direction = {name: rng.normal(size=weight.shape) for name, weight in weights.items()}
    d_inputs, d_h0 = rng.normal(size=inputs.shape), rng.normal(size=h0.shape)

    def moved(sign):
        shifted = {name: w + sign * step * direction[name] for name, w in weights.items()}
        return loss(shifted, inputs + sign * step * d_inputs, h0 + sign * step * d_h0)

    numeric = (moved(1) - moved(-1)) / (2 * step)
    exact = sum(float((found.weights[name] * direction[name]).sum()) for name in weights)
    exact += float((found.inputs * d_inputs).sum() + (found.h0 * d_h0).sum())
    # A relu may cross its kink within the step: differences are then of the first order only.
    tolerance = 1e-6 if nonlinearity == "tanh" else 1e-4
    assert exact == pytest.approx(numeric, rel=tolerance, abs=10 * tolerance)


def test_rows_that_are_not_forced_get_no_gradient():
    config = GeneratorConfig(hidden_size=3)
    weights, inputs, h0 = drawn(config, np.random.default_rng(0), 4, 2)
    forced = [True, False, True, False]
    rollout = reference.forward(config, weights, inputs, forced, h0)
    found = reference.backward(
        config, weights, forced, rollout, np.ones_like(inputs), np.ones_like(h0)
    )
    assert (found.inputs[[1, 3]] == 0).all()
    assert (found.inputs[[0, 2]] != 0).all()
