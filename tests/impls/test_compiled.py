"""What compiling must not change: patterns as data, no way back to eager, warnings, processes.

What is compiled lands in a folder that all tests share; few shapes, for each takes seconds.
"""

import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import psutil
import pytest
import torch

import impls
from bench.config import TOLERANCE
from bench.listing import listing
from bench.parity import compare, draw_trial
from impls import GeneratorConfig
from impls.compiled import ALONE, Compiled, _compiled
from impls.compiler import no_compiler_reason
from tests.impls.answers import (
    assert_two_callers_get_what_each_gets_alone,
    drawn,
    gradients,
)

needs_compiler = pytest.mark.skipif(
    no_compiler_reason() is not None, reason=str(no_compiler_reason())
)
SMALL = GeneratorConfig(input_size=2, hidden_size=5)  # that of the contract's tests
DEEP = GeneratorConfig(5, 4, num_layers=2, nonlinearity="relu", bias=False)

data = partial(drawn, dtype=torch.float64)


def make(config=SMALL, name="compiled", seed=3):
    return impls.create(name, config, dtype=torch.float64, seed=seed)


# Right, and compiled once.


@needs_compiler
@pytest.mark.parametrize(
    ("config", "batches"),
    [(SMALL, [1]), (SMALL, [4, 2, 7]), (DEEP, [3])],
    ids=["alone", "together", "deep"],
)
def test_other_lengths_patterns_batches_and_frozen_weights_are_right_and_compile_nothing(
    config, batches
):
    """One step, less and more than a chunk, a whole number of them: one program each way."""
    rng = np.random.default_rng(7)
    gradients(make(config), *data(3, batches[0], config.input_size))
    before = _compiled.cache_info().currsize
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in batches:
            for seed, steps in enumerate((1, 5, 2 * ALONE, 2 * ALONE + 5)):
                forced = rng.random(steps) < 0.5
                forced[0] = True
                model = make(config, seed=seed)
                errors = compare(
                    model, model, draw_trial(config, rng, forced, batch, torch.float64)
                )
                assert errors.within(TOLERANCE["float64"]), (batch, steps)
                inputs, flags = data(steps, batch, config.input_size)
                outcome = model(inputs, flags)
                model.weights()["weight_hh_l0"].requires_grad_(requires_grad=False)
                model(inputs, flags)[0].sum().backward()
                with torch.inference_mode():
                    assert all(map(torch.equal, model(inputs.clone(), flags), outcome))
    assert _compiled.cache_info().currsize == before


@needs_compiler
def test_gradients_are_those_of_finite_differences():
    model, (inputs, forced) = make(), data(6, 2)
    h0 = torch.zeros(1, 2, 5, dtype=torch.float64)
    owned = [name for name, _ in model.named_parameters()]
    given = [x.detach().clone().requires_grad_() for x in (inputs, h0, *model.parameters())]

    def outcomes(inputs, h0, *weights):
        replaced = dict(zip(owned, weights, strict=True))
        return torch.func.functional_call(model, replaced, (inputs, forced, h0))

    assert torch.autograd.gradcheck(outcomes, given)


@needs_compiler
def test_steps_that_fill_a_chunk_up_change_nothing():
    """With relu they could grow beyond the last step: they would be infinite here."""
    model = make(DEEP)
    with torch.no_grad():
        model.weights()["weight_hh_l0"].copy_(1e300 * torch.eye(4, dtype=torch.float64))
        model.weights()["weight_ih_l0"].abs_()
    inputs, forced = data(1, 3, 5)
    assert all(torch.isfinite(found).all() for found in gradients(model, inputs.abs(), forced))


@needs_compiler
def test_two_callers_at_once_get_what_each_gets_alone():
    models = [make(seed=seed) for seed in range(2)]
    sets = [data(19, 1), data(19, 4)]
    assert_two_callers_get_what_each_gets_alone(models, sets, 1, 10)


# Memory.


@needs_compiler
def test_answers_are_the_callers_own():
    """They stay as they are when all else changes, and may be changed; no two share memory."""
    model, (inputs, forced) = make(), data(11, 4)
    outcomes = model(inputs, forced)
    copies = [outcome.detach().clone() for outcome in outcomes]
    found = gradients(model, inputs, forced)
    with torch.no_grad():
        for tensor in (inputs, *model.parameters()):
            tensor.fill_(float("nan"))
    model(inputs, forced)
    assert all(map(torch.equal, outcomes, copies))
    outcomes[0].add_(1.0)
    assert torch.equal(outcomes[0], copies[0] + 1.0)
    assert len({tensor.data_ptr() for tensor in found}) == len(found)


@needs_compiler
def test_a_second_backward_pass_finds_the_same_and_a_second_derivative_is_refused():
    model, given = make(), data(11, 4)
    predictions, h_n = model(*given)
    loss, weights = (predictions**2).sum() + h_n.sum(), list(model.weights().values())
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    second = torch.autograd.grad(loss, weights, create_graph=True)
    assert all(map(torch.equal, first, second))
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second[0].sum().backward()


@needs_compiler
def test_weights_changed_before_the_backward_pass_are_noticed():
    model, given = make(), data(11, 4)
    loss = model(*given)[0].sum()
    with torch.no_grad():
        model.weights()["weight_hh_l0"].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# Never uncompiled, nothing left behind.


@needs_compiler
def test_it_raises_where_it_would_run_uncompiled():
    model, given = make(), data(2, 1)
    with (
        torch.compiler.set_stance("force_eager"),
        pytest.raises(RuntimeError, match=r"torch\.compile is switched off"),
    ):
        model(*given)


@needs_compiler
def test_too_many_programs_of_one_kind_are_an_error():
    """The compiler's own limit makes it run uncompiled, unless it is told to raise."""
    model, (inputs, flags) = make(), data(1, 1)
    model(inputs, flags)
    weight = model.weights()["weight_hh_l0"]
    weight.data = weight.data.t().contiguous().t()  # its strides are guarded: another program
    with (
        torch._dynamo.config.patch(recompile_limit=1),
        pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit),
    ):
        model(inputs, flags)


@needs_compiler
def test_nothing_is_left_running_and_nothing_warns():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    _compiled.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients(make(), *data(2, 1))
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


@needs_compiler
def test_another_number_of_threads_is_another_program():
    model, given = make(), data(2, 1)
    _compiled.cache_clear()
    for threads, programs in ((1, 1), (2, 2), (1, 2)):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            model(*given)
        assert _compiled.cache_info().currsize == programs


# What it cannot do.


def test_without_a_compiler_the_reason_is_given(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    reason = (
        "needs a C++ compiler such as g++, but no-such-compiler is not found: "
        "install it, or set CXX"
    )
    assert Compiled.unsupported(SMALL, torch.device("cpu"), torch.float32) == reason
    rows = {row.name: row.devices["cpu"] for row in listing()}
    assert rows["compiled"] == reason
    assert rows["manual_cell"] is None
    with pytest.raises(ValueError, match="compiled: needs a C"):
        make()


def test_dropout_between_layers_is_refused():
    config = GeneratorConfig(num_layers=2, dropout=0.1)
    assert "no dropout" in Compiled.unsupported(config, torch.device("cpu"), torch.float32)


def test_the_compiler_is_looked_for_without_torch():
    command = "import sys, impls.compiler; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)
