"""One call a run, and a fold that is only a fold."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import impls
from impls import GeneratorConfig
from impls.folded import Folded, in_one_piece
from impls.folding import runs


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_runs_cover_every_step_once_and_change_at_their_ends(forced):
    found = list(runs(forced))
    assert [flag for start, end, kind in found for flag in [kind] * (end - start)] == forced
    assert all(a[1] == b[0] and a[2] != b[2] for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("forced", "of_inputs", "without"),
    [
        ([True] * 9, [9], []),
        ([True] * 4 + [False] * 5, [4], [5]),
        ([True, False, False, True, True, False], [1, 2, 1], [2]),  # one step is not worth a fold
    ],
)
def test_a_run_is_one_call(forced, of_inputs, without, monkeypatch):
    model = impls.create("folded", GeneratorConfig(hidden_size=3))
    seen = {"rnn": [], "folded": []}
    model.rnn.register_forward_pre_hook(lambda _, given: seen["rnn"].append(len(given[0])))
    honest = Folded._without_inputs

    def counted(self, steps, *rest):
        seen["folded"].append(steps)
        return honest(self, steps, *rest)

    monkeypatch.setattr(Folded, "_without_inputs", counted)
    model(torch.randn(len(forced), 2, 1), torch.tensor(forced))
    assert seen == {"rnn": of_inputs, "folded": without}


def test_two_layers_are_refused():
    reason = Folded.unsupported(GeneratorConfig(num_layers=2), torch.device("cpu"), torch.float32)
    assert reason == "folds the feedback of one layer, not of 2"


def assert_in_one_piece(weights):
    """They lie one after the other from the beginning of one block, as cuDNN wants them."""
    start = weights[0].untyped_storage().data_ptr()
    for weight in weights:
        assert weight.data_ptr() == start
        start += weight.numel() * weight.element_size()


def test_in_one_piece_they_are_the_same_weights():
    apart = [torch.randn(3, 1, requires_grad=True), torch.randn(3, 3, requires_grad=True)]
    together = in_one_piece(apart)
    assert_in_one_piece(together)
    assert all(map(torch.equal, together, apart))
    factors = [torch.randn(3, 1), torch.randn(3, 3)]
    sum((a * b).sum() for a, b in zip(together, factors, strict=True)).backward()
    assert all(torch.equal(weight.grad, b) for weight, b in zip(apart, factors, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["torch_rnn", "folded"])
def test_on_cuda_the_weights_lie_in_one_piece(name):
    """They were put so when they were moved, and loading others has left them there."""
    model = impls.create(name, GeneratorConfig(), device="cuda")
    assert_in_one_piece(model.rnn._flat_weights)
    if name == "folded":
        assert_in_one_piece(model._folded())
    # What cuDNN would warn of is an error here.
    model(torch.randn(9, 2, 1, device="cuda"), torch.arange(9) < 3)[0].sum().backward()
