"""Memory that torch and JAX share: what is in it, whose it is, and which JAX is started for it.

Most of it is tried on the CPU, whose arrays cross by DLPack as well: for CUDA's it is the only way.
"""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

jax = pytest.importorskip("jax")

import impls  # noqa: E402 - nothing below works without jax
from impls import GeneratorConfig  # noqa: E402
from impls.jax_scan import JaxScan  # noqa: E402
from impls.kernels import jax_memory  # noqa: E402
from impls.packages import JAX_CUDA, no_cuda_for_jax_reason  # noqa: E402

CUDA = torch.device("cuda")
VARIABLE = "XLA_PYTHON_CLIENT_PREALLOCATE"
NO_PLUGIN = (
    "the installed jax has no plugin for CUDA: pip install -c constraints.txt -e '.[jax-cuda]'"
)
without_plugin = pytest.mark.skipif(
    no_cuda_for_jax_reason() is None, reason="JAX's plugin for CUDA is installed"
)
on_gpu = pytest.mark.skipif(
    no_cuda_for_jax_reason() is not None, reason=str(no_cuda_for_jax_reason())
)


# Which device.


@without_plugin
def test_without_a_plugin_cuda_is_refused_with_the_command_that_installs_it(monkeypatch):
    from bench import environment
    from bench.listing import listing

    assert JaxScan.unsupported(GeneratorConfig(), CUDA, torch.float32) == NO_PLUGIN
    assert JaxScan.unsupported(GeneratorConfig(), torch.device("cpu"), torch.float32) is None
    monkeypatch.setattr(environment, "no_cuda_reason", lambda: None)
    [listed] = [each for each in listing() if each.name == "jax_scan"]
    assert listed.devices == {"cpu": None, "cuda": NO_PLUGIN}


@pytest.mark.parametrize("plugin", JAX_CUDA)
def test_either_plugin_will_do(plugin, monkeypatch, tmp_path):
    (tmp_path / plugin).mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert JaxScan.unsupported(GeneratorConfig(), CUDA, torch.float32) is None


@pytest.fixture
def client(monkeypatch):
    """JAX with two GPUs; tells what the environment held when it was asked for them."""
    seen = []

    def local_devices(*, backend):
        seen.append((backend, os.environ.get(VARIABLE)))
        return [SimpleNamespace(local_hardware_id=index) for index in (1, 0)]

    monkeypatch.setattr(jax, "local_devices", local_devices)
    jax_memory.gpu.cache_clear()
    yield seen
    jax_memory.gpu.cache_clear()


@pytest.mark.parametrize(("set_before", "seen"), [(None, "false"), ("true", "true")])
def test_jax_takes_memory_as_it_needs_it_unless_the_user_says_else(
    set_before, seen, client, monkeypatch
):
    monkeypatch.delenv(VARIABLE, raising=False)
    if set_before:
        monkeypatch.setenv(VARIABLE, set_before)
    before = dict(os.environ)
    assert jax_memory.gpu(0).local_hardware_id == 0
    assert jax_memory.gpu(1).local_hardware_id == 1
    assert client == [("cuda", seen)] * 2
    assert dict(os.environ) == before


def test_jax_still_reads_that_variable():
    """By the name that is set here: JAX ignores what it does not know."""
    from jaxlib import xla_client

    assert "preallocate" not in xla_client.generate_pjrt_gpu_plugin_options()
    with jax_memory._environment(**{VARIABLE: "false"}):
        assert xla_client.generate_pjrt_gpu_plugin_options()["preallocate"] is False


def test_a_gpu_that_jax_does_not_see_is_an_error(client):
    with pytest.raises(RuntimeError, match="JAX does not see cuda:2"):
        jax_memory.gpu(2)


@without_plugin
def test_without_cuda_jax_is_never_asked_to_compute_elsewhere():
    """In a process of its own: asking starts JAX's clients."""
    script = "from impls.kernels import jax_memory; jax_memory.gpu(0)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr.splitlines()[-1]
    assert "cuda" in done.stderr.splitlines()[-1]


# Across.


def aligned(*shape, dtype=torch.float32):
    """Normal numbers where XLA takes them as they lie."""
    room = torch.empty(4096, dtype=dtype)
    start = next(n for n in range(4096) if room[n:].data_ptr() % jax_memory.ALIGNMENT == 0)
    return room[start:][: torch.Size(shape).numel()].view(shape).normal_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_lies_well_is_shared_and_comes_back_as_it_was(dtype):
    given = aligned(3, 5, dtype=dtype)
    with jax.enable_x64(dtype == torch.float64):
        there = jax_memory.shared(given)
        assert there.unsafe_buffer_pointer() == given.data_ptr()
        back = jax_memory.tensor(there)
    assert torch.equal(back, given)
    assert (back.dtype, back.data_ptr()) == (dtype, given.data_ptr())


