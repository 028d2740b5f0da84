"""`fused_cuda` without a GPU: its kernels interpreted, compiled ahead of time, and its choices.

What needs the device is marked `gpu`.
"""

import os
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import impls
from bench import environment, parity
from impls import GeneratorConfig, reference
from tests.impls.answers import drawn, gradients
from tests.impls.waits import no_waits
from tests.readme import ROOT

pytest.importorskip("triton", reason="needs triton, the extra of that name")

from docs import kernels as compiled
from impls import fused_cuda
from impls.fused_cuda import FusedCUDA, FusedCUDABF16, FusedCUDATF32, FusedCUDATF32x3, form

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
BUILT = [
    (name, way, architecture)
    for name in compiled.FORMS
    for way in compiled.WAYS
    for architecture in compiled.ARCHITECTURES
]


def test_the_kernels_are_right_in_the_interpreter():
    """In a process of their own: the interpreter is chosen when Triton is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/impls/interpreted.py"],
        capture_output=True, text=True, cwd=ROOT, check=False,
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


# Compiled ahead of time.


@pytest.mark.parametrize(("name", "way", "architecture"), BUILT)
def test_a_compiled_kernel_keeps_its_budget(name, way, architecture):
    found = compiled.needs(name, way, architecture)
    assert found.stack_bytes == 0, "spills"
    assert found.programs >= 1
    assert found.shared_bytes <= compiled.SHARED[architecture]


@pytest.mark.parametrize("architecture", compiled.ARCHITECTURES)
@pytest.mark.parametrize("way", compiled.WAYS)
def test_tensor_cores_do_the_products(way, architecture):
    """Not multiply-adds of single numbers, as where a size or type is not for them."""
    instruction = {80: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma"}[architecture]
    for name, kind in (("tf32x3", "tf32"), ("tf32", "tf32"), ("bfloat16", "bf16")):
        text = compiled.built(name, way, architecture).asm["ptx"]
        lines = [line for line in text.splitlines() if instruction in line]
        assert lines
        # Blackwell's instruction names bfloat16 in a descriptor.
        assert all(kind in line or (architecture, kind) == (100, "bf16") for line in lines)


@pytest.mark.parametrize("architecture", compiled.ARCHITECTURES)
def test_two_programs_of_many_sequences_share_a_multiprocessor(architecture):
    assert compiled.needs("throughput", "generate", architecture).programs == 2


def test_spills_are_seen(monkeypatch):
    """Too many sequences for the registers: the check above would tell."""
    monkeypatch.setattr("impls.fused_cuda.REGISTERS_FOR_TWO", 64)
    compiled.needs.cache_clear()
    assert compiled.needs("throughput", "generate", 90).stack_bytes > 0
    compiled.needs.cache_clear()


# Choices.


@pytest.mark.parametrize(
    ("config", "batch", "dtype", "expected"),
    [
        (GeneratorConfig(), 1, torch.float32, (False, 1, 8)),
        (GeneratorConfig(), 132, torch.float32, (False, 1, 8)),
        (GeneratorConfig(), 133, torch.float32, (False, 4, 8)),
        (GeneratorConfig(hidden_size=3), 1, torch.float32, (False, 1, 1)),
        (GeneratorConfig(hidden_size=64), 1, torch.float64, (False, 1, 4)),
        (GeneratorConfig(hidden_size=65), 1, torch.float64, (True, 1, 8)),
        (GeneratorConfig(hidden_size=129), 132, torch.float32, (True, 1, 8)),
        (GeneratorConfig(hidden_size=129), 133, torch.float32, (True, 4, 8)),
        (GeneratorConfig(num_layers=2), 1000, torch.float32, (True, 4, 8)),
    ],
)
def test_the_form_of_a_batch_and_size(config, batch, dtype, expected):
    found = form(config, batch, dtype, 132)
    assert (found.streamed, found.sequences, found.warps) == expected


@pytest.mark.parametrize(
    ("units", "batch", "precision", "expected"),
    [
        (128, 1, "tf32", (8, 8, 128)),
        (128, 1056, "bfloat16", (8, 8, 128)),
        (128, 1057, "bfloat16", (16, 8, 128)),
        (128, 1057, "tf32x3", (8, 8, 128)),
        (65, 1, "tf32", (8, 8, 128)),
        (3, 1, "tf32", (8, 1, 16)),
    ],
)
def test_the_form_on_tensor_cores(units, batch, precision, expected):
    found = form(GeneratorConfig(hidden_size=units), batch, torch.float32, 132, precision)
    assert (found.sequences, found.warps, found.units) == expected
    assert found.precision == precision


def test_the_variants_state_their_precision():
    stated = {name: impls.load(name).precision for name in impls.REGISTRY if "fused_cuda" in name}
    assert stated == {
        "fused_cuda": None,
        "fused_cuda_tf32x3": "tf32x3",
        "fused_cuda_tf32": "tf32",
        "fused_cuda_bf16": "bfloat16",
    }


@pytest.mark.parametrize("variant", [FusedCUDATF32x3, FusedCUDATF32, FusedCUDABF16])
def test_what_tensor_cores_are_not_used_for(variant):
    def reason(dtype=torch.float32, device=CUDA, **sizes):
        return variant.unsupported(GeneratorConfig(**sizes), device, dtype)

    assert reason() is reason(input_size=4, hidden_size=128) is None
    assert "not for cpu" in reason(device=CPU)
    assert "float32, not float64" in reason(dtype=torch.float64)
    assert "L up to 1, not 2" in reason(num_layers=2)
    assert "H up to 128, not 129" in reason(hidden_size=129)
    assert "I up to 4, not 5" in reason(input_size=5)
    refused = reason(nonlinearity="relu")
    assert refused is None if variant is FusedCUDATF32x3 else "which units relu" in refused


def test_what_is_refused():
    wide = GeneratorConfig(hidden_size=1025)
    assert FusedCUDA.unsupported(GeneratorConfig(), CUDA, torch.float32) is None
    assert FusedCUDA.unsupported(GeneratorConfig(hidden_size=1024), CUDA, torch.float64) is None
    assert "H up to 1024, not 1025" in FusedCUDA.unsupported(wide, CUDA, torch.float32)
    assert "not for cpu" in FusedCUDA.unsupported(GeneratorConfig(), CPU, torch.float32)
    assert "float16" in FusedCUDA.unsupported(GeneratorConfig(), CUDA, torch.float16)


def test_what_a_capture_needs_is_loaded_before_it(monkeypatch):
    """On no device: what is asked of `as_arguments`, which loads a kernel, and when."""
    asked, capturing = [], False
    monkeypatch.setattr(fused_cuda, "_on", lambda _: nullcontext())
    monkeypatch.setattr(fused_cuda, "as_arguments", lambda forced, _: asked.append(forced))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **__: self)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    fused_cuda._prepare_to_be_captured.cache_clear()
    try:
        for _ in range(2):
            assert fused_cuda.on_device([True, False], CUDA).tolist() == [1, 0]
        assert asked == [[True]]
        capturing = True
        fused_cuda.on_device([True, False], CUDA)
        assert asked == [[True], [True, False]]
    finally:
        fused_cuda._prepare_to_be_captured.cache_clear()


# On the device.


NAMES = [name for name in impls.REGISTRY if name.startswith("fused_cuda")]


def make(name="fused_cuda", device="cuda"):
    return impls.create(name, GeneratorConfig(), device=device, seed=1)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 1000])
def test_a_call_waits_for_nothing(batch, name):
    model, (inputs, forced) = make(name), drawn(50, batch, 1)
    model(inputs.cuda(), forced)  # compiles
    inputs = inputs.cuda()
    with no_waits():
        gradients(model, inputs, forced)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_captured_call_is_the_call(name):
    model, (inputs, forced) = make(name).requires_grad_(False), drawn(50, 3, 1)
    inputs = inputs.cuda()
    expected = model(inputs, forced)
    graph = torch.cuda.CUDAGraph()
    other = ~forced
    other[0] = True
    model(inputs, other)
    with torch.cuda.graph(graph):
        found = model(inputs, forced)
    graph.replay()
    torch.cuda.synchronize()
    assert all(map(torch.equal, found, expected))


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [2, 1000, 3000])
def test_the_same_call_twice_is_the_same_bit_for_bit(batch, name):
    model, (inputs, forced) = make(name), drawn(99, batch, 1)
    first, second = (gradients(model, inputs.cuda(), forced) for _ in range(2))
    assert all(map(torch.equal, first, second))


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wide", [1, 8])
def test_programs_of_more_sequences_are_right(wide, name):
    """The forms of batches that the gate has none of; the last program has too few sequences."""
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    config, batch = GeneratorConfig(hidden_size=20), wide * processors + 3
    model = impls.create(name, config, device="cuda", seed=1)
    forced = drawn(12, 1)[1].numpy()
    trial = parity.draw_trial(config, np.random.default_rng(0), forced, batch, torch.float32)
    tolerance = parity.tolerance_of(type(model), torch.float32)
    with environment.pinned(1):
        errors = parity.compare(model, model, trial)
    assert errors.within(tolerance), errors


@pytest.mark.gpu
def test_the_second_gpu_is_used_without_being_current():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    inputs, forced = drawn(20, 3, 1)
    first, second = (
        gradients(make(device=place), inputs.to(place), forced) for place in ("cuda:0", "cuda:1")
    )
    for one, two in zip(first, second, strict=True):
        assert two.device.index == 1
        torch.testing.assert_close(one.cpu(), two.cpu(), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_a_hundred_thousand_free_steps_step_by_step_from_shared_states():
    """All stay finite, and each of some is one step of the reference from the same state."""
    model, steps = make().requires_grad_(False), 100_000
    forced = torch.arange(steps) < 1
    inputs = torch.full((steps, 2, 1), float("nan"), device="cuda")
    inputs[0] = 1.0
    weights = {n: w.double().cpu().numpy() for n, w in model.weights().items()}
    predictions, _ = model(inputs, forced)
    assert predictions.isfinite().all()
    for last in (10, 1000, 99_000):  # a shorter call ends where the long one passed
        head, h = model(inputs[:last], forced[:last])
        assert torch.equal(head, predictions[:last])
        x = head[-1:].double().cpu().numpy()
        state = h.double().cpu().numpy()
        true = reference.forward(model.config, weights, x, [True], state)
        found = predictions[last : last + 1].double().cpu().numpy()
        assert np.abs(found - true.predictions).max() <= 1e-6
