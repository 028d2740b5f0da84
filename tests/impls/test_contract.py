"""What every implementation promises beside being right."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import impls
from impls import GeneratorConfig
from impls.generator import initial_weights
from impls.initial import started
from tests.impls.fitting import (
    ON_CPU,
    dtype_of,
    fitting,
    skip_unless,
    skip_unless_differentiable,
)

every = pytest.mark.parametrize("name", ON_CPU)
FORCED = torch.tensor([True, False, True, False, False])


def make(name, *, config=GeneratorConfig(input_size=2, hidden_size=5), seed=3):  # noqa: B008
    model = impls.create(name, config, dtype=dtype_of(name), seed=seed)
    return model.requires_grad_(model.differentiable)  # gradients are not what is tested here


def inputs(name, steps=5, batch=4, size=2):
    drawn = np.random.default_rng(1).normal(size=(steps, batch, size))
    return torch.from_numpy(drawn).to(dtype_of(name))


def within(name):
    """How close numbers are that differ by rounding alone."""
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6}[dtype_of(name)]
    return {"rtol": tolerance, "atol": tolerance}


@every
def test_the_same_seed_gives_the_same_weights_everywhere(name):
    config = fitting(GeneratorConfig(num_layers=2, hidden_size=7), name)
    expected = initial_weights(config, seed=11)
    found = make(name, config=config, seed=11).weights()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key].to(dtype_of(name))) for key in expected)
    other = make(name, config=config, seed=12).weights()
    assert not torch.equal(found["weight_hh_l0"], other["weight_hh_l0"])


def test_initial_weights_are_those_of_nn_rnn_in_law():
    weights = initial_weights(GeneratorConfig(hidden_size=100), seed=0)
    recurrent = weights["weight_hh_l0"]
    assert recurrent.abs().max() <= 0.1
    assert recurrent.std() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    assert all(weight.abs().max() <= 0.1 for weight in weights.values())


def test_orthogonal_recurrence_replaces_the_recurrent_matrices_and_nothing_else():
    before = initial_weights(GeneratorConfig(num_layers=2, hidden_size=7), seed=0)
    copies = {name: weight.clone() for name, weight in before.items()}
    found = started(before, "orthogonal", seed=1)
    assert list(found) == list(before)
    assert all(torch.equal(before[name], copies[name]) for name in before)
    for name, weight in found.items():
        if name.startswith("weight_hh"):
            eye = torch.eye(7, dtype=torch.float64)
            torch.testing.assert_close(weight @ weight.t(), eye, atol=1e-12, rtol=0)
        else:
            assert torch.equal(weight, before[name])
    assert not torch.equal(found["weight_hh_l0"], found["weight_hh_l1"])
    again, other = (started(before, "orthogonal", seed) for seed in (1, 2))
    assert torch.equal(found["weight_hh_l0"], again["weight_hh_l0"])
    assert not torch.allclose(found["weight_hh_l0"], other["weight_hh_l0"])


@every
def test_both_biases_are_parameters(name):
    weights = make(name).weights()
    assert {"bias_ih_l0", "bias_hh_l0"} <= set(weights)
    assert all(isinstance(weight, torch.nn.Parameter) for weight in weights.values())
    assert weights["bias_ih_l0"] is not weights["bias_hh_l0"]


@every
def test_weights_are_all_the_parameters(name):
    model = make(name, config=fitting(GeneratorConfig(num_layers=3, hidden_size=4), name))
    assert {id(w) for w in model.weights().values()} == {id(p) for p in model.parameters()}
    assert {k: tuple(w.shape) for k, w in model.weights().items()} == model.config.weight_shapes()


@every
def test_creating_leaves_the_global_random_numbers_alone(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    make(name)
    assert torch.equal(torch.get_rng_state(), before)


@every
def test_calls_keep_no_state_and_change_nothing(name):
    model, x = make(name).eval(), inputs(name)
    h0 = torch.full((1, 4, 5), 0.3, dtype=x.dtype)
    copies = x.clone(), FORCED.clone(), h0.clone()
    first = model(x, FORCED, h0)
    model(x * 2, FORCED, None)
    second = model(x, FORCED, h0)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a, b) for a, b in zip((x, FORCED, h0), copies, strict=True))


@every
def test_the_backward_pass_changes_no_outcome(name):
    skip_unless_differentiable(name)
    model = make(name)
    outcomes = model(inputs(name), FORCED)
    copies = [outcome.detach().clone() for outcome in outcomes]
    loss = (outcomes[0] ** 2).sum() + outcomes[1].sum()
    weights = list(model.weights().values())
    torch.autograd.grad(loss, weights)
    assert all(torch.equal(a, b) for a, b in zip(outcomes, copies, strict=True))


@every
def test_h0_none_is_zeros_and_h0_matters(name):
    model, x = make(name), inputs(name)
    zeros = torch.zeros(1, 4, 5, dtype=x.dtype)
    assert torch.equal(model(x, FORCED)[0], model(x, FORCED, zeros)[0])
    assert not torch.allclose(model(x, FORCED)[0], model(x, FORCED, zeros + 1)[0])


@every
@given(cut=st.integers(1, 4))
@settings(max_examples=4)
def test_a_sequence_can_be_cut_and_carried_on(name, cut):
    """The state is all there is: running on from h_n gives what one run gives."""
    model, x, forced = make(name).eval(), inputs(name), torch.ones(5, dtype=torch.bool)
    whole, h_n = model(x, forced)
    head, h_cut = model(x[:cut], forced[:cut])
    tail, h_tail = model(x[cut:], forced[cut:], h_cut)
    torch.testing.assert_close(torch.cat([head, tail]), whole, **within(name))
    torch.testing.assert_close(h_tail, h_n, **within(name))


# Dropout: between layers, while training, as nn.RNN has it.

DROPPED = GeneratorConfig(input_size=2, hidden_size=50, num_layers=2, dropout=0.4)


@every
def test_dropout_does_nothing_in_evaluation(name):
    skip_unless(name, DROPPED)
    model = make(name, config=DROPPED).eval()
    plain = make(name, config=GeneratorConfig(input_size=2, hidden_size=50, num_layers=2)).eval()
    plain.load_weights(model.weights())
    assert torch.equal(model(inputs(name), FORCED)[0], plain(inputs(name), FORCED)[0])


@every
def test_dropout_is_nn_rnns_in_training(name):
    """The same random numbers drop the same units as torch.nn.RNN does, scaled alike."""
    skip_unless(name, DROPPED)
    model = make(name, config=DROPPED).train()
    rnn = torch.nn.RNN(2, 50, 2, dropout=0.4, dtype=dtype_of(name))
    weights = dict(model.weights())
    readout = weights.pop("readout.weight"), weights.pop("readout.bias")
    rnn.load_state_dict(weights)
    x, forced = inputs(name, steps=1), torch.tensor([True])
    torch.manual_seed(7)
    top, states = rnn(x)
    torch.manual_seed(7)
    found, h_n = model(x, forced)
    torch.testing.assert_close(h_n, states)
    torch.testing.assert_close(found, top @ readout[0].t() + readout[1])
    assert not torch.allclose(found, model(x, forced)[0])


@every
def test_dropout_with_one_layer_is_silent_and_without_effect(name):
    config = GeneratorConfig(input_size=2, hidden_size=5, dropout=0.5)
    model = make(name, config=config).train()
    x = inputs(name)
    assert torch.equal(model(x, FORCED)[0], make(name).train()(x, FORCED)[0])


# Bad arguments: one line that says what was wrong and what would be right.

OTHER = {torch.float64: torch.float32, torch.float32: torch.float64}
BAD_CALLS = {
    "rank": (
        lambda x: (x[:, 0], FORCED, None),
        r"3 dimensions \(T, B, 2\), got 2",
    ),
    "features": (lambda x: (x[:, :, :1], FORCED, None), r"shape \(T, B, 2\).*got \(5, 4, 1\)"),
    "empty": (lambda x: (x[:0], FORCED[:0], None), r"T and B at least 1, got \(0, 4, 2\)"),
    "dtype": (
        lambda x: (x.to(OTHER[x.dtype]), FORCED, None),
        r"inputs are torch.float\d\d on cpu, but the weights are torch.float\d\d",
    ),
    "forced[0]": (lambda x: (x, ~FORCED, None), r"forced\[0\] must be True"),
    "forced length": (lambda x: (x, FORCED[:3], None), r"shape \(5,\), got .* \(3,\)"),
    "forced dtype": (lambda x: (x, FORCED.long(), None), "bool tensor.*got torch.int64"),
    "forced device": (lambda x: (x, FORCED.to("meta"), None), "must be on the CPU, got meta"),
    "h0 shape": (lambda x: (x, FORCED, x[:1]), r"h0 must have shape .*\(1, 4, 5\), got"),
    "h0 dtype": (
        lambda x: (x, FORCED, torch.zeros(1, 4, 5, dtype=OTHER[x.dtype])),
        r"h0 is torch.float\d\d on cpu, but the inputs are torch.float\d\d",
    ),
}


@every
@pytest.mark.parametrize("bad", BAD_CALLS)
def test_bad_arguments(name, bad):
    build, message = BAD_CALLS[bad]
    with pytest.raises(ValueError, match=message) as caught:
        make(name)(*build(inputs(name)))
    assert "\n" not in str(caught.value)


@every
def test_weights_with_a_missing_extra_or_misshaped_name(name):
    model = make(name)
    before = {key: weight.clone() for key, weight in model.weights().items()}
    good = {key: weight + 1 for key, weight in before.items()}
    missing = {key: weight for key, weight in good.items() if key != "bias_hh_l0"}
    with pytest.raises(ValueError, match="bias_hh_l0 missing"):
        model.load_weights(missing)
    with pytest.raises(ValueError, match="weight_hh_l1 unknown"):
        model.load_weights(good | {"weight_hh_l1": good["weight_hh_l0"]})
    with pytest.raises(ValueError, match=r"weight_ih_l0 must have shape \(5, 2\), got \(2, 5\)"):
        model.load_weights(good | {"weight_ih_l0": good["weight_ih_l0"].t()})
    with pytest.raises(ValueError, match=r"readout\.bias must have shape"):
        model.load_weights(good | {"readout.bias": good["readout.bias"][:1]})
    assert all(torch.equal(model.weights()[key], before[key]) for key in before)


@every
def test_loading_copies(name):
    model = make(name)
    weights = {key: weight.detach().clone() for key, weight in model.weights().items()}
    model.load_weights(weights)
    weights["weight_hh_l0"].zero_()
    assert model.weights()["weight_hh_l0"].abs().min() > 0


@every
@pytest.mark.parametrize("leaf", ["weight", "inputs", "h0"])
def test_who_computes_no_gradients_says_so_and_never_detaches(name, leaf):
    model, x, h0 = make(name), inputs(name), torch.zeros(1, 4, 5, dtype=dtype_of(name))
    model.requires_grad_(False)
    {"weight": model.weights()["weight_hh_l0"], "inputs": x, "h0": h0}[leaf].requires_grad_()
    if model.differentiable:
        assert all(outcome.requires_grad for outcome in model(x, FORCED, h0))
        return
    refusal = f"^{type(model).__name__} computes no gradients: call it under torch.inference_mode"
    with pytest.raises(RuntimeError, match=refusal):
        model(x, FORCED, h0)
    for without in (torch.no_grad, torch.inference_mode):
        with without():
            assert not any(outcome.requires_grad for outcome in model(x, FORCED, h0))


def test_what_runs_no_free_steps_refuses_them_and_runs_the_others():
    from tests.liars.faults import ForcedOnly

    model, free = ForcedOnly(GeneratorConfig(hidden_size=5)), torch.tensor([True, True, False])
    x = torch.randn(3, 4, 1)
    assert model(x, torch.ones(3, dtype=torch.bool))[0].shape == x.shape
    with pytest.raises(RuntimeError, match=r"^ForcedOnly runs no free steps, but step 2 is not f"):
        model(x, free)


@every
def test_what_is_not_supported_says_why(name):
    cls = impls.load(name)
    cpu = torch.device("cpu")
    assert cls.unsupported(GeneratorConfig(), cpu, torch.float32) is None
    assert "float16" in cls.unsupported(GeneratorConfig(), cpu, torch.float16)
    assert "meta" in cls.unsupported(GeneratorConfig(), torch.device("meta"), torch.float32)
    with pytest.raises(ValueError, match=f"{name}: needs float32 or float64, not float16"):
        impls.create(name, GeneratorConfig(), dtype=torch.float16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be a whole number of at least 1, got 0"),
        ({"hidden_size": True}, "hidden_size .* got True"),
        ({"num_layers": -1}, "num_layers .* got -1"),
        ({"input_size": 1.5}, "input_size .* got 1.5"),
        ({"nonlinearity": "gelu"}, "nonlinearity must be 'tanh' or 'relu', got 'gelu'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dropout": float("nan")}, "dropout .* got nan"),
    ],
)
def test_bad_configs(options, message):
    with pytest.raises(ValueError, match=message):
        GeneratorConfig(**options)
