"""Muon: the steps of PyTorch's own, in full precision."""

import pytest
import torch

from bench.muon import Muon, orthogonalised


def matrices(count, size, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 3, 64])
def test_singular_values_come_close_to_one(size):
    [matrix] = matrices(1, size, 0)
    U, values, Vt = torch.linalg.svd(matrix)
    found = orthogonalised(matrix)
    inner = (U.T @ found @ Vt.T).diagonal()  # in the matrix's own singular vectors
    assert (found - U @ torch.diag(inner) @ Vt).abs().max() < 1e-10
    usual = inner[values > 1e-3 * matrix.norm()]
    assert usual.min() > 0.3
    assert inner.max() < 1.3
    assert orthogonalised(torch.zeros(2, 2)).abs().max() == 0.0


def test_steps_are_those_of_pytorch():
    """Its own are in bfloat16, whose eight bits of a fraction are all that can differ."""
    start, *gradients = matrices(9, 32, 1).float()
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimisers = [Muon([ours], lr=0.1), torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0)]
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimiser in optimisers:
            optimiser.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.03 * moved


def test_a_schedule_sets_its_rate_and_a_missing_gradient_moves_nothing():
    weight = torch.nn.Parameter(torch.eye(4))
    optimiser = Muon([weight], lr=0.5)
    optimiser.step()
    assert torch.equal(weight, torch.eye(4))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda _: 0.0)
    weight.grad = torch.eye(4)
    optimiser.step()
    assert torch.equal(weight, torch.eye(4))
    assert schedule.get_last_lr() == [0.0]


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"square matrices, not \(2, 3\)"):
        Muon([torch.nn.Parameter(torch.ones(2, 3))], lr=0.1)
