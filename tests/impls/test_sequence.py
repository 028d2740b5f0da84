"""Sequences of several lengths, and bidirectional layers, against ``torch.nn.RNN`` itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import impls
from bench.config import TOLERANCE
from impls import REGISTRY, GeneratorConfig, reference, sequences
from tests.impls.fitting import ON_CPU, compiles_per_shape, dtype_of, takes

CONFIGS = st.builds(
    GeneratorConfig,
    input_size=st.integers(1, 3),
    hidden_size=st.integers(1, 12),
    num_layers=st.integers(1, 3),
    nonlinearity=st.sampled_from(["tanh", "relu"]),
    bias=st.booleans(),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
)
PACKING = st.sampled_from(["lengths", "packed", "packed and sorted"])
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=5)
FIXED = GeneratorConfig(input_size=2, hidden_size=5), [1, 3, 3]
DRAWN = [n for n in ON_CPU if not (REGISTRY[n].compiles or compiles_per_shape(n))]
COMPILED = [name for name in ON_CPU if name not in DRAWN]
BOTH_WAYS = [name for name in ON_CPU if impls.load(name).bidirectional]


def nearest(config, name):
    """``config`` as near to it as ``name`` takes it."""
    for changes in ({}, {"num_layers": 1}, {"bidirectional": False}):
        config = replace(config, **changes)
        if takes(name, config):
            break
    return config


def twin(model):
    """``nn.RNN`` and its read-out, with the model's weights."""
    config = model.config
    rnn = nn.RNN(
        config.input_size,
        config.hidden_size,
        config.num_layers,
        nonlinearity=config.nonlinearity,
        bias=config.bias,
        bidirectional=config.bidirectional,
        batch_first=config.batch_first,
    )
    readout = nn.Linear(config.directions * config.hidden_size, config.input_size)
    weights = {name: weight.detach() for name, weight in model.weights().items()}
    for module in (rnn, readout):
        module.to(weights["readout.bias"])
    own = {n.removeprefix("readout."): w for n, w in weights.items() if n.startswith("readout")}
    readout.load_state_dict(own)
    rnn.load_state_dict({n: w for n, w in weights.items() if not n.startswith("readout")})
    return rnn, readout


def drawn(config, lengths, dtype, seed=0):
    """Inputs in the config's layout, NaN behind every end, and h0."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(max(lengths), len(lengths), config.input_size))
    for column, length in enumerate(lengths):
        points[length:, column] = np.nan
    inputs = torch.from_numpy(points).to(dtype)
    h0 = torch.from_numpy(rng.normal(size=config.state_shape(len(lengths)))).to(dtype)
    return inputs.transpose(0, 1).contiguous() if config.batch_first else inputs, h0


def answers(predictions, h_n, leaves):
    """Outcomes, and gradients of a loss that weighs each of their numbers differently."""
    if isinstance(predictions, PackedSequence):
        predictions = predictions.data
    if not h_n.requires_grad:
        return [predictions, h_n]
    weighted = [torch.cos(torch.arange(x.numel()).to(x)).view(x.shape) for x in (predictions, h_n)]
    loss = (predictions * weighted[0]).sum() + (h_n * weighted[1]).sum()
    return [predictions, h_n, *torch.autograd.grad(loss, leaves)]


def ours(model, inputs, h0, lengths=None):
    """What the model answers, in the order of nn.RNN's weights."""
    weights = model.weights()
    own = [weight for name, weight in weights.items() if not name.startswith("readout")]
    leaves = [*own, weights["readout.weight"], weights["readout.bias"], h0]
    if not model.differentiable:
        with torch.no_grad():
            return answers(*model.sequence(inputs, lengths, h0), [])
    points = inputs.data if isinstance(inputs, PackedSequence) else inputs
    return answers(*model.sequence(inputs, lengths, h0), [*leaves, points])


