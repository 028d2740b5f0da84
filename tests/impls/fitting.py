"""What fits an implementation: what it refuses is tested where it refuses it."""

from dataclasses import replace

import pytest
import torch

import impls
from impls import REGISTRY, GeneratorConfig

CPU = torch.device("cpu")
# What runs any shape at once. The others compile for seconds whatever is new in size or dtype, so
# they cannot run what is drawn: each is tested on a few fixed cases, beside its own tests.
UNCOMPILED = [name for name in REGISTRY if not REGISTRY[name].compiles]


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


def takes(name, config=GeneratorConfig(), dtype=None):  # noqa: B008
    """Whether ``name`` runs ``config`` on the CPU, in any dtype where none is given."""
    dtypes = [dtype] if dtype else [torch.float64, torch.float32]
    return any(impls.load(name).unsupported(config, CPU, dtype) is None for dtype in dtypes)
