"""Every argument of ``torch.nn.RNN``, by its name, in every implementation that takes it."""

import inspect
import re
from dataclasses import fields, replace

import pytest
import torch
from torch import nn

import impls
from impls import GeneratorConfig
from impls.config import READS_THE_FUTURE
from tests.impls.fitting import UNCOMPILED, dtype_of, takes
from tests.impls.test_sequence import DRAWN, twin

SMALL = GeneratorConfig(input_size=2, hidden_size=5)
CHANGES = {
    "input_size": 3,
    "hidden_size": 7,
    "num_layers": 2,
    "nonlinearity": "relu",
    "bias": False,
    "batch_first": True,
    "dropout": 0.5,
    "bidirectional": True,
}
REFUSALS = {
    "num_layers": "folds the feedback of one layer, not of 2",
    "bidirectional": "runs forwards alone, and has no bidirectional layers",
}
drawn = pytest.mark.parametrize("name", DRAWN)  # whatever compiles no shape
every = pytest.mark.parametrize("name", UNCOMPILED)


def answers(name, config, seed=3):
    """What the model and nn.RNN predict for the same four steps of three sequences, and h_n."""
    model = impls.create(name, config, dtype=dtype_of(name), seed=seed).eval()
    torch.manual_seed(0)
    like = model.weights()["readout.bias"]
    inputs = torch.randn(4, 3, config.input_size).to(like)
    inputs = inputs.transpose(0, 1).contiguous() if config.batch_first else inputs
    rnn, readout = twin(model)
    with torch.no_grad():
        top, h_n = rnn(inputs)
        called = model(inputs, torch.ones(4, dtype=torch.bool))
        return called, model.sequence(inputs), (readout(top), h_n)


def test_no_argument_of_nn_rnn_is_missing():
    """As its own doc string lists them; device and dtype are where a model lies."""
    text = inspect.getdoc(nn.RNN).split("Inputs:")[0]
    assert set(re.findall(r"^ +([a-z_]+): ", text, re.MULTILINE)) == set(CHANGES)
    assert {field.name for field in fields(GeneratorConfig)} == set(CHANGES)


@every
@pytest.mark.parametrize("argument", CHANGES)
def test_an_argument_is_nn_rnns_or_refused_with_the_reason(argument, name):
    config = replace(SMALL, **{argument: CHANGES[argument]})
    if not takes(name, config):
        reason = impls.load(name).unsupported(config, torch.device("cpu"), torch.float32)
        assert reason == REFUSALS[argument]
        return
    called, sequence, exact = answers(name, config)
    for found in (called, sequence):
        for one, other in zip(found, exact, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert called[0].shape == ((3, 4) if config.batch_first else (4, 3)) + (config.input_size,)
    assert called[1].shape == config.state_shape(3)


def test_who_takes_which():
    """A refusal that goes, or comes, is told of here."""
    refuse = {
        argument: {n for n in UNCOMPILED if not takes(n, replace(SMALL, **{argument: value}))}
        for argument, value in CHANGES.items()
    }
    assert refuse.pop("num_layers") == {"folded", "onnx_runtime"}
    both_ways = {"torch_rnn", "torch_cell", "manual_cell"}
    assert refuse.pop("bidirectional") == set(UNCOMPILED) - both_ways
    assert set().union(*refuse.values()) == set()


@drawn
def test_batch_first_turns_inputs_and_predictions_and_not_the_states(name):
    """Of free steps too; gradients reach the inputs as they lie."""
    plain = impls.create(name, SMALL, dtype=dtype_of(name))
    turned = impls.create(name, replace(SMALL, batch_first=True), dtype=dtype_of(name))
    for model in (plain, turned):
        model.requires_grad_(model.differentiable)
    like = plain.weights()["readout.bias"]
    forced = torch.tensor([True, False, True, False])
    inputs, h0 = torch.randn(4, 3, 2).to(like), torch.randn(1, 3, 5).to(like)
    other = inputs.transpose(0, 1).contiguous()
    if plain.differentiable:
        inputs.requires_grad_()
        other.requires_grad_()
    found, exact = turned(other, forced, h0), plain(inputs, forced, h0)
    torch.testing.assert_close(found[0].transpose(0, 1), exact[0])
    torch.testing.assert_close(found[1], exact[1])
    if plain.differentiable:
        (found[0] ** 2).sum().backward()
        (exact[0] ** 2).sum().backward()
        torch.testing.assert_close(other.grad.transpose(0, 1), inputs.grad)


def test_batch_first_is_told_in_bad_shapes():
    model = impls.create("manual_cell", replace(SMALL, batch_first=True))
    with pytest.raises(ValueError, match=r"inputs must have 3 dimensions \(B, T, 2\), got 2"):
        model(torch.zeros(4, 2), torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"forced must be a bool tensor of shape \(4,\)"):
        model(torch.zeros(3, 4, 2), torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize("name", ["torch_rnn", "torch_cell", "manual_cell"])
def test_bidirectional_layers_refuse_free_steps_with_the_reason(name):
    model = impls.create(name, replace(SMALL, bidirectional=True))
    with pytest.raises(ValueError, match=READS_THE_FUTURE) as caught:
        model(torch.zeros(3, 2, 2), torch.tensor([True, True, False]))
    assert "step 2 is free" in str(caught.value)
    assert "\n" not in str(caught.value)


@drawn
@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_in_sequences(name, bidirectional):
    """Other units at every call, the expectation kept to first order, and off in eval()."""
    config = GeneratorConfig(2, 64, num_layers=2, dropout=0.3, bidirectional=bidirectional)
    if not takes(name, config):
        pytest.skip(f"{name} refuses {config}")
    model = impls.create(name, config, dtype=dtype_of(name))
    inputs = torch.randn(4, 2000, 2, generator=torch.Generator().manual_seed(0))
    inputs = inputs[:, :1].expand(4, 2000, 2).to(model.weights()["readout.bias"])
    lengths = torch.tensor([4] * 1000 + [2] * 1000)
    with torch.no_grad():
        one, other = (model.train().sequence(inputs, lengths)[0] for _ in range(2))
        exact = model.eval().sequence(inputs, lengths)[0]
        assert torch.equal(exact, model.sequence(inputs, lengths)[0])
    assert not torch.equal(one, other)
    assert one[:2].std(1).min() > 1e-3
    for half in (slice(0, 1000), slice(1000, 2000)):
        torch.testing.assert_close(one[:, half].mean(1), exact[:, half].mean(1), atol=0.03, rtol=0)


@every
def test_dropout_with_one_layer_drops_nothing(name):
    model = impls.create(name, replace(SMALL, dropout=0.5), dtype=dtype_of(name)).train()
    model.requires_grad_(model.differentiable)
    inputs = torch.randn(4, 3, 2).to(model.weights()["readout.bias"])
    lengths = torch.tensor([4, 2, 3])
    assert torch.equal(model.sequence(inputs, lengths)[0], model.sequence(inputs, lengths)[0])


@every
def test_h0_none_is_zeros_in_sequences(name):
    model = impls.create(name, SMALL, dtype=dtype_of(name))
    model.requires_grad_(model.differentiable)
    inputs = torch.randn(4, 3, 2).to(model.weights()["readout.bias"])
    zeros, lengths = inputs.new_zeros(1, 3, 5), torch.tensor([4, 2, 3])
    found, exact = model.sequence(inputs, lengths), model.sequence(inputs, lengths, zeros)
    assert all(map(torch.equal, found, exact))
    assert not torch.allclose(model.sequence(inputs, lengths, zeros + 1)[1], exact[1])
