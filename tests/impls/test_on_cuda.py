"""What every implementation promises on a GPU beside being right; and what of it a CPU can show."""

import pytest
import torch

import impls
from impls import GeneratorConfig
from tests.impls.answers import drawn
from tests.impls.fitting import ON_CUDA, skip_unless_installed
from tests.impls.waits import no_waits

CUDA = torch.device("cuda")


def lying_anyhow(h0):
    """The same values, with room between them, and layers within sequences."""
    return torch.stack([h0, h0], -1).transpose(0, 1).contiguous().transpose(0, 1)[..., 0]


@pytest.mark.parametrize("name", ["torch_rnn", "folded"])
def test_cudnn_gets_a_state_as_it_takes_it(name):
    """On the CPU, which takes any: cuDNN would say that hx is not contiguous."""
    model, seen = impls.create(name, GeneratorConfig(input_size=2, hidden_size=5)), []
    model.rnn.register_forward_pre_hook(lambda _, given: seen.append(given[1].is_contiguous()))
    inputs, forced = drawn(6, 3)
    h0 = torch.randn(1, 3, 5)
    apart = lying_anyhow(h0)
    assert not apart.is_contiguous()
    assert all(map(torch.equal, model(inputs, forced, apart), model(inputs, forced, h0)))
    assert len(seen) >= 2
    assert all(seen)


def on_cuda(name, layers=1):
    """The implementation on the GPU, inputs and which steps are forced; or skip with the reason."""
    skip_unless_installed(name, "cuda")
    config = GeneratorConfig(input_size=2, hidden_size=32, num_layers=layers)
    if reason := impls.load(name).unsupported(config, CUDA, torch.float32):
        pytest.skip(reason)
    model, (inputs, forced) = impls.create(name, config, device=CUDA), drawn(23, 5)
    return model, inputs.cuda(), forced if model.closed_loop else torch.ones_like(forced)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ON_CUDA)
def test_nobody_waits_for_the_gpu(name):
    """As far as torch knows of it: JAX and FlashRNN have tests of their own."""
    model, inputs, forced = on_cuda(name)

    def call():
        if model.differentiable:
            sum(outcome.sum() for outcome in model.train()(inputs, forced)).backward()
        with torch.inference_mode():
            model.eval()(inputs, forced)

    call()  # compiles, records
    with no_waits():
        call()


@pytest.mark.gpu
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", ON_CUDA)
def test_arguments_may_lie_anyhow(name, layers):
    model, inputs, forced = on_cuda(name, layers)
    h0 = torch.randn(layers, 5, 32, device=CUDA)
    strided = torch.stack([inputs, inputs], -1)[..., 0]
    with torch.inference_mode():
        found = model.eval()(strided, forced, lying_anyhow(h0))
        expected = model(inputs, forced, h0)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
