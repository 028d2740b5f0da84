"""The gate lets the right ones pass and says what is wrong with the others."""

import numpy as np
import pytest
import torch

import impls
from bench.parity import check, closed_loop_error, tensor_error, trials
from impls import GeneratorConfig
from tests.impls.fitting import UNCOMPILED, skip_unless

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", UNCOMPILED)
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
    skip_unless(name, config, dtype)
    outcome = check(name, config, CPU, dtype, seed=0)
    assert outcome.passed, outcome
    assert outcome.reason is None
    assert 0 < outcome.output_error <= outcome.tolerance
    if impls.load(name).differentiable:
        assert 0 < outcome.gradient_error <= outcome.tolerance
    else:
        assert outcome.gradient_error is None


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
        ("off_without_gradients", "parity: output error 1"),
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


def test_it_ticks_after_every_trial_so_that_a_slow_one_is_not_taken_for_hung():
    ticks, config = [], GeneratorConfig(hidden_size=3)
    check("manual_cell", config, CPU, torch.float32, seed=0, on_trial=lambda: ticks.append(1))
    assert len(ticks) == len(list(trials(config, 0, torch.float32))) >= 10


def forced_only(monkeypatch, name="ForcedOnly"):
    entry = impls.Entry(f"tests.liars.faults:{name}", "runs no free steps")
    monkeypatch.setitem(impls.REGISTRY, "forced_only", entry)
    return "forced_only"


def test_what_runs_no_free_steps_is_compared_over_forced_ones(monkeypatch):
    name, ticks = forced_only(monkeypatch), []
    outcome = check(
        name, GeneratorConfig(), CPU, torch.float32, seed=0, on_trial=lambda: ticks.append(1)
    )
    assert outcome.passed, outcome
    assert not outcome.closed_loop
    assert 0 < outcome.output_error <= outcome.tolerance
    assert 0 < outcome.gradient_error <= outcome.tolerance
    drawn = list(trials(GeneratorConfig(), 0, torch.float32, closed_loop=False))
    assert len(drawn) == len(ticks) >= 4
    assert all(all(trial.forced) and np.isfinite(trial.inputs).all() for trial in drawn)
    assert check("torch_cell", GeneratorConfig(), CPU, torch.float32, seed=0).closed_loop


def test_in_files_from_before_there_were_such_free_steps_were_checked(golden_2):
    from bench.records import load

    assert "closed_loop" not in golden_2.read_text()
    assert all(case.closed_loop and case.parity.closed_loop for case in load(golden_2).cases)


def test_being_excused_from_free_steps_excuses_from_nothing_else(monkeypatch):
    name = forced_only(monkeypatch, "ForcedOnlyAndWrong")
    outcome = check(name, GeneratorConfig(), CPU, torch.float32, seed=0)
    assert (outcome.passed, outcome.closed_loop) == (False, False)
    assert outcome.reason.startswith("parity: output error 1.")


def test_tensor_error():
    exact = np.array([0.5, -4.0])
    assert tensor_error(exact + np.array([0.0, 0.4]), exact) == pytest.approx(0.1)
    assert tensor_error(np.array([0.1]), np.array([0.0])) == pytest.approx(0.1)
    assert np.isnan(tensor_error(np.array([np.nan, 0.0]), exact))
    assert tensor_error(np.zeros(3), exact) == float("inf")


def test_an_implementation_that_raises_fails_in_one_line(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(impls, "create", broken)
    outcome = check("torch_rnn", GeneratorConfig(), CPU, torch.float32, seed=0)
    assert outcome.reason == "raised RuntimeError: first line"


# A long closed loop is judged step by step: what was fed back is what the reference reads.


def free_run(model, inputs, warm_up, disturb=lambda _, y: y):
    """The closed loop in plain NumPy; ``disturb`` changes a prediction before it is fed back."""
    w = {name: t.detach().double().numpy() for name, t in model.weights().items()}
    h, y, found = np.zeros((inputs.shape[1], model.config.hidden_size)), None, []
    for step, true in enumerate(inputs):
        x = true if step < warm_up else y
        a = h @ w["weight_hh_l0"].T + x @ w["weight_ih_l0"].T + w["bias_ih_l0"] + w["bias_hh_l0"]
        h = np.tanh(a)
        y = disturb(step, h @ w["readout.weight"].T + w["readout.bias"])
        found.append(y)
    return np.stack(found)


@pytest.fixture
def loop():
    """A model, inputs whose free rows are NaN, and which steps are forced."""
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=6), dtype=torch.float64)
    inputs = np.random.default_rng(0).normal(size=(50, 3, 1))
    forced = np.arange(50) < 20
    inputs[~forced] = np.nan
    return model, inputs, forced


def test_a_right_closed_loop_has_no_error(loop):
    model, inputs, forced = loop
    assert closed_loop_error(model, inputs, forced, free_run(model, inputs, 20)) < 1e-14


@pytest.mark.parametrize("step", [5, 19, 20, 35, 49])
def test_a_disturbance_counts_once_however_far_it_carries(step, loop):
    """Rounding may add up in the feedback, and still every step was computed rightly."""
    model, inputs, forced = loop
    predictions = free_run(model, inputs, 20, lambda t, y: y + 0.01 * (t == step))
    assert closed_loop_error(model, inputs, forced, predictions) == pytest.approx(0.01)


def test_a_prediction_that_was_not_fed_back_is_wrong_twice(loop):
    """It differs, and what follows should have come of it."""
    model, inputs, forced = loop
    predictions = free_run(model, inputs, 20)
    predictions[30] += 0.5
    assert closed_loop_error(model, inputs, forced, predictions) == pytest.approx(0.5)
    shown = free_run(model, inputs, 20, lambda t, y: y + 0.5 * (t == 30))
    shown[30] -= 0.5  # what is shown is right, and what was read was not
    assert closed_loop_error(model, inputs, forced, shown) > 1e-3


def test_steps_that_were_left_out_are_seen(loop):
    model, inputs, forced = loop
    predictions = free_run(model, inputs, 20)
    predictions[30:] = 0.5
    assert closed_loop_error(model, inputs, forced, predictions) > 0.1


def test_a_closed_loop_that_is_not_finite_or_of_another_shape(loop):
    model, inputs, forced = loop
    predictions = free_run(model, inputs, 20)
    assert closed_loop_error(model, inputs, forced, predictions[:, :2]) == float("inf")
    predictions[-1, 0] = np.nan
    assert np.isnan(closed_loop_error(model, inputs, forced, predictions))
