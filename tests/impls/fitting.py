"""Configurations that fit an implementation: what it refuses is tested where it refuses it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import settings

import impls


def fitting(config, *names):
    """``config``, with one layer where one of ``names`` takes no more."""
    return config if all(takes(name, config) for name in names) else replace(config, num_layers=1)


def skip_unless(name, config):
    """Skip a test that is about what ``config`` asks for."""
    if not takes(name, config):
        pytest.skip(f"{name} does not take {config}")


def takes(name, config):
    return impls.load(name).unsupported(config, torch.device("cpu"), torch.float64) is None


def compiles_per_shape(name):
    """Whether every drawn size costs seconds of compiling: then fewer of them are drawn."""
    return impls.REGISTRY[name].compiles


def examples(number, *names, compiled):
    """``number`` of them, or ``compiled`` where each is waited for; the first is the smallest."""
    return settings(max_examples=compiled if any(map(compiles_per_shape, names)) else number)
