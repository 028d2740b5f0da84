"""The implementations, by name. One line an implementation; nothing is imported until asked for."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from impls.config import GeneratorConfig

if TYPE_CHECKING:
    import torch

    from impls.generator import Generator

__all__ = ["REGISTRY", "Entry", "GeneratorConfig", "create", "load", "registered"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an implementation lies and what sets it apart.

    Attributes:
        target: ``package.module:Class``.
        summary: a few words for the tables.
        devices: kinds of device that it is written for.
        requires: packages that it imports beyond this project's own dependencies.
        compiles: whether it needs a C++ compiler on the CPU.
    """

    target: str
    summary: str
    devices: tuple[str, ...] = ("cpu", "cuda")
    requires: tuple[str, ...] = ()
    compiles: bool = False


REGISTRY: dict[str, Entry] = {
    "torch_rnn": Entry("impls.torch_rnn:TorchRNN", "nn.RNN, called one step at a time"),
    "torch_cell": Entry("impls.torch_cell:TorchCell", "a loop over nn.RNNCell"),
    "manual_cell": Entry("impls.manual_cell:ManualCell", "tanh(b + W h + U x), written by hand"),
    "folded": Entry(
        "impls.folded:Folded", "nn.RNN, one call a run of steps, the feedback folded into W"
    ),
    "fused_cpu": Entry(
        "impls.fused_cpu:FusedCPU", "all steps in one compiled call", devices=("cpu",)
    ),
    "onnx_runtime": Entry(
        "impls.onnx_runtime:OnnxRuntime",
        "ONNX Runtime's RNN, one call a run of steps; inference only",
        devices=("cpu",),
        requires=("onnx", "onnxruntime"),
    ),
    "compiled": Entry(
        "impls.compiled:Compiled", "torch.compile of the plain loop, in chunks", compiles=True
    ),
}


def load(name: str) -> "type[Generator]":
    """The class registered under ``name``.

    Raises:
        KeyError: no such implementation.
        ImportError: it needs a package that is not installed.
    """
    module, _, attribute = REGISTRY[name].target.partition(":")
    implementation: type[Generator] = getattr(importlib.import_module(module), attribute)
    return implementation


@contextmanager
def registered(entries: Mapping[str, Entry]) -> Iterator[None]:
    """Have ``entries`` in the registry as long as the context lasts."""
    before = dict(REGISTRY)
    REGISTRY.update(entries)
    try:
        yield
    finally:
        REGISTRY.clear()
        REGISTRY.update(before)


def create(
    name: str,
    config: GeneratorConfig,
    *,
    device: "torch.device | str" = "cpu",
    dtype: "torch.dtype | None" = None,
    seed: int = 0,
) -> "Generator":
    """Build an implementation; the same seed gives the same weights in all, on every device.

    Args:
        name: a key of `REGISTRY`.
        config: sizes and options.
        device: where its weights lie.
        dtype: their type; None for float32.
        seed: names the initial weights (see `impls.generator.initial_weights`).

    Raises:
        KeyError: no such implementation.
        ValueError: the implementation does not support this config, device or dtype.
    """
    import torch

    from impls.generator import initial_weights

    device, dtype = torch.device(device), dtype or torch.float32
    implementation = load(name)
    if reason := implementation.unsupported(config, device, dtype):
        raise ValueError(f"{name}: {reason}")
    with torch.random.fork_rng(devices=[]):  # nn modules draw weights that are replaced at once
        generator = implementation(config)
    generator = generator.to(device=device, dtype=dtype)
    generator.load_weights(initial_weights(config, seed))
    return generator
