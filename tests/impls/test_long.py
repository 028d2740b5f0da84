"""Very long closed loops: finite to the end, and as exact there as at the beginning."""

import numpy as np
import pytest
import torch

import impls
from bench import environment
from bench.config import LONG_FACTOR
from bench.parity import array, tensor_error, tolerance_of, weight_arrays
from bench.workloads import load_timed_weights
from impls import GeneratorConfig, reference
from tests.impls.fitting import ON_CUDA, UNCOMPILED, skip_unless_installed

STEPS, PIECE, FORCED, COMPARED = 100_000, 100, 50, 10
# A loop gives a GPU a dozen microseconds of work at every step, and itself takes ten times as long.
STEPS_ON_CUDA = 10_000
CONFIG = GeneratorConfig(hidden_size=32)


@pytest.mark.parametrize("name", UNCOMPILED)
def test_a_hundred_thousand_free_steps(name):
    run_long(name, "cpu", STEPS)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ON_CUDA)
def test_ten_thousand_free_steps_on_cuda(name):
    skip_unless_installed(name, "cuda")
    if not impls.load(name).closed_loop:
        pytest.skip(f"{name} runs no free steps")
    with environment.pinned(1):  # cuDNN rounds to tf32 unless told
        run_long(name, "cuda", STEPS_ON_CUDA)


def run_long(name, device, steps):
    model = impls.create(name, CONFIG, device=device)
    load_timed_weights(model, seed=3)
    inputs = torch.full((steps, 1, 1), float("nan"), device=device)
    inputs[:FORCED, 0, 0] = 0.6 * torch.cos(0.1 * torch.arange(FORCED, device=device))
    forced = torch.arange(steps) < FORCED
    with torch.inference_mode():
        predictions, h_n = model(inputs, forced)
        assert torch.isfinite(predictions).all()
        assert torch.isfinite(h_n).all()
        assert predictions[-1000:].std() > 1e-3, "it has come to rest: nothing is tested"
        follow(model, inputs[:FORCED], steps)


def follow(model, given, steps):
    """The same run in pieces; some of them again by the reference, from the state they began in."""
    weights = weight_arrays(model)
    tolerance = LONG_FACTOR * tolerance_of(type(model), given.dtype)
    y, h = model(given, torch.ones(len(given), dtype=torch.bool))
    first = torch.arange(PIECE) == 0
    blank = torch.full((PIECE, 1, 1), float("nan"), device=given.device)
    for piece in range((steps - FORCED) // PIECE):
        inputs, h0 = torch.cat([y[-1:], blank[1:]]), h
        y, h = model(inputs, first, h0)
        if piece % COMPARED == 0:
            exact = reference.forward(
                model.config, weights, array(inputs), first.tolist(), array(h0)
            )
            errors = [
                tensor_error(array(y), exact.predictions),
                tensor_error(array(h), exact.h_n),
            ]
            assert np.max(errors) < tolerance, piece
