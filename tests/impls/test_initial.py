"""Starts: what each draws, how wide, and nothing else."""

from typing import get_args

import pytest
import torch
from torch import nn

from impls import GeneratorConfig
from impls.config import InitName
from impls.generator import initial_weights
from impls.initial import INITS, started

CONFIG = GeneratorConfig(input_size=3, hidden_size=400, num_layers=2)
BEFORE = initial_weights(CONFIG, seed=0)
# Standard deviations of the matrices, from H = 400 and I = 3.
WIDTHS = {
    "uniform": {"weight_ih_l0": 1 / 20 / 3**0.5, "weight_hh_l0": 1 / 20 / 3**0.5},
    "normal": {"weight_ih_l0": 1 / 20, "weight_hh_l0": 1 / 20},
    "xavier_uniform": {"weight_ih_l0": (2 / 403) ** 0.5, "weight_hh_l0": 1 / 20},
    "xavier_normal": {"weight_ih_l0": (2 / 403) ** 0.5, "weight_hh_l0": 1 / 20},
    "kaiming_uniform": {"weight_ih_l0": (2 / 3) ** 0.5, "weight_hh_l0": 2**0.5 / 20},
    "kaiming_normal": {"weight_ih_l0": (2 / 3) ** 0.5, "weight_hh_l0": 2**0.5 / 20},
    "orthogonal": {"weight_hh_l0": 1 / 20},
}


def test_the_names_are_those_of_the_options():
    assert tuple(INITS) == get_args(InitName)


@pytest.mark.parametrize("gain", [1.0, 0.3])
@pytest.mark.parametrize("init", WIDTHS)
def test_the_width_of_a_start(init, gain):
    found = started(BEFORE, init, 1, gain)
    for name, width in WIDTHS[init].items():
        assert found[name].std().item() == pytest.approx(gain * width, rel=0.05)
        assert abs(found[name].mean().item()) < 0.1 * gain * width
        uniform = found[name].abs().max() < 2 * gain * width
        assert uniform == init.endswith("uniform")


@pytest.mark.parametrize("init", INITS)
def test_what_is_drawn_and_what_stays(init):
    copies = {name: weight.clone() for name, weight in BEFORE.items()}
    found = started(BEFORE, init, 1)
    assert list(found) == list(BEFORE)
    drawn = {name for name in BEFORE if not torch.equal(found[name], BEFORE[name])}
    inputs = set() if init == "orthogonal" else {"weight_ih_l0", "weight_ih_l1"}
    assert drawn == {"weight_hh_l0", "weight_hh_l1"} | inputs
    assert all(torch.equal(BEFORE[name], copies[name]) for name in BEFORE)
    assert not torch.equal(found["weight_hh_l0"], found["weight_hh_l1"])


@pytest.mark.parametrize("init", INITS)
def test_a_seed_names_the_draw(init):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = started(BEFORE, init, 1)["weight_hh_l0"]
        after = torch.rand(1)
        torch.manual_seed(5)
        assert torch.rand(1) == after, "it has drawn from everybody's generator"
    assert torch.equal(started(BEFORE, init, 1)["weight_hh_l0"], first)
    assert not torch.allclose(started(BEFORE, init, 2)["weight_hh_l0"], first)


def test_uniform_is_as_wide_as_nn_rnn_starts():
    ours = started(BEFORE, "uniform", 1)
    for name, weight in nn.RNN(3, 400, num_layers=2).named_parameters():
        if name.startswith("weight"):
            assert ours[name].abs().max().item() == pytest.approx(weight.abs().max().item(), 1e-2)
