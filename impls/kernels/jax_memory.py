"""The JAX that a call runs in, and memory that torch and JAX share without a copy.

On the CPU each number of threads has a client of its own (see `impls.jax_scan`), whose calls return
when they are done.

On CUDA JAX's own client computes, on streams of its own, while torch's work waits on torch's
current stream. Nobody waits on the host; DLPack orders the two (its Python specification, and
``jax/_src/dlpack.py``, ``torch/_tensor.py`` and ``torch/utils/dlpack.py``, which say how):

- torch to JAX: `jax.dlpack.from_dlpack` names a stream of XLA's, torch has it wait for an event of
  its current stream, and XLA computes with the array once that event has come.
- JAX to torch: `torch.from_dlpack` names torch's current stream, and XLA has it wait for the event
  after which the array is computed.
- Memory that torch gave and takes back may be used anew by what torch enqueues next, which comes
  after the answer, and so after XLA has read: whoever calls here keeps what it gave until it has
  the answer. Memory that JAX gave and takes back may be used anew by XLA's next call, which waits
  for the arrays that it is given, and so for all that torch had enqueued before.

That holds for one stream of torch's at a time, as all of torch's own memory does.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import jax
import torch
from jaxlib import xla_client
from torch import Tensor

# XLA refuses memory on CUDA that lies at odd addresses: its own is that far apart.
ALIGNMENT = 128

_one_client_at_a_time = threading.Lock()


@contextmanager
def jax_for(like: Tensor) -> Iterator[None]:
    """JAX with ``like``'s precision, on its device, for this thread alone.

    On the CPU that has as many threads as torch.
    """
    device = gpu(like.get_device()) if like.is_cuda else cpu(torch.get_num_threads())
    with (
        torch.cuda.device_of(like),  # torch gives out memory of its current GPU alone
        jax.default_device(device),
        jax.enable_x64(like.dtype == torch.float64),
    ):
        yield


@lru_cache
def cpu(threads: int) -> jax.Device:
    """A CPU of ``threads`` threads; its calls return when they are done."""
    # Read once, by the client's constructor.
    with _one_client_at_a_time, _environment(PJRT_NPROC=str(threads)):
        client: Any = xla_client.make_cpu_client(asynchronous=False)
    device: jax.Device = client.devices()[0]
    return device


@lru_cache
def gpu(index: int) -> jax.Device:
    """JAX's own ``cuda:index``; it takes memory as it needs it, unless the environment says else.

    JAX would take three quarters of the GPU when its client is made, and leave torch the rest.

    Raises:
        RuntimeError: JAX finds no CUDA, or no such GPU.
    """
    preallocate = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # Read once, when JAX registers its plugin, right before it makes the client.
    with _one_client_at_a_time, _environment(XLA_PYTHON_CLIENT_PREALLOCATE=preallocate):
        devices = jax.local_devices(backend="cuda")
    for device in devices:
        if device.local_hardware_id == index:
            return device
    raise RuntimeError(f"JAX does not see cuda:{index}; it sees {devices}")


def array(tensor: Tensor) -> Any:
    """What JAX takes for ``tensor``, within `jax_for` it; nothing waits for a GPU."""
    return shared(tensor) if tensor.is_cuda else tensor.detach().numpy()


def shared(tensor: Tensor) -> jax.Array:
    """A JAX array in the memory of ``tensor``, or of a copy where XLA does not take that."""
    plain = tensor.detach().contiguous()
    there: jax.Array = jax.dlpack.from_dlpack(
        plain.clone() if plain.data_ptr() % ALIGNMENT else plain
    )
    return there


def tensor(computed: jax.Array) -> Tensor:
    """Takes the memory over: nobody else holds it. Nothing waits for a GPU."""
    [device] = computed.devices()
    if device.platform == "cpu":  # there no stream says when it is done
        computed.block_until_ready()
    taken: Tensor = torch.from_dlpack(computed)  # type: ignore[attr-defined]
    return taken


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """With ``variables`` in the environment, for what reads it meanwhile; then as it was."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
