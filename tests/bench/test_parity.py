"""The gate lets the right ones pass and says what is wrong with the others."""

import numpy as np
import pytest
import torch

import impls
from bench.parity import check, tensor_error
from impls import REGISTRY, GeneratorConfig

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(),
        GeneratorConfig(hidden_size=33, num_layers=3, nonlinearity="relu", bias=False),
        GeneratorConfig(hidden_size=16, num_layers=2, dropout=0.5),
    ],
    ids=["default", "deep", "dropout"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_registered_implementations_pass(name, config, dtype):
    outcome = check(name, config, CPU, dtype, seed=0)
    assert outcome.passed, outcome
    assert outcome.reason is None
    assert 0 < outcome.output_error <= outcome.tolerance
    assert 0 < outcome.gradient_error <= outcome.tolerance


@pytest.mark.parametrize(
    ("liar", "reason"),
    [
        ("detached_feedback", "parity: gradient error"),
        ("mutates_inputs", "the inputs were changed"),
        ("keeps_state", "the same call gave another answer the second time"),
        ("mutates_h0", "h0 was changed"),
        ("no_h0_gradient", "parity: gradient error"),
        ("no_input_gradient", "parity: gradient error"),
        ("wrong_last_state", "parity: output error"),
        ("reads_free_rows", "parity: output error not finite"),
    ],
)
def test_liars_are_caught(liar, reason, register):
    outcome = check(register(liar), GeneratorConfig(hidden_size=8), CPU, torch.float64, seed=0)
    assert not outcome.passed
    assert reason in outcome.reason


@pytest.mark.parametrize("weight", list(GeneratorConfig(num_layers=2).weight_shapes()))
@pytest.mark.parametrize("by", [1e-3, -1e-3])
def test_the_smallest_mistake_in_any_weight_is_seen(weight, by, monkeypatch):
    """One part in a thousand of one weight, in float32, is far above the tolerance."""
    from impls.manual_cell import ManualCell

    honest = ManualCell.weights

    class Careless(ManualCell):
        def rollout(self, inputs, forced, h0):
            wrong = dict(honest(self))
            wrong[weight] = wrong[weight] + by
            self.weights = lambda: wrong
            try:
                return super().rollout(inputs, forced, h0)
            finally:
                del self.weights

    monkeypatch.setattr(impls, "load", lambda _: Careless)
    config = GeneratorConfig(hidden_size=16, num_layers=2)
    outcome = check("careless", config, CPU, torch.float32, seed=0)
    assert not outcome.passed


def test_every_trial_has_weights_of_its_own(monkeypatch):
    honest, seeds = impls.create, []

    def create(*arguments, seed, **options):
        seeds.append(seed)
        return honest(*arguments, seed=seed, **options)

    monkeypatch.setattr(impls, "create", create)
    check("manual_cell", GeneratorConfig(hidden_size=3), CPU, torch.float32, seed=7)
    assert len(set(seeds)) == len(seeds) / 2 >= 10  # one to evaluate, one to train


def test_tensor_error():
    exact = np.array([0.5, -4.0])
    assert tensor_error(exact + np.array([0.0, 0.4]), exact) == pytest.approx(0.1)
    assert tensor_error(np.array([0.1]), np.array([0.0])) == pytest.approx(0.1)
    assert np.isnan(tensor_error(np.array([np.nan, 0.0]), exact))
    assert tensor_error(np.zeros(3), exact) == float("inf")


def test_an_implementation_that_raises_fails_in_one_line(monkeypatch):
    def broken(_):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(impls, "load", broken)
    outcome = check("broken", GeneratorConfig(), CPU, torch.float32, seed=0)
    assert outcome.reason == "raised RuntimeError: first line"