@pytest.mark.parametrize(
    "lie",
    [
        lambda x: x.flatten()[1:13].view(3, 4),
        lambda x: x.t(),
        lambda x: x[:, ::2],
        lambda x: x[:1].expand(5, -1),
        lambda x: x.clone().requires_grad_(),
    ],
    ids=["at an odd address", "transposed", "strided", "expanded", "asking for gradients"],
)
def test_what_lies_anyhow_is_put_as_xla_takes_it(lie, monkeypatch):
    """On CUDA; on the CPU, whose allocator gives other addresses, JAX would copy by itself."""
    honest, seen = jax.dlpack.from_dlpack, []

    def from_dlpack(tensor):
        seen.append(tensor)
        return honest(tensor)

    monkeypatch.setattr(jax_memory, "ALIGNMENT", 64)
    monkeypatch.setattr(jax.dlpack, "from_dlpack", from_dlpack)
    given = lie(aligned(6, 4))
    there = jax_memory.shared(given)
    [crossed] = seen
    assert crossed.is_contiguous()
    assert crossed.data_ptr() % 64 == 0
    assert torch.equal(jax_memory.tensor(there), given.detach())


# The whole scan as on CUDA, its arrays by DLPack and on JAX's own client: in a process of its own,
# for that client stays.
SCRIPT = """
import jax, torch
import impls
from impls import GeneratorConfig, jax_scan
from impls.kernels import jax_memory
from tests.impls.answers import drawn, gradients

seen = []

def crossing(tensor):
    seen.append(tensor.dtype)
    return jax_memory.shared(tensor)

jax_memory.cpu = lambda _: jax.devices("cpu")[0]
jax_scan.array = crossing
for dtype in (torch.float32, torch.float64):
    for config in (GeneratorConfig(2, 6), GeneratorConfig(2, 5, 2, "relu", bias=False)):
        given = drawn(11, 3, dtype=dtype)
        mine = gradients(impls.create("jax_scan", config, dtype=dtype), *given)
        other = gradients(impls.create("manual_cell", config, dtype=dtype), *given)
        for one, exact in zip(mine, other, strict=True):
            within = 1e-5 if dtype == torch.float32 else 1e-12
            torch.testing.assert_close(one, exact, rtol=within, atol=within)
print(len(seen), set(map(str, seen)))
"""


def test_the_scan_is_right_when_every_array_crosses_by_dlpack():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, kinds = done.stdout.split(maxsplit=1)
    assert int(count) > 40
    assert "float32" in kinds
    assert "float64" in kinds


# On a GPU.


def enqueue_much():
    torch.cuda._sleep(2_000_000_000)  # cycles: a second


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("on_side_stream", [False, True])
def test_on_cuda_nobody_waits_and_the_order_is_kept(on_side_stream):
    model = impls.create("jax_scan", GeneratorConfig(), device="cuda")
    forced = torch.arange(40) < 20
    inputs = torch.randn(40, 3, 1, device="cuda")
    expected = impls.create("manual_cell", GeneratorConfig(), device="cuda")(inputs, forced)
    model(inputs, forced)[0].sum().backward()  # compiles
    late = torch.full_like(inputs, torch.nan)
    stream = torch.cuda.Stream() if on_side_stream else torch.cuda.current_stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        enqueue_much()
        late.copy_(inputs)
        predictions, h_n = model(late, forced)
        done = torch.cuda.Event()
        done.record()
        assert not done.query()  # the host is here while the GPU still sleeps
        late.fill_(torch.nan)  # after the scan has read it
        copies = predictions * 1, h_n * 1
    torch.cuda.synchronize()
    for found, right in zip(copies, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@on_gpu
def test_on_cuda_jax_leaves_torch_its_memory():
    script = (
        "import torch, impls; from impls import GeneratorConfig;"
        "model = impls.create('jax_scan', GeneratorConfig(), device='cuda');"
        "model(torch.randn(8, 2, 1, device='cuda'), torch.ones(8, dtype=torch.bool));"
        "torch.cuda.synchronize(); free, total = torch.cuda.mem_get_info(); print(free / total)"
    )
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], env=environment,
    )  # fmt: skip
    assert float(done.stdout) > 0.5
