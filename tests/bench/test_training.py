"""The lab recipe against a transcription of the lecture's loop; divergence; orthogonal starts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn, optim

import impls
from bench.evaluation import predict
from bench.muon import Muon
from bench.recipes import RECIPES, batches
from bench.training import DivergedError, restart, train
from impls import GeneratorConfig
from impls.initial import started
from tasks import TASKS
from tasks.forcing import warm_up
from tests.impls.fitting import UNCOMPILED, compiles_per_shape, skip_unless_differentiable

every = pytest.mark.parametrize("name", UNCOMPILED)


class SineRNN(nn.Module):
    """The slides' model, transcribed; its slip (`h1` read before it is set) mended with `h`."""

    def __init__(self, flips, p=0.5):
        super().__init__()
        self.rnn_layer = nn.RNN(input_size=1, hidden_size=128)
        self.out_layer = nn.Linear(in_features=128, out_features=1)
        self.p = p
        self.flips = flips

    def forward(self, seq, h=None):
        out = []
        X_in = torch.unsqueeze(seq[0], 0)
        for X in seq:
            if self.flips.random() > self.p:
                X_in = X.unsqueeze(dim=0)
            tmp, h = self.rnn_layer(X_in, h)
            X_in = self.out_layer(tmp)
            out.append(X_in)
        return torch.stack(out).squeeze(1), h


def slides_losses(weights, seed, iterations):
    """The slides' training loop, fed the same phases and coin flips as our recipe."""
    phases, flips = np.random.default_rng((seed, 1)), np.random.default_rng((seed, 2))
    seq = SineRNN(flips)
    readout = {name.removeprefix("readout."): w for name, w in weights.items() if "readout" in name}
    seq.out_layer.load_state_dict(readout)
    seq.rnn_layer.load_state_dict({n: w for n, w in weights.items() if "readout" not in n})
    criterion = nn.MSELoss()
    optimizer = optim.Adam(seq.parameters(), lr=0.001)
    train_loss = []
    for i in range(iterations):
        data = np.sin(np.linspace(0, 10, 100) + 2 * np.pi * phases.random())
        xs = data[:-1]
        ys = data[1:]
        X = torch.Tensor(xs).view(-1, 1, 1)
        y = torch.Tensor(ys)
        if i % 100 == 0:
            seq.p = min(seq.p + 0.1, 0.85)
        optimizer.zero_grad()
        rnn_out, _ = seq(X)
        loss = criterion(rnn_out[20:].view(-1), y[20:])
        loss.backward()
        optimizer.step()
        train_loss.append(loss.item())
    return train_loss


@every
def test_the_lab_recipe_is_the_slides_loop(name):
    skip_unless_differentiable(name)
    model = impls.create(name, GeneratorConfig(), seed=5)
    weights = {key: weight.detach().clone() for key, weight in model.weights().items()}
    expected = slides_losses(weights, seed=8, iterations=50)
    outcome = train(model, "lab", RECIPES["lab"], TASKS["sine"], seed=8, iterations=50)
    np.testing.assert_allclose(outcome.loss, expected, rtol=0, atol=1e-5)


def test_the_lab_recipe_past_the_first_growth_of_p():
    """At iterations 100, 200, 300 p grows; the flips that are drawn must follow it."""
    drawn = list(batches(RECIPES["lab"], TASKS["sine"], 8, 400))
    flips, p = np.random.default_rng((8, 2)), 0.5
    for i, batch in enumerate(drawn):
        if i % 100 == 0:
            p = min(p + 0.1, 0.85)
        expected = flips.random(99) > p
        np.testing.assert_array_equal(batch.forced[1:], expected[1:])
    assert RECIPES["lab"].iterations == 10_000


@every
def test_training_is_repeatable_and_learns(name):
    skip_unless_differentiable(name)
    recipe = RECIPES["quick"]
    if compiles_per_shape(name):
        recipe = replace(recipe, points=(61, 61))

    def losses():
        model = impls.create(name, GeneratorConfig(hidden_size=16), seed=1)
        return train(model, "quick", recipe, TASKS["cosine"], seed=2, iterations=40).loss

    first = losses()
    assert first == losses()
    assert len(first) == 40
    assert np.mean(first[-5:]) < 0.7 * first[0]


def test_batches_grow_as_the_recipe_says():
    drawn = list(batches(RECIPES["quick"], TASKS["cosine"], 0, 10))
    lengths = [len(batch.forced) for batch in drawn]
    assert lengths[0] == 60
    assert lengths == sorted(lengths)
    assert lengths[-1] == 300
    assert all(batch.sequences.inputs.shape[1] == RECIPES["quick"].batch_size for batch in drawn)
    assert all(batch.forced[:50].all() and not batch.forced[50:].any() for batch in drawn)


def test_how_often_a_step_runs_free_changes_through_the_training():
    recipe = replace(RECIPES["quick"], points=(2001, 2001), free_probability=(0.0, 1.0))
    drawn = list(batches(recipe, TASKS["cosine"], 0, 3))
    assert all(batch.forced[:50].all() for batch in drawn)
    shares = [batch.forced[50:].mean() for batch in drawn]
    assert shares[0] == 1.0
    assert shares[1] == pytest.approx(0.5, abs=0.05)
    assert shares[2] == 0.0


