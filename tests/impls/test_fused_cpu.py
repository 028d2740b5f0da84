"""What the compiled kernel promises beside parity: tanh, bits, threads, memory, long sequences."""

import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import impls
from bench.resources import peak_memory_bytes
from impls import GeneratorConfig
from impls.fused_cpu import _Rollout
from impls.kernels.tanh import tanh
from impls.kernels.vectors import vector_bytes
from tests.impls.answers import (
    assert_two_callers_get_what_each_gets_alone,
    drawn,
    gradients,
)

SMALL = GeneratorConfig(input_size=2, hidden_size=5, num_layers=2)


def make(config=SMALL, dtype=torch.float32, seed=0):
    return impls.create("fused_cpu", config, dtype=dtype, seed=seed)


data = partial(drawn, steps=30, batch=7)


# tanh.


def floats(step):
    """Every ``step``-th of all non-negative floats, zero and infinity among them."""
    return np.arange(0, 0x7F800001, step, dtype=np.int64).astype(np.int32).view(np.float32)


def ours(x):
    out = np.empty_like(x)
    tanh(x, out, 0, x.size)
    return out


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_tanh_is_within_four_units_in_the_last_place(sign):
    """Over all of float32, and over its steep part more densely."""
    steep = np.arange(*np.array([2.0**-12, 9.1], np.float32).view(np.int32), 41, dtype=np.int32)
    for x in (floats(1001), steep.view(np.float32)):
        true = np.tanh(x.astype(np.float64))
        unit = np.spacing(true.astype(np.float32)).astype(np.float64)
        found = sign * ours(np.float32(sign) * x).astype(np.float64)
        assert (np.abs(found - true) / unit).max() <= 4.0
        assert found.max() <= 1.0


def test_tanh_of_what_is_no_number():
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45, 3e38], np.float32)
    np.testing.assert_array_equal(ours(x), np.tanh(x))
    assert np.signbit(ours(x))[4]


def test_tanh_in_float64_is_the_systems():
    x = np.linspace(-20.0, 20.0, 1001)
    np.testing.assert_allclose(ours(x), np.tanh(x), rtol=4e-16, atol=0)


# Bits.


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_call_twice_is_the_same_bit_for_bit(threads):
    torch.set_num_threads(threads)
    model = make(GeneratorConfig(hidden_size=128))
    inputs, forced = data(steps=99, batch=33, size=1)
    first, second = (gradients(model, inputs, forced) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("hidden", [1, 15, 16, 17, 64, 65, 100, 128, 130])
def test_a_sequence_gets_the_same_bits_in_every_batch_and_with_any_threads(hidden, monkeypatch):
    monkeypatch.setattr("impls.fused_cpu.WORTH_A_THREAD", 1)
    model = make(GeneratorConfig(hidden_size=hidden))
    inputs, forced = data(steps=40, batch=110, size=1)
    alone = [model(inputs[:, n : n + 1].contiguous(), forced)[0] for n in range(110)]
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert torch.equal(model(inputs, forced)[0], torch.cat(alone, 1))


@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_inputs_need_not_be_contiguous(layout):
    inputs, forced = data()
    other = (
        inputs.transpose(0, 1).contiguous().transpose(0, 1)
        if layout == "transposed"
        else torch.stack([inputs, inputs], -1)[..., 0]
    )
    assert not other.is_contiguous()
    assert all(map(torch.equal, make()(other, forced), make()(inputs, forced)))


# Gradients.


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 3])
def test_gradcheck(nonlinearity, layers):
    config = GeneratorConfig(
        input_size=2, hidden_size=4, num_layers=layers, nonlinearity=nonlinearity
    )
    model = make(config, torch.float64)
    inputs, forced = data(steps=7, batch=3, dtype=torch.float64)
    none = torch.empty(0, 0, 0, 0, dtype=torch.float64)
    h0 = 0.1 * torch.ones(layers, 3, 4, dtype=torch.float64)
    given = [t.clone().requires_grad_() for t in (inputs, h0, *model.weights().values())]
    assert torch.autograd.gradcheck(
        lambda *tensors: _Rollout.apply(config, forced.numpy(), none, True, *tensors), given
    )


