"""What compiling must not change: patterns as data, no way back to eager, warnings, processes."""

import subprocess
import sys
import warnings

import numpy as np
import psutil
import pytest
import torch

import impls
from bench.config import TOLERANCE
from bench.listing import listing
from bench.parity import compare, draw_trial
from impls import GeneratorConfig
from impls.compiled import Compiled, _compiled
from impls.compiler import no_compiler_reason
from tasks.forcing import coin_flips, warm_up

needs_compiler = pytest.mark.skipif(
    no_compiler_reason() is not None, reason=str(no_compiler_reason())
)
SMALL = GeneratorConfig(input_size=2, hidden_size=5)


@pytest.fixture
def short(monkeypatch):
    """Short chunks, which are compiled sooner and still leave a rest."""
    monkeypatch.setattr("impls.compiled.ALONE", 3)
    monkeypatch.setattr("impls.compiled.TOGETHER", 3)


def make(name="compiled"):
    return impls.create(name, SMALL, dtype=torch.float64)


def data(forced, batch):
    inputs = torch.randn(len(forced), batch, 2, dtype=torch.float64)
    flags = torch.tensor(forced)
    inputs[~flags] = torch.nan
    return inputs, flags


def gradients(model, inputs, flags):
    """Outcomes and the gradients of what is not frozen; the backward pass changes no outcome."""
    outcomes = model(inputs, flags)
    copies = [outcome.detach().clone() for outcome in outcomes]
    loss = (outcomes[0] ** 2).sum() + outcomes[1].sum()
    asking = [weight for weight in model.weights().values() if weight.requires_grad]
    found = torch.autograd.grad(loss, asking)
    assert all(torch.equal(a, b) for a, b in zip(outcomes, copies, strict=True))
    return *outcomes, *found


@needs_compiler
@pytest.mark.parametrize("batches", [[1], [4, 2, 7]], ids=["alone", "together"])
def test_other_patterns_lengths_batches_and_frozen_weights_compile_nothing_more(batches, short):
    model, like = make(), make("manual_cell")
    gradients(model, *data([True, False, True, False], batches[0]))
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in batches:
            for frozen, forced in (
                ((), [True]),
                (("weight_hh_l0", "bias_ih_l0"), [True, False, False]),
                (("readout.weight", "readout.bias"), [True] * 8),
                ((), [True, False] * 5),
            ):
                given = data(forced, batch)
                for each in (model, like):
                    for name, weight in each.weights().items():
                        weight.requires_grad_(name not in frozen)
                found, expected = gradients(model, *given), gradients(like, *given)
                for a, b in zip(found, expected, strict=True):
                    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# (config, dtype, batch): fixed, for each is compiled; what is drawn elsewhere varies within them.
CASES = [
    (GeneratorConfig(input_size=1, hidden_size=5), torch.float32, 1),
    (GeneratorConfig(2, 4, num_layers=2, nonlinearity="relu", bias=False), torch.float64, 3),
]


@needs_compiler
@pytest.mark.parametrize(("config", "dtype", "batch"), CASES, ids=["alone", "together"])
def test_parity_with_the_reference(config, dtype, batch):
    """Chunks as long as they are; one step, less and more than a chunk, a whole number of them."""
    rng, stance = np.random.default_rng(7), "default"
    tolerance = TOLERANCE[str(dtype).removeprefix("torch.")]
    for number, steps in enumerate((5, 1, 16, 37)):
        patterns = [coin_flips(rng, steps, 0.5), warm_up(steps, 1), warm_up(steps, steps)]
        for forced in patterns:
            model = impls.create("compiled", config, dtype=dtype, seed=number)
            with torch.compiler.set_stance(stance):
                errors = compare(model, model, draw_trial(config, rng, forced, batch, dtype))
            assert errors.within(tolerance), (steps, forced)
            stance = "fail_on_recompile"


@needs_compiler
def test_it_raises_where_it_would_run_uncompiled(short):
    model, given = make(), data([True, False], 1)
    with (
        torch.compiler.set_stance("force_eager"),
        pytest.raises(RuntimeError, match=r"torch\.compile is switched off"),
    ):
        model(*given)


@needs_compiler
def test_too_many_programs_of_one_kind_are_an_error(short):
    """The compiler's own limit makes it run uncompiled, unless it is told to raise."""
    model, (inputs, flags) = make(), data([True], 1)
    model(inputs, flags)
    weight = model.weights()["weight_hh_l0"]
    weight.data = weight.data.t().contiguous().t()  # its strides are guarded: another program
    with (
        torch._dynamo.config.patch(recompile_limit=1),
        pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit),
    ):
        model(inputs, flags)


@needs_compiler
def test_nothing_is_left_running_and_nothing_warns(short):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    _compiled.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients(make(), *data([True, False], 1))
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


@needs_compiler
def test_another_number_of_threads_is_another_program(short):
    model, given = make(), data([True, False], 1)
    _compiled.cache_clear()
    for threads, programs in ((1, 1), (2, 2), (1, 2)):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            model(*given)
        assert _compiled.cache_info().currsize == programs


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
