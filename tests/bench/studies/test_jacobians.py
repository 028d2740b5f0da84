"""dL_T/dh_t held against autograd, and against differences of the loss itself."""

import numpy as np
import pytest
import torch

import impls
from bench.parity import weight_arrays
from bench.studies.checkpoints import spectral_radius
from bench.studies.jacobians import closed, gradient_norms
from impls import GeneratorConfig, reference
from impls.initial import started

FORCINGS = {
    "forced": [True] * 12,
    "free": [True] * 5 + [False] * 7,
    "mixed": [True, True, False, True, False, False, True, True, False, True, False, False],
}
MODELS = [
    GeneratorConfig(hidden_size=7),
    GeneratorConfig(hidden_size=6, num_layers=2, input_size=2),
    GeneratorConfig(hidden_size=7, nonlinearity="relu", bias=False),
]


def drawn(config, steps=12, batch=3):
    rng = np.random.default_rng(4)
    model = impls.create("manual_cell", config, dtype=torch.float64, seed=3)
    model.load_weights(started(model.weights(), "normal", 5, 1.3))
    inputs = rng.normal(size=(steps, batch, config.input_size))
    return model, inputs, rng.normal(size=(batch, config.input_size))


def by_autograd(model, inputs, target, forced):
    """Step by step through the implementation itself, each state a tensor that keeps its grad."""
    weights = {name: weight.detach() for name, weight in model.weights().items()}
    config = model.config
    h = torch.zeros(config.num_layers, inputs.shape[1], config.hidden_size, dtype=torch.float64)
    states, y = [], None
    for t, teacher in enumerate(forced):
        x = torch.from_numpy(inputs[t]) if teacher else y
        _, h = model(x[None], torch.tensor([True]), h)
        h.retain_grad()
        states.append(h)
        y = h[-1] @ weights["readout.weight"].T + weights["readout.bias"]
    (y - torch.from_numpy(target)).square().mean(dim=1).sum().backward()
    return np.stack([h.grad.square().sum(dim=(0, 2)).sqrt().numpy() for h in reversed(states)])


@pytest.mark.parametrize("forcing", FORCINGS)
@pytest.mark.parametrize("config", MODELS, ids=["tanh", "two layers", "relu"])
def test_the_product_of_jacobians_is_what_autograd_finds(config, forcing):
    model, inputs, target = drawn(config)
    forced = FORCINGS[forcing]
    visible = np.where(np.array(forced)[:, None, None], inputs, np.nan)  # free rows are not read
    found = gradient_norms(config, weight_arrays(model), visible, target, forced)
    np.testing.assert_allclose(found, by_autograd(model, inputs, target, forced), rtol=1e-10)


@pytest.mark.parametrize("forcing", ["forced", "free"])
def test_the_loss_itself_changes_as_the_norm_says(forcing):
    config, distance, step = GeneratorConfig(hidden_size=5), 6, 1e-6
    model, inputs, target = drawn(config)
    weights, forced = weight_arrays(model), FORCINGS[forcing]
    h0 = np.zeros((1, inputs.shape[1], 5))
    whole = reference.forward(config, weights, inputs, forced, h0)
    t = len(forced) - 1 - distance

    def losses(state):
        """Of each sequence, when step t left ``state`` behind."""
        rest, flags = inputs[t + 1 :].copy(), list(forced[t + 1 :])
        if not flags[0]:
            rest[0] = state[-1] @ weights["readout.weight"].T + weights["readout.bias"]
            flags[0] = True
        end = reference.forward(config, weights, rest, flags, state).predictions[-1]
        return np.square(end - target).mean(axis=1)

    slopes = []
    for unit in np.eye(5):
        up, down = (losses(whole.states[t + 1] + sign * step * unit) for sign in (1.0, -1.0))
        slopes.append((up - down) / (2.0 * step))
    found = gradient_norms(config, weights, inputs, target, forced)
    np.testing.assert_allclose(found[distance], np.linalg.norm(slopes, axis=0), rtol=1e-5)


def test_a_scaled_rotation_shrinks_or_grows_it_by_its_scale_at_every_step():
    # relu with nothing negative: the Jacobian is the matrix itself.
    config = GeneratorConfig(hidden_size=4, nonlinearity="relu", bias=False)
    for scale in (0.5, 1.0, 2.0):
        weights = {
            "weight_ih_l0": np.ones((4, 1)),
            "weight_hh_l0": scale * np.roll(np.eye(4), 1, axis=0),
            "readout.weight": np.ones((1, 4)),
            "readout.bias": np.zeros(1),
        }
        assert spectral_radius(weights["weight_hh_l0"]) == pytest.approx(scale)
        found = gradient_norms(config, weights, np.ones((9, 1, 1)), np.zeros((1, 1)), [True] * 9)
        np.testing.assert_allclose(found[:, 0] / found[0, 0], scale ** np.arange(9.0))


def test_the_closed_loop_carries_the_prediction_too():
    weights = {
        "weight_ih_l0": np.array([[1.0], [2.0]]),
        "weight_hh_l0": np.zeros((2, 2)),
        "readout.weight": np.array([[3.0, 4.0]]),
    }
    assert spectral_radius(closed(weights)) == pytest.approx(11.0)  # V W_ih