def test_a_second_derivative_is_refused():
    model, (inputs, forced) = make(), data()
    [first] = torch.autograd.grad(
        (model(inputs, forced)[0] ** 2).sum(), [model.weights()["weight_hh_l0"]], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_gradients_go_through_the_dropout_of_the_forward_pass():
    config = GeneratorConfig(input_size=2, hidden_size=4, num_layers=3, dropout=0.4)
    model = make(config, torch.float64)
    inputs, forced = data(steps=7, batch=3, dtype=torch.float64)
    torch.manual_seed(2)
    masks = model.train().dropout_masks(7, inputs)
    assert masks.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    h0 = torch.zeros(3, 3, 4, dtype=torch.float64)
    given = [t.clone().requires_grad_() for t in (inputs, h0, *model.weights().values())]
    assert torch.autograd.gradcheck(
        lambda *tensors: _Rollout.apply(config, forced.numpy(), masks, True, *tensors), given
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("hidden", [33, 128])
def test_sums_over_many_steps_and_sequences_lose_no_digits(threads, hidden, monkeypatch):
    """One after the other, thousands of products would lose ten times as much."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    config = GeneratorConfig(input_size=2, hidden_size=hidden, num_layers=2)
    inputs, forced = data(steps=150, batch=100)
    exact = gradients(make(config, torch.float64), inputs.double(), forced)
    for found, true in zip(gradients(make(config), inputs, forced), exact, strict=True):
        assert (found - true).abs().max() <= 1.5e-6 * true.abs().max().clamp(min=1.0)


# Threads.


def test_two_callers_at_once_get_what_each_gets_alone():
    torch.set_num_threads(2)
    models = [make(GeneratorConfig(hidden_size=64), seed=seed) for seed in range(2)]
    sets = [data(steps=99, batch=32, size=1, seed=seed) for seed in range(2)]
    assert_two_callers_get_what_each_gets_alone(models, sets, 2, 20)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_of_fork_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr("impls.fused_cpu.WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    model, (inputs, forced) = make(), data(batch=8)
    with torch.no_grad():
        expected, _ = model(inputs, forced)
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(model(inputs, forced)[0], expected) else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0


# Long sequences.

LONG, SHORT = 100_000, 10_000


@pytest.mark.parametrize("batch", [1, 8])
def test_a_step_of_a_long_sequence_takes_no_longer_than_one_of_a_short_one(batch):
    torch.set_num_threads(1)
    model = make(GeneratorConfig(hidden_size=128))
    runs = {steps: data(steps=steps, batch=batch, size=1) for steps in (LONG, SHORT)}
    fastest = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        for _ in range(10):
            for steps, given in runs.items():
                before = time.thread_time()  # what else the machine does is not in it
                model(*given)
                seconds = (time.thread_time() - before) / steps
                fastest[steps] = min(fastest[steps], seconds)
    assert fastest[LONG] <= 1.1 * fastest[SHORT]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_long_generation_needs_memory_for_what_it_returns_alone():
    model = make(GeneratorConfig(hidden_size=128))
    inputs, forced = data(steps=LONG, batch=8, size=1)
    with torch.inference_mode():
        model(inputs[:SHORT], forced[:SHORT])
        used = peak_memory_bytes(lambda: model(inputs, forced), torch.device("cpu"))
    # The list of the forced steps takes a pointer and a byte a step; all else is small.
    assert used <= inputs.nbytes + 9 * LONG + 2**22


# What is kept on disk.


def test_a_change_in_what_a_kernel_calls_compiles_it_anew(tmp_path):
    kernels = tmp_path / "impls" / "kernels"
    source = Path(impls.__file__).parent
    shutil.copytree(source / "kernels", kernels, ignore=shutil.ignore_patterns("__pycache__"))

    def kept_as():
        code = "from impls.kernels.packed import for_forward as f; print(f.py_func.__qualname__)"
        run = [sys.executable, "-c", code]
        return subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    before = kept_as()
    assert kept_as() == before
    with (kernels / "vectors.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert kept_as() != before


@pytest.mark.parametrize(
    ("features", "wide"),
    [({"avx512f": True}, 64), ({"avx512f": False, "avx2": True}, 32), ({}, 32)],
)
def test_vectors_are_as_wide_as_the_registers_are(features, wide):
    """LLVM lists what a processor has not, too; taken for there, its sums would leave registers."""
    assert vector_bytes(features) == wide
