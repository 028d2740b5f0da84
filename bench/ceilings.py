"""The machine's own pace, from plain products, copies and sums; nothing of ours is in them.

The canary is timed in every round: when it drifts, the machine does. The ceilings say how fast the
machine can be, so that a row can be read as a share of what is possible.
"""

from collections.abc import Callable

import torch

from bench.measure import Cell, block
from bench.schema import Ceilings

CANARY_SIZE, CANARY_PRODUCTS = 128, 500
# A product that stays in a core's cache, and one that does not: whichever is faster.
PRODUCT_SIZES = (256, 2048)
LARGE_COPY_BYTES, CACHED_COPY_BYTES = 1 << 27, 1 << 20
SUMMED = 1 << 17
REPEATS = 3


def canary(device: torch.device) -> Cell:
    """Products of a row of 128 numbers with a 128 x 128 matrix in float32, after a fixed seed.

    Small ones, one after the other: what disturbs a machine disturbs them most.
    """
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(CANARY_SIZE, CANARY_SIZE, generator=generator).to(device)
    row, out = matrix[:1].clone(), torch.empty_like(matrix[:1])

    def call() -> torch.Tensor:
        for _ in range(CANARY_PRODUCTS):
            torch.mm(row, matrix, out=out)
        return out

    return Cell(call, device)


def measure_ceilings(name: str, device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Arithmetic, bandwidth and latency at their best of a few tries, under the device's ``name``.

    On as many CPU threads as PyTorch is set to. Products count 2 N^3 operations; a copy counts what
    it reads and what it writes.
    """
    products = [2 * n**3 / _fastest(_product(n, device, dtype), device) for n in PRODUCT_SIZES]
    large, cached = (
        2 * size / _fastest(_copy(size, device), device)
        for size in (LARGE_COPY_BYTES, CACHED_COPY_BYTES)
    )
    return Ceilings(
        device=name,
        threads=torch.get_num_threads(),
        flops_per_second=max(products),
        bytes_per_second=large,
        cached_bytes_per_second=max(large, cached),
        step_seconds=_dependent_step(dtype) if device.type == "cpu" else None,
    )


def _fastest(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest call; several a block, so that the clock does not matter."""
    cell = Cell(call, device)
    block(cell, 1)  # a library may have to start first
    seconds, _ = block(cell, 1)
    calls = max(1, min(1000, round(0.005 / max(seconds, 1e-9))))
    return min(block(cell, calls)[0] / calls for _ in range(REPEATS))


def _product(size: int, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def _copy(size: int, device: torch.device) -> Callable[[], object]:
    source = torch.ones(size // 4, device=device, dtype=torch.float32)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _dependent_step(dtype: torch.dtype) -> float:
    """Seconds of one addition that waits for the one before: a running sum over its length."""
    values = torch.ones(SUMMED, dtype=dtype)
    out = torch.empty_like(values)
    return _fastest(lambda: torch.cumsum(values, 0, out=out), torch.device("cpu")) / SUMMED
