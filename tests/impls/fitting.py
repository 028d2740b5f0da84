"""What fits an implementation: what it refuses is tested where it refuses it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import impls
from impls import REGISTRY, GeneratorConfig

# (config, steps, batch): odd sizes, one sequence and several, lengths that are no round number.
FEW_SHAPES = (
    (GeneratorConfig(hidden_size=33), 59, 1),
    (GeneratorConfig(input_size=3, hidden_size=7, num_layers=3), 22, 5),
    (GeneratorConfig(2, 20, num_layers=2, nonlinearity="relu", bias=False), 41, 9),
)
CPU = torch.device("cpu")
# What is written for CUDA alone is tested on the CPU by its own tests, in Triton's interpreter.
ON_CPU = tuple(name for name, entry in REGISTRY.items() if "cpu" in entry.devices)
ON_CUDA = tuple(name for name, entry in REGISTRY.items() if "cuda" in entry.devices)
# The others compile with a C++ compiler, for many seconds, whatever is new in size or dtype: they
# cannot run what is drawn, and are tested on a few fixed cases beside their own tests.
UNCOMPILED = [name for name in ON_CPU if not REGISTRY[name].compiles]


def dtype_of(*names):
    """float64, or float32 where one of ``names`` takes no other."""
    both = (torch.float64, torch.float32)
    return next(dtype for dtype in both if all(takes(name, dtype=dtype) for name in names))


def fitting(config, *names):
    """``config``, with one layer where one of ``names`` takes no more."""
    return config if all(takes(name, config) for name in names) else replace(config, num_layers=1)


def skip_unless(name, config=GeneratorConfig(), dtype=None):  # noqa: B008
    """Skip a test that is about what ``config`` and ``dtype`` ask for."""
    if not takes(name, config, dtype):
        pytest.skip(f"{name} does not take {config} in {dtype or 'any dtype'}")


def skip_unless_differentiable(name):
    """Skip a test that is about gradients."""
    if not impls.load(name).differentiable:
        pytest.skip(f"{name} computes no gradients")


def skip_unless_installed(name, device):
    """Skip a test on ``device`` of what lacks there something that nobody must install."""
    if reason := impls.missing(REGISTRY[name], device):
        pytest.skip(f"{name}: {reason}")


def takes(name, config=GeneratorConfig(), dtype=None):  # noqa: B008
    """Whether ``name`` runs ``config`` on the CPU, in any dtype where none is given."""
    dtypes = [dtype] if dtype else [torch.float64, torch.float32]
    return any(impls.load(name).unsupported(config, CPU, dtype) is None for dtype in dtypes)


def compiles_per_shape(name):
    """Whether a new shape costs ``name`` a compiler's run: drawing a hundred takes minutes."""
    return name in {"jax_scan"}


def few_shapes(config, forced, batch, *names):
    """The arguments, or one of a few shapes in their stead where one of ``names`` compiles each.

    Which of them, and which steps are forced, is still drawn.
    """
    if not any(map(compiles_per_shape, names)):
        return config, forced, batch
    config, steps, batch = FEW_SHAPES[config.hidden_size % len(FEW_SHAPES)]
    return config, np.resize(forced, steps), batch