def theirs(model, inputs, h0, lengths=None):
    """The same of nn.RNN, on what is packed, or on what it packs itself."""
    rnn, readout = twin(model)
    first = model.config.batch_first
    points = inputs.data if isinstance(inputs, PackedSequence) else inputs
    if lengths is not None:
        inputs = pack_padded_sequence(inputs, lengths, batch_first=first, enforce_sorted=False)
    top, h_n = rnn(inputs, h0)
    if isinstance(top, PackedSequence):
        found = top._replace(data=readout(top.data))
    else:
        found = readout(top)
    if lengths is not None:
        found, _ = pad_packed_sequence(found, batch_first=first, total_length=int(max(lengths)))
    return answers(found, h_n, [*rnn.parameters(), *readout.parameters(), h0, points])


def assert_alike(model, arguments, more=()):
    """Outcomes and gradients, as far as the model gives any."""
    points, h0 = arguments
    dtype = h0.dtype
    h0.requires_grad_()
    (points.data if isinstance(points, PackedSequence) else points).requires_grad_()
    tolerance = TOLERANCE[str(dtype).removeprefix("torch.")]
    found, exact = ours(model, points, h0, *more), theirs(model, points, h0, *more)
    assert len(found) == (len(exact) if model.differentiable else 2)
    for one, other in zip(found, exact, strict=False):
        scale = max(1.0, float(other.detach().abs().max()))
        torch.testing.assert_close(one, other, rtol=0.0, atol=tolerance * scale)


def compare_with_nn_rnn(name, config, lengths, seed, packing="lengths"):
    """Padded with lengths; or packed, sorted or not."""
    dtype = dtype_of(name)
    model = impls.create(name, config, dtype=dtype, seed=seed)
    model.requires_grad_(model.differentiable)
    inputs, h0 = drawn(config, lengths, dtype, seed)
    if packing == "lengths":
        assert_alike(model, (inputs, h0), [torch.tensor(lengths)])
        return
    options = {"batch_first": config.batch_first, "enforce_sorted": False}
    packed = pack_padded_sequence(inputs, torch.tensor(lengths), **options)
    if packing == "packed and sorted":  # whoever packs so has sorted the batch, and h0 with it
        packed = PackedSequence(*packed[:2])
    assert_alike(model, (packed, h0))


@pytest.mark.parametrize("name", DRAWN)
@given(config=CONFIGS, lengths=LENGTHS, seed=st.integers(0, 2**31), packing=PACKING)
@settings(max_examples=20)
def test_lengths_are_nn_rnns(name, config, lengths, seed, packing):
    compare_with_nn_rnn(name, nearest(config, name), lengths, seed, packing)


@pytest.mark.parametrize("name", COMPILED)
def test_lengths_are_nn_rnns_where_every_shape_is_compiled(name):
    compare_with_nn_rnn(name, *FIXED, seed=1)


@pytest.mark.parametrize("name", BOTH_WAYS)
@given(config=CONFIGS, lengths=LENGTHS, seed=st.integers(0, 2**31), packing=PACKING)
@settings(max_examples=40)
def test_bidirectional_layers_are_nn_rnns(name, config, lengths, seed, packing):
    compare_with_nn_rnn(name, replace(config, bidirectional=True), lengths, seed, packing)


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_dropout_between_bidirectional_layers_is_nn_rnns(name):
    """The same random numbers drop the same, of sequences of several lengths too."""
    config = GeneratorConfig(2, 20, num_layers=2, bidirectional=True)
    model = impls.create(name, replace(config, dropout=0.4), dtype=torch.float64).train()
    inputs, h0 = drawn(config, [3, 7, 1], torch.float64)
    packed = pack_padded_sequence(inputs, torch.tensor([3, 7, 1]), enforce_sorted=False)
    rnn, readout = twin(model)
    rnn.dropout = 0.4
    torch.manual_seed(7)
    top, states = rnn(packed, h0)
    torch.manual_seed(7)
    found, h_n = model.sequence(packed, h0=h0)
    torch.testing.assert_close(h_n, states)
    torch.testing.assert_close(found.data, readout(top.data))
    assert not torch.allclose(found.data, model.sequence(packed, h0=h0)[0].data)


