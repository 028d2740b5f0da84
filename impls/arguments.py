"""The checks of a call's arguments: each raises a ValueError of one line."""

import torch
from torch import Tensor

from impls.config import GeneratorConfig


def check_inputs(inputs: Tensor, config: GeneratorConfig, weight: Tensor) -> None:
    """Three dimensions, of which none is empty and the last one is I; like the weights."""
    layout = "(B, T" if config.batch_first else "(T, B"
    right = f"{layout}, {config.input_size})"
    if inputs.ndim != 3:
        raise ValueError(
            f"inputs must have 3 dimensions {right}, got {inputs.ndim}: {tuple(inputs.shape)}"
        )
    if inputs.shape[2] != config.input_size or 0 in inputs.shape:
        raise ValueError(
            f"inputs must have shape {right} with T and B at least 1, got {tuple(inputs.shape)}"
        )
    _check_kind(inputs, weight)


def check_packed(data: Tensor, config: GeneratorConfig, weight: Tensor) -> None:
    """The rows of a ``PackedSequence``: (N, I), like the weights."""
    size = config.input_size
    if data.ndim != 2 or data.shape[1] != size:
        raise ValueError(
            f"packed inputs must have {size} features, got data of shape {tuple(data.shape)}"
        )
    _check_kind(data, weight)


def steps(forced: Tensor, length: int) -> list[bool]:
    """Which of so many steps are forced; the first must be."""
    if forced.dtype != torch.bool or forced.shape != (length,):
        raise ValueError(
            f"forced must be a bool tensor of shape ({length},), "
            f"got {forced.dtype} of shape {tuple(forced.shape)}"
        )
    if forced.device.type != "cpu":
        raise ValueError(f"forced must be on the CPU, got {forced.device}")
    found: list[bool] = forced.tolist()
    if not found[0]:
        raise ValueError("forced[0] must be True: no prediction precedes the first step")
    return found


def check_h0(h0: Tensor, shape: tuple[int, int, int], inputs: Tensor) -> None:
    """A state of this shape, like the inputs in dtype and device."""
    if tuple(h0.shape) != shape:
        raise ValueError(f"h0 must have shape (L D, B, H) = {shape}, got {tuple(h0.shape)}")
    if h0.dtype != inputs.dtype or h0.device != inputs.device:
        raise ValueError(
            f"h0 is {h0.dtype} on {h0.device}, but the inputs are {inputs.dtype} on {inputs.device}"
        )


def check_lengths(lengths: Tensor, length: int, batch: int) -> None:
    """(B,) whole numbers from 1 to T, on the CPU."""
    right = f"lengths must be an int64 tensor of shape ({batch},) on the CPU"
    if not isinstance(lengths, Tensor):
        raise ValueError(f"{right}, got a {type(lengths).__name__}")
    if lengths.dtype != torch.int64 or tuple(lengths.shape) != (batch,):
        raise ValueError(f"{right}, got {lengths.dtype} of shape {tuple(lengths.shape)}")
    if lengths.device.type != "cpu":
        raise ValueError(f"{right}, got one on {lengths.device}")
    if wrong := [each for each in lengths.tolist() if not 1 <= each <= length]:
        raise ValueError(f"lengths must be from 1 to T = {length}, got {wrong[0]}")


def _check_kind(inputs: Tensor, weight: Tensor) -> None:
    if inputs.dtype != weight.dtype or inputs.device != weight.device:
        raise ValueError(
            f"inputs are {inputs.dtype} on {inputs.device}, but the weights are "
            f"{weight.dtype} on {weight.device}"
        )
