"""What compiling must not change: patterns as data, no way back to eager, warnings, processes."""

import subprocess
import sys
import warnings

import psutil
import pytest
import torch

import impls
from bench.listing import listing
from impls import GeneratorConfig
from impls.compiled import Compiled, _compiled
from impls.compiler import no_compiler_reason

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
    predictions, h_n = model(inputs, flags)
    loss = (predictions**2).sum() + h_n.sum()
    return predictions, h_n, *torch.autograd.grad(loss, [*model.weights().values()])


@needs_compiler
@pytest.mark.parametrize("batches", [[1], [4, 2, 7]], ids=["alone", "together"])
def test_other_patterns_lengths_and_batches_compile_nothing_more(batches, short):
    model, like = make(), make("manual_cell")
    gradients(model, *data([True, False, True, False], batches[0]))
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in batches:
            for forced in ([True], [True, False, False], [True] * 8, [True, False] * 5):
                given = data(forced, batch)
                found, expected = gradients(model, *given), gradients(like, *given)
                for a, b in zip(found, expected, strict=True):
                    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


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
    model.parameter["readout_bias"].requires_grad_(False)  # guarded against: another program
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
