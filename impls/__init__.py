"""The implementations, by name. One line an implementation; nothing is imported until asked for."""

import importlib
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from impls.compiler import no_compiler_reason, no_nvcc_reason
from impls.config import GeneratorConfig
from impls.packages import missing_reason, no_cuda_for_jax_reason, no_triton_reason

if TYPE_CHECKING:
    import torch

    from impls.generator import Generator

__all__ = [
    "COMMAND_LINE",
    "REGISTRY",
    "Entry",
    "GeneratorConfig",
    "MissingError",
    "TargetError",
    "create",
    "load",
    "missing",
    "registered",
]

COMMAND_LINE = "--impl"  # the origin of what was named there as package.module:Class


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an implementation lies and what sets it apart.

    Attributes:
        target: ``package.module:Class``.
        summary: a few words for the tables.
        devices: kinds of device that it is written for.
        requires: packages that it imports beyond this project's own dependencies.
        extra: this project's extra that installs those.
        origin: who brings it: None for this project, a distribution and its version, or
            `COMMAND_LINE`.
        compiles: whether whatever is new in size or dtype costs it a run of a C++ compiler.
        lacking: kind of device -> what says why something else that it needs there is missing, or
            gives None; it imports nothing.
    """

    target: str
    summary: str
    devices: tuple[str, ...] = ("cpu", "cuda")
    requires: tuple[str, ...] = ()
    extra: str | None = None
    origin: str | None = None
    compiles: bool = False
    lacking: Mapping[str, Callable[[], str | None]] = field(default_factory=dict, hash=False)


class MissingError(ImportError):
    """A package that an implementation needs is not installed; the message says how to get it."""


class TargetError(Exception):
    """An entry's target is no implementation; the message says what would be right."""


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
    "fused_cuda": Entry(
        "impls.fused_cuda:FusedCUDA",
        "all steps in one Triton kernel",
        devices=("cuda",),
        requires=("triton",),
        extra="triton",
    ),
    "fused_cuda_tf32x3": Entry(
        "impls.fused_cuda:FusedCUDATF32x3",
        "fused_cuda on tensor cores, tf32 in three products",
        devices=("cuda",),
        requires=("triton",),
        extra="triton",
    ),
    "fused_cuda_tf32": Entry(
        "impls.fused_cuda:FusedCUDATF32",
        "fused_cuda on tensor cores, products in tf32",
        devices=("cuda",),
        requires=("triton",),
        extra="triton",
    ),
    "fused_cuda_bf16": Entry(
        "impls.fused_cuda:FusedCUDABF16",
        "fused_cuda on tensor cores, weights and states in bfloat16",
        devices=("cuda",),
        requires=("triton",),
        extra="triton",
    ),
    "cuda_graph": Entry(
        "impls.cuda_graph:CudaGraph",
        "the hand-written loop, one recorded CUDA graph a call",
        devices=("cuda",),
    ),
    "onnx_runtime": Entry(
        "impls.onnx_runtime:OnnxRuntime",
        "ONNX Runtime's RNN, one call a run of steps; inference only",
        devices=("cpu",),
        requires=("onnx", "onnxruntime"),
        extra="onnx",
    ),
    "jax_scan": Entry(
        "impls.jax_scan:JaxScan",
        "JAX's lax.scan, compiled by XLA",
        requires=("jax",),
        extra="jax",
        lacking={"cuda": no_cuda_for_jax_reason},
    ),
    "compiled": Entry(
        "impls.compiled:Compiled",
        "torch.compile of the plain loop, in chunks",
        compiles=True,
        lacking={"cpu": no_compiler_reason, "cuda": no_triton_reason},
    ),
    "flashrnn": Entry(
        "impls.flashrnn:FlashRNN",
        "FlashRNN's Elman kernel, in bfloat16; forced steps alone",
        devices=("cuda",),
        requires=("flashrnn", "einops"),
        extra="flashrnn",
        compiles=True,
        lacking={"cuda": no_nvcc_reason},
    ),
}


def load(name: str) -> "type[Generator]":
    """The class registered under ``name``.

    Raises:
        KeyError: no such implementation.
        MissingError: it needs a package that is not installed.
        ImportError: a module of this project's own cannot be imported.
        TargetError: the target cannot be imported, does not exist, or is no `Generator`.
    """
    entry = REGISTRY[name]
    if reason := missing(entry):
        raise MissingError(reason)
    module_name, _, attribute = entry.target.partition(":")
    who = _described(name, entry)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        absent = error.name or module_name
        if f"{module_name}.".startswith(f"{absent}."):
            raise TargetError(
                f"{who}: there is no module {absent} in the current folder or among the installed "
                "packages; it must be package.module:Class"
            ) from None
        raise MissingError(f"needs {absent}, which is not installed") from None
    except Exception as error:
        if entry.origin is None and isinstance(error, ImportError):
            raise
        said = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise TargetError(f"{who}: importing {module_name} raised {said}") from None
    try:
        found = operator.attrgetter(attribute)(module)
    except AttributeError:
        raise TargetError(
            f"{who}: the module {module_name} has no {attribute}; it must be a subclass of "
            "impls.generator.Generator there"
        ) from None
    return _checked(found, f"{who}: {entry.target}")


def missing(entry: Entry, device: str | None = None) -> str | None:
    """What ``entry`` lacks here and how to get it, or None; nothing is imported.

    Args:
        entry: of the registry.
        device: a kind of device, to look at what it needs there too; None for packages alone.
    """
    if device and device not in entry.devices:  # no package would help it
        return f"not written for {device}"
    lacking = entry.lacking.get(device) if device else None
    return missing_reason(entry.requires, entry.extra) or (lacking() if lacking else None)


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


def _described(name: str, entry: Entry) -> str:
    if entry.origin is None:
        return name
    if entry.origin == COMMAND_LINE:
        return f"{COMMAND_LINE} {name}"
    return f"plugin {name} of {entry.origin}"


def _checked(found: object, what: str) -> "type[Generator]":
    from impls.generator import Generator

    right = "it must be a subclass of impls.generator.Generator"
    if not isinstance(found, type):
        raise TargetError(f"{what} is a {type(found).__name__}, not a class; {right}")
    if not issubclass(found, Generator):
        raise TargetError(f"{what} is not a Generator; {right}")
    return found
