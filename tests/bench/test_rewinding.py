"""A training whose loss leaps goes on from before the leap."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import impls
from bench import training
from bench.recipes import RECIPES
from bench.rewinding import WINDOW, Rewinding
from bench.training import DivergedError, train
from impls import GeneratorConfig
from tasks import TASKS

RECIPE = replace(RECIPES["quick"], points=(61, 61), rewind_above=10.0, loss_warm_up=20)


def trained(recipe, iterations, spoil):
    """A training whose weights ``spoil`` may change after an iteration; weights by iteration."""
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=4), seed=1)
    seen = []

    def on_iteration():
        seen.append({name: w.detach().clone() for name, w in model.weights().items()})
        spoil(len(seen), model)

    outcome = train(model, "own", recipe, TASKS["cosine"], 2, iterations=iterations,
                    on_iteration=on_iteration)  # fmt: skip
    return outcome, seen, model


def test_a_leap_is_undone_and_training_goes_on():
    def spoil(iteration, model):
        if iteration == 3 * WINDOW + 10:
            with torch.no_grad():
                model.weights()["readout.weight"].mul_(100.0)

    outcome, seen, _ = trained(RECIPE, 4 * WINDOW, spoil)
    leap = 3 * WINDOW + 10
    assert outcome.loss[leap] > 10 * np.median(outcome.loss[leap - WINDOW : leap])
    for name, weight in seen[leap].items():  # those of the older of two copies
        torch.testing.assert_close(weight, seen[2 * WINDOW - 1][name], rtol=0, atol=0)
    assert max(outcome.loss[leap + 1 :]) < outcome.loss[leap] / 10
    assert len(outcome.loss) == 4 * WINDOW


def test_nothing_is_undone_where_the_recipe_does_not_say_so():
    def spoil(iteration, model):
        if iteration == 2 * WINDOW + 5:
            with torch.no_grad():
                model.weights()["readout.weight"].mul_(100.0)

    recipe = replace(RECIPE, rewind_above=None)
    outcome, _, _ = trained(recipe, 2 * WINDOW + 10, spoil)
    assert min(outcome.loss[2 * WINDOW + 5 :]) > 10 * outcome.loss[2 * WINDOW]


def test_what_is_not_a_number_ends_a_training_all_the_same():
    def spoil(iteration, model):
        if iteration == WINDOW + 3:
            with torch.no_grad():
                model.weights()["readout.bias"].fill_(torch.nan)

    with pytest.raises(DivergedError, match=f"iteration {WINDOW + 3}"):
        trained(RECIPE, 2 * WINDOW, spoil)


def test_optimisers_go_back_with_the_weights():
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=3), seed=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    rewinding = Rewinding(model, [optimiser], 5.0)
    moments = []
    for _ in range(2 * WINDOW):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
        rewinding.keep(1.0)
        moments.append(optimiser.state_dict()["state"][0]["exp_avg"].clone())
    assert not rewinding.leapt(5.0)
    assert rewinding.leapt(5.1)
    rewinding.rewind()
    state = optimiser.state_dict()["state"][0]
    torch.testing.assert_close(state["exp_avg"], moments[WINDOW - 1], rtol=0, atol=0)
    assert state["step"] == WINDOW


def test_the_quadratic_schedule_rises_for_a_tenth_and_falls_to_nothing():
    shares = [training._quadratic((n + 1) / 1000) for n in range(1000)]
    assert max(shares) == 1.0
    assert shares.index(1.0) == 99
    assert shares[49] == pytest.approx(0.5)
    assert shares[549] == pytest.approx(0.25)
    assert shares[-1] == 0.0
