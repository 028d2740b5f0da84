"""What the compiled scan promises beside parity: compiling, threads, memory, flags, odd lengths."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

jax = pytest.importorskip("jax")

import impls  # noqa: E402 - nothing below works without jax
from impls import GeneratorConfig, jax_scan  # noqa: E402
from impls.kernels import jax_memory  # noqa: E402
from tests.impls.answers import (  # noqa: E402
    assert_two_callers_get_what_each_gets_alone,
    drawn,
    gradients,
)

CONFIG = GeneratorConfig(input_size=2, hidden_size=6)


def make(config=CONFIG, dtype=torch.float32, seed=0):
    return impls.create("jax_scan", config, dtype=dtype, seed=seed)


data = partial(drawn, steps=12, batch=3)


def compiled():
    return jax_scan.forward_scan._cache_size(), jax_scan.backward_scan._cache_size()


# Compiling.


def test_another_pattern_other_weights_and_the_next_lengths_compile_nothing():
    inputs, forced = data(steps=12)
    gradients(make(), inputs, forced)
    before = compiled()
    gradients(make(seed=1), *data(steps=12, seed=1))
    gradients(make(), inputs, torch.ones_like(forced))
    for steps in (9, 10, 11):
        gradients(make(), inputs[:steps], forced[:steps])
    assert compiled() == before
    gradients(make(), *data(steps=13))
    assert compiled() == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("batch", [1, 3])
def test_rounding_the_length_up_changes_no_answer(batch):
    """The same steps in one call of 12 or cut off: outputs, last states and gradients."""
    model, (inputs, forced) = make(dtype=torch.float64), data(batch=batch, dtype=torch.float64)
    for steps in (9, 10, 11, 12):
        predictions, h_n, *found = gradients(model, inputs[:steps], forced[:steps])
        plain = impls.create("manual_cell", CONFIG, dtype=torch.float64)
        for mine, other in zip(
            (predictions, h_n, *found),
            gradients(plain, inputs[:steps], forced[:steps]),
            strict=True,
        ):
            assert mine.shape == other.shape
            torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_steps_that_there_are_not_leave_the_state_alone():
    """With relu it could grow at every step: beyond the last, it would be infinite here."""
    model = make(GeneratorConfig(input_size=2, hidden_size=6, nonlinearity="relu"))
    with torch.no_grad():
        model.weights()["weight_hh_l0"].copy_(1e30 * torch.eye(6))
        model.weights()["bias_hh_l0"].fill_(3.0)
    assert all(torch.isfinite(found).all() for found in gradients(model, *data(steps=1)))


# Flags and threads.


def test_the_precision_flag_and_the_environment_are_left_alone(monkeypatch):
    monkeypatch.setenv("PJRT_NPROC", "7")
    jax_memory.cpu.cache_clear()
    before = dict(os.environ)
    gradients(make(dtype=torch.float64), *data(dtype=torch.float64))
    assert not jax.config.jax_enable_x64
    assert dict(os.environ) == before
    with jax.enable_x64(True):
        gradients(make(), *data())
        assert jax.config.jax_enable_x64


# Runs in a process of its own: which threads there are, and what a process starts, is its own.
SCRIPT = """
import os, warnings
warnings.simplefilter("error")
import torch, impls
from pathlib import Path
from impls import GeneratorConfig

def seconds():
    return {
        task.name: int((task / "schedstat").read_text().split()[0]) / 1e9
        for task in Path("/proc/self/task").iterdir()
    }

model = impls.create("jax_scan", GeneratorConfig())
inputs, forced = torch.randn(100, 500, 1), torch.arange(100) < 50

def call():
    model.zero_grad()
    model(inputs, forced)[0].square().mean().backward()

for threads in (1, 2):
    torch.set_num_threads(threads)
    call()
    before = seconds()
    for _ in range(2):
        call()
    after = seconds()
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    mine = spent.pop(str(os.getpid()))
    print(sum(spent.values()) / mine)
from jax._src import xla_bridge
print(xla_bridge.backends_are_initialized())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_thread_is_the_callers_and_two_are_more():
    """And JAX's own clients are not started, a GPU's among them."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert not done.stderr
    with_one, with_two, initialised = done.stdout.split()
    assert float(with_one) < 0.1 < float(with_two)  # others' time as a share of the caller's
    assert initialised == "False"


def test_two_callers_at_once_get_what_each_gets_alone():
    models = [make(GeneratorConfig(input_size=2, hidden_size=40), seed=seed) for seed in range(2)]
    models[1].double()
    sets = [data(batch=9), data(batch=9, dtype=torch.float64)]
    assert_two_callers_get_what_each_gets_alone(models, sets, 1, 30)


# Memory.


@pytest.mark.parametrize("steps", [11, 12])
def test_answers_are_the_callers_own(steps):
    """They stay as they are when arguments and weights change, and may be changed themselves."""
    model, (inputs, forced) = make(), data(steps=steps)
    h0 = torch.ones(1, 3, 6)
    predictions, h_n = model(inputs, forced, h0)
    copies = predictions.detach().clone(), h_n.detach().clone()
    with torch.no_grad():
        for tensor in (inputs, h0, *model.parameters()):
            tensor.fill_(float("nan"))
    model(inputs, forced, h0)
    assert torch.equal(predictions, copies[0])
    assert torch.equal(h_n, copies[1])
    with torch.no_grad():
        other, _ = model(inputs, forced, h0)
        other.zero_()
    predictions.add_(1.0)
    assert torch.equal(predictions, copies[0] + 1.0)


def test_no_two_gradients_share_memory():
    config = GeneratorConfig(input_size=2, hidden_size=6, num_layers=2)
    found = gradients(make(config), *data())
    assert len({tensor.data_ptr() for tensor in found}) == len(found)


def test_weights_changed_before_the_backward_pass_are_noticed():
    model, (inputs, forced) = make(), data()
    loss = model(inputs, forced)[0].sum()
    with torch.no_grad():
        model.weights()["weight_hh_l0"].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("layout", ["transposed", "strided", "misaligned"])
def test_inputs_may_lie_anyhow(layout):
    inputs, forced = data()
    other = {
        "transposed": inputs.transpose(0, 1).contiguous().transpose(0, 1),
        "strided": torch.stack([inputs, inputs], -1)[..., 0],
        "misaligned": torch.cat([torch.zeros(1), inputs.flatten()])[1:].view(inputs.shape),
    }[layout]
    assert all(map(torch.equal, make()(other, forced), make()(inputs, forced)))


# Gradients.


def test_gradients_go_through_the_dropout_of_the_forward_pass():
    config = GeneratorConfig(input_size=2, hidden_size=4, num_layers=3, dropout=0.4)
    model = make(config, torch.float64).train()
    inputs, forced = data(steps=7, dtype=torch.float64)
    h0 = torch.zeros(3, 3, 4, dtype=torch.float64)
    masks = model.dropout_masks(7, inputs)
    assert (masks == 0.0).any()
    given = [t.detach().clone().requires_grad_() for t in (inputs, h0, *model.weights().values())]
    assert torch.autograd.gradcheck(
        lambda *tensors: jax_scan._Rollout.apply(config, forced.tolist(), masks, True, *tensors),
        given,
    )


def test_a_second_derivative_is_refused():
    model, (inputs, forced) = make(), data()
    [first] = torch.autograd.grad(
        (model(inputs, forced)[0] ** 2).sum(), [model.weights()["weight_hh_l0"]], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