@given(config=CONFIGS, lengths=LENGTHS, seed=st.integers(0, 2**31))
@settings(max_examples=15)
def test_the_reference_is_nn_rnn_sequence_by_sequence(config, lengths, seed):
    config = replace(config, batch_first=False, bidirectional=True)
    model = impls.create("torch_rnn", config, dtype=torch.float64, seed=seed)
    inputs, h0 = drawn(config, lengths, torch.float64, seed)
    found, h_n = model.sequence(inputs, torch.tensor(lengths), h0)
    weights = {name: weight.detach().numpy() for name, weight in model.weights().items()}
    for n, length in enumerate(lengths):
        alone = inputs[:length, n : n + 1].numpy(), [True] * length, h0[:, n : n + 1].numpy()
        exact = reference.forward(config, weights, *alone)
        np.testing.assert_allclose(found[:length, n : n + 1].detach(), exact.predictions, atol=1e-9)
        np.testing.assert_allclose(h_n[:, n : n + 1].detach(), exact.h_n, atol=1e-9)


def test_the_batch_becomes_smaller_where_sequences_end():
    assert list(sequences.spans(torch.tensor([4, 4, 3, 1, 1, 1]))) == [(4, 2), (3, 1), (1, 3)]


def test_the_order_of_the_batch_does_not_matter():
    model = impls.create("torch_cell", GeneratorConfig(2, 5, bidirectional=True))
    inputs, h0 = drawn(model.config, [3, 7, 1, 7], torch.float32)
    order = torch.tensor([2, 0, 3, 1])
    lengths = torch.tensor([3, 7, 1, 7])
    found, h_n = model.sequence(inputs, lengths, h0)
    other, other_h_n = model.sequence(inputs[:, order], lengths[order], h0[:, order])
    torch.testing.assert_close(other, found[:, order])
    torch.testing.assert_close(other_h_n, h_n[:, order])


GOOD = torch.tensor([3, 2])
BAD_LENGTHS = {
    "a list": ([3, 2], r"int64 tensor of shape \(2,\) on the CPU, got a list"),
    "floats": (torch.tensor([3.0, 2.0]), r"int64 tensor .* got torch.float32 of shape \(2,\)"),
    "int32": (GOOD.int(), "got torch.int32"),
    "one too few": (GOOD[:1], r"shape \(2,\) on the CPU, got torch.int64 of shape \(1,\)"),
    "of another rank": (GOOD[:, None], r"of shape \(2, 1\)"),
    "0": (torch.tensor([3, 0]), "lengths must be from 1 to T = 3, got 0"),
    "below 0": (torch.tensor([-1, 3]), "lengths must be from 1 to T = 3, got -1"),
    "beyond the end": (torch.tensor([4, 3]), "lengths must be from 1 to T = 3, got 4"),
    "on another device": (GOOD.to("meta"), "on the CPU, got one on meta"),
}


@pytest.mark.parametrize("bad", BAD_LENGTHS)
def test_bad_lengths(bad):
    lengths, message = BAD_LENGTHS[bad]
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=3))
    with pytest.raises(ValueError, match=message) as caught:
        model.sequence(torch.zeros(3, 2, 1), lengths)
    assert "\n" not in str(caught.value)


def test_bad_packed_inputs():
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=3))
    packed = pack_padded_sequence(torch.zeros(3, 2, 2), GOOD)
    with pytest.raises(ValueError, match="packed inputs must have 1 features, got data of shape"):
        model.sequence(packed)
    packed = pack_padded_sequence(torch.zeros(3, 2, 1), GOOD)
    with pytest.raises(ValueError, match="lengths must be None: packed inputs have their own"):
        model.sequence(packed, GOOD)
    with pytest.raises(ValueError, match=r"inputs are torch\.float64 on cpu, but the w"):
        model.sequence(packed.double())
    with pytest.raises(ValueError, match=r"h0 must have shape \(L D, B, H\) = \(1, 2, 3\), got"):
        model.sequence(packed, h0=torch.zeros(1, 3, 3))


def test_who_computes_no_gradients_says_so_of_sequences_too():
    from tests.liars.faults import NotDifferentiable

    model = NotDifferentiable(GeneratorConfig(hidden_size=3))
    with pytest.raises(RuntimeError, match="computes no gradients"):
        model.sequence(torch.zeros(3, 2, 1), GOOD)