def test_a_fixed_set_of_sequences_is_all_that_is_trained_on():
    recipe = replace(RECIPES["quick"], sequences=3)
    drawn = list(batches(recipe, TASKS["cosine"], 0, 20))
    starts = {value for batch in drawn for value in batch.sequences.inputs[0, :, 0]}
    assert len(starts) == 3
    assert [len(batch.sequences.targets) for batch in drawn] == [len(b.forced) for b in drawn]
    for batch in drawn:
        inputs, targets = batch.sequences.inputs, batch.sequences.targets
        np.testing.assert_array_equal(inputs[1:], targets[:-1])


def test_seeds_tell_batches_apart():
    recipe, task = RECIPES["lab"], TASKS["cosine"]
    one, same, two = (next(batches(recipe, task, seed, 1)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.sequences.inputs, same.sequences.inputs)
    np.testing.assert_array_equal(one.forced, same.forced)
    assert not np.allclose(one.sequences.inputs, two.sequences.inputs)


def test_divergence_names_the_iteration(register):
    model = impls.create(register("diverges"), GeneratorConfig(hidden_size=4))
    with pytest.raises(DivergedError, match="the loss of iteration 2 is nan") as caught:
        train(model, "quick", RECIPES["quick"], TASKS["cosine"], seed=0, iterations=9)
    assert caught.value.iteration == 2


def test_orthogonal_start():
    model = impls.create("torch_cell", GeneratorConfig(hidden_size=9, num_layers=2))
    before = model.weights()["weight_ih_l1"].clone()
    restart(model, "orthogonal", seed=1)
    for layer in range(2):
        W = model.weights()[f"weight_hh_l{layer}"].detach()
        torch.testing.assert_close(W @ W.t(), torch.eye(9), atol=1e-6, rtol=0)
    assert torch.equal(model.weights()["weight_ih_l1"], before)
    first, second = (model.weights()[f"weight_hh_l{layer}"].clone() for layer in range(2))
    assert not torch.equal(first, second)
    restart(model, "orthogonal", seed=1)
    assert torch.equal(model.weights()["weight_hh_l0"], first)
    restart(model, "orthogonal", seed=2)
    assert not torch.allclose(model.weights()["weight_hh_l0"], first)


@pytest.mark.parametrize("recipe_name", ["quick", "best"])
def test_a_recipe_is_what_it_says(recipe_name):
    """Written out: orthogonal start, Adam, Muon for W, one cycle each, clipping, free steps."""
    recipe, iterations, seed = RECIPES[recipe_name], 6, 4
    config = GeneratorConfig(hidden_size=10)
    model = impls.create("manual_cell", config, seed=1).eval()
    starts = []
    handle = model.register_forward_pre_hook(
        lambda model, _: starts.append(model.weights()["weight_hh_l0"].detach().clone())
    )
    found = train(model, recipe_name, recipe, TASKS["cosine"], seed, iterations=iterations)
    handle.remove()
    assert model.training
    torch.testing.assert_close(starts[0] @ starts[0].t(), torch.eye(10), atol=1e-6, rtol=0)

    again = impls.create("torch_cell", config, seed=1)
    restart(again, "orthogonal", seed)
    W = again.weights()["weight_hh_l0"]
    others = [each for each in again.parameters() if each is not W]
    # Our own Muon, for PyTorch's rounds to bfloat16: tests/bench/test_muon.py compares the two.
    optimizers = [optim.Adam(others, lr=2e-2), Muon([W], lr=3e-3)]
    schedules = [
        optim.lr_scheduler.OneCycleLR(
            each, each.defaults["lr"], total_steps=6, pct_start=0.2, cycle_momentum=False
        )
        for each in optimizers
    ]
    losses = []
    for batch in batches(recipe, TASKS["cosine"], seed, iterations):
        x, y = (
            torch.from_numpy(a).float() for a in (batch.sequences.inputs, batch.sequences.targets)
        )
        forced = torch.arange(len(x)) < 50
        loss = (again(x, forced)[0][50:] - y[50:]).square().mean()
        again.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(again.parameters(), 1.0)
        for each in (*optimizers, *schedules):
            each.step()
        losses.append(loss.item())
    np.testing.assert_allclose(found.loss, losses, rtol=1e-5)
    for name, weight in again.weights().items():
        torch.testing.assert_close(model.weights()[name], weight, rtol=1e-4, atol=1e-5)


def test_another_start_than_the_recipes():
    recipe, seed = RECIPES["quick"], 4
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=10), seed=1)
    expected = started(
        {n: w.detach().clone() for n, w in model.weights().items()}, "normal", seed, 0.5
    )
    starts = []
    handle = model.register_forward_pre_hook(
        lambda model, _: starts.append({n: w.detach().clone() for n, w in model.weights().items()})
    )
    train(model, "quick", recipe, TASKS["cosine"], seed, iterations=1, init="normal", init_gain=0.5)
    handle.remove()
    for name, weight in expected.items():
        torch.testing.assert_close(starts[0][name], weight.float())


def test_batch_first_trains_and_predicts_the_same():
    config, task = GeneratorConfig(hidden_size=6), TASKS["cosine"]
    found = []
    for each in (config, replace(config, batch_first=True)):
        model = impls.create("manual_cell", each, seed=1)
        training = train(model, "quick", RECIPES["quick"], task, seed=0, iterations=3)
        points = np.random.default_rng(0).normal(size=(9, 4, 1))
        found.append((training.loss, predict(model, points, warm_up(9, 3))))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)
