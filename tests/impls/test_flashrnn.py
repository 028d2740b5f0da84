"""FlashRNN's adapter, over the package's own plain backend, which needs no GPU; then the kernel.

That backend takes what the kernels take, laid out as for them, and computes it in plain PyTorch.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("flashrnn", reason="needs flashrnn, the extra of that name")

import impls
from bench import parity
from impls import GeneratorConfig
from impls.compiler import no_nvcc_reason
from impls.flashrnn import FlashRNN

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = GeneratorConfig(input_size=2, hidden_size=32)
CONFIGS = [
    SMALL,
    replace(SMALL, num_layers=3),
    replace(SMALL, num_layers=2, bias=False),
    replace(SMALL, num_layers=2, dropout=0.4),
]
needs_nvcc = pytest.mark.skipif(no_nvcc_reason() is not None, reason=str(no_nvcc_reason()))


class Plain(FlashRNN):
    """The same adapter over plain PyTorch, in the precision of the weights."""

    precision = None
    backend = "vanilla"
    kernel_dtype = torch.float64

    @classmethod
    def unsupported(cls, config, device, dtype):
        return None


class Rounded(Plain):
    """In the kernel's own precision."""

    precision = "bfloat16"
    kernel_dtype = torch.bfloat16


@pytest.fixture
def register(monkeypatch):
    """Put an adapter of this file into the registry."""

    def add(cls):
        monkeypatch.setattr(impls, "load", lambda _: cls)
        return "flashrnn"

    return add


@pytest.mark.parametrize("config", CONFIGS, ids=["plain", "deep", "no biases", "dropout"])
def test_outputs_states_and_gradients_are_the_references(config, register):
    outcome = parity.check(register(Plain), config, CPU, torch.float64, seed=0)
    assert outcome.passed, outcome
    assert outcome.output_error < 1e-12
    assert outcome.gradient_error < 1e-10
    assert not outcome.closed_loop


def test_in_bfloat16_it_is_as_far_off_as_bfloat16_is():
    """Above float32's rounding: it does compute in less. Far below a mistake in any weight."""
    worst = parity.Errors(0.0, 0.0)
    for trial in parity.trials(SMALL, 0, torch.float32, closed_loop=False):
        model = Rounded(SMALL)
        model.load_weights(impls.generator.initial_weights(SMALL, 3))
        worst = worst.worst(parity.compare(model, model, trial))
    assert 1e-4 < worst.output < 2e-2
    assert 1e-4 < worst.gradient < 4e-2


def test_answers_have_the_weights_own_dtype():
    model = Rounded(SMALL)
    predictions, h_n = model(torch.randn(3, 2, 2), torch.ones(3, dtype=torch.bool))
    assert predictions.dtype == h_n.dtype == torch.float32


def test_dropout_is_nn_rnns_in_training():
    config = GeneratorConfig(input_size=2, hidden_size=32, num_layers=2, dropout=0.4)
    model = Plain(config).double().train()
    rnn = torch.nn.RNN(2, 32, 2, dropout=0.4, dtype=torch.float64)
    weights = dict(model.weights())
    readout = weights.pop("readout.weight"), weights.pop("readout.bias")
    rnn.load_state_dict(weights)
    x = torch.randn(1, 4, 2, dtype=torch.float64)
    torch.manual_seed(7)
    top, states = rnn(x)
    torch.manual_seed(7)
    found, h_n = model(x, torch.tensor([True]))
    torch.testing.assert_close(h_n, states)
    torch.testing.assert_close(found, top @ readout[0].t() + readout[1])


def test_a_free_step_is_refused():
    with pytest.raises(RuntimeError, match="FlashRNN runs no free steps, but step 1 is not forced"):
        FlashRNN(SMALL)(torch.randn(3, 2, 2), torch.tensor([True, False, True]))


@pytest.mark.parametrize(
    ("config", "device", "dtype", "reason"),
    [
        (SMALL, CPU, torch.float32, "runs FlashRNN's kernel for CUDA, not for cpu"),
        (SMALL, CUDA, torch.float64, "FlashRNN's kernel computes in bfloat16, which is no float64"),
        (
            replace(SMALL, nonlinearity="relu"), CUDA, torch.float32,
            "FlashRNN's Elman cell knows tanh alone, not relu",
        ),
        (
            replace(SMALL, hidden_size=40), CUDA, torch.float32,
            "FlashRNN's kernel wants a multiple of 32 hidden units",
        ),
    ],
)  # fmt: skip
def test_what_it_cannot_is_refused_with_the_reason(config, device, dtype, reason, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert FlashRNN.unsupported(config, device, dtype) == reason


def test_an_old_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, refused in (((7, 5), True), ((8, 0), False), ((9, 0), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        reason = FlashRNN.unsupported(SMALL, CUDA, torch.float32) or ""
        assert ("compute capability 8.0" in reason) == refused


@pytest.mark.parametrize(("batch", "tile"), [(1, 8), (8, 8), (9, 16), (1000, 1000)])
def test_batches_that_fill_the_same_tiles_share_a_kernel(batch, tile, monkeypatch):
    """A config is what the package tells compiled kernels apart by."""
    from impls import flashrnn

    honest, seen = flashrnn.flashrnn, []

    def spied(*given, config, **rest):
        seen.append(config)
        return honest(*given, config=config, **rest)

    monkeypatch.setattr(flashrnn, "flashrnn", spied)
    Rounded(SMALL)(torch.randn(2, batch, 2), torch.ones(2, dtype=torch.bool))
    [config] = seen
    assert (config.batch_size, config.head_dim, config.num_heads) == (tile, 32, 1)
    assert (config.function, config.dtype, config.input_shape) == ("elman", "bfloat16", "TBGHD")


def test_its_own_defaults_are_the_fused_kernel_in_bfloat16():
    assert (FlashRNN.backend, FlashRNN.kernel_dtype) == ("cuda_fused", torch.bfloat16)
    assert (FlashRNN.precision, FlashRNN.closed_loop) == ("bfloat16", False)


@pytest.mark.gpu
@needs_nvcc
@pytest.mark.parametrize("batch", [1, 8, 20])
def test_on_cuda_the_kernel_is_right_in_outputs_states_and_gradients(batch):
    worst, rng = parity.Errors(0.0, 0.0), np.random.default_rng(0)
    for steps in (1, 40):
        model = impls.create("flashrnn", SMALL, device="cuda", seed=3)
        trial = parity.draw_trial(SMALL, rng, np.ones(steps, bool), batch, torch.float32)
        worst = worst.worst(parity.compare(model, model, trial))
    assert worst.within(4e-2), worst


@pytest.mark.gpu
@needs_nvcc
def test_on_cuda_nobody_waits():
    model = impls.create("flashrnn", SMALL, device="cuda")
    inputs, forced = torch.randn(40, 8, 2, device="cuda"), torch.ones(40, dtype=torch.bool)
    with torch.inference_mode():
        model(inputs, forced)  # compiles
        torch.cuda.synchronize()
        torch.cuda._sleep(2_000_000_000)  # cycles: a second
        model(inputs, forced)
        done = torch.cuda.Event()
        done.record()
        assert not done.query()
    torch.cuda.synchronize()
