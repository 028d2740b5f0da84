"""The least time that a workload's work can take on this machine. Pure.

Operations, for every implementation alike, of L layers of H units in D directions and I features:

- a step multiplies each state of a layer by its H x H matrix (2 H^2 operations), each direction of
  a layer above the first also its input, of D H numbers, and the read-out its D H x I; each of the
  first layer's directions multiplies a forced step's input too. A free step need not: the feedback
  may be folded into the recurrent matrix. The first state is zero.
- ``train_step`` multiplies by the H x H matrices' sizes three times: forward, for the gradients of
  the states and for those of the matrices; what the read-out and the inputs add then is left out.

Bytes: what is read (forced inputs, weights) and written (predictions). Latency: a step depends on
the one before by at least one addition, a free step by one in every layer. So does a step between
bidirectional layers: each begins where the one below has ended.
"""

import math
from collections.abc import Sequence

from bench.schema import Bound, Ceilings, Limit
from impls import GeneratorConfig

# Ceilings are measured too: a share of the floor below which a time cannot be that of the work.
# A busy neighbour makes ceilings look lower than they are, and so floors higher.
IMPOSSIBLE = 0.5
ITEM_BYTES = {"float32": 4, "float64": 8}
# A row this small can stay in the cache, whose bandwidth bounds it then.
CACHED_BYTES = 1 << 25


def limit(
    config: GeneratorConfig,
    workload: str,
    batch_size: int,
    forced: Sequence[bool],
    dtype: str,
    ceilings: Ceilings,
) -> Limit:
    """The floor of one call, and which of the three ceilings it is.

    Args:
        config: sizes.
        workload: ``train_step`` counts the backward pass too.
        batch_size: B.
        forced: (T,).
        dtype: ``float32`` or ``float64``.
        ceilings: of the device, on the threads that the work has.
    """
    moved = bytes_of(config, batch_size, forced, dtype)
    bandwidth = (
        ceilings.cached_bytes_per_second if moved < CACHED_BYTES else ceilings.bytes_per_second
    )
    work = operations(config, workload, batch_size, forced)
    floors: list[tuple[float, Bound]] = [
        (work / ceilings.flops_per_second, "arithmetic"),
        (moved / bandwidth, "memory"),
    ]
    if ceilings.step_seconds is not None:
        floors.append((_chain(config, forced) * ceilings.step_seconds, "latency"))
    seconds, bound = max(floors)
    return Limit(seconds=seconds, bound=bound)


def operations(
    config: GeneratorConfig, workload: str, batch_size: int, forced: Sequence[bool]
) -> int:
    """Multiplications and additions of the matrix products that no implementation can leave out."""
    hidden, both, steps = config.hidden_size, config.state_size, len(forced)
    recurrent = 2 * hidden * both * config.num_layers * (steps - 1)
    between = 2 * both * both * (config.num_layers - 1) * steps
    readout = 2 * both * config.input_size * steps
    inputs = 2 * both * config.input_size * sum(forced)
    passes = 3 if workload == "train_step" else 1
    return batch_size * (passes * (recurrent + between) + readout + inputs)


def best(first: Ceilings, second: Ceilings) -> Ceilings:
    """The higher of each ceiling, and the shorter step."""
    steps = [c.step_seconds for c in (first, second) if c.step_seconds is not None]
    return Ceilings(
        device=first.device,
        threads=first.threads,
        flops_per_second=max(first.flops_per_second, second.flops_per_second),
        bytes_per_second=max(first.bytes_per_second, second.bytes_per_second),
        cached_bytes_per_second=max(first.cached_bytes_per_second, second.cached_bytes_per_second),
        step_seconds=min(steps, default=None),
    )


def bytes_of(config: GeneratorConfig, batch_size: int, forced: Sequence[bool], dtype: str) -> int:
    """Bytes that must be read or written at least once."""
    rows = len(forced) + sum(forced)
    weights = sum(math.prod(shape) for shape in config.weight_shapes().values())
    return ITEM_BYTES[dtype] * (rows * batch_size * config.input_size + weights)


def _chain(config: GeneratorConfig, forced: Sequence[bool]) -> int:
    """Additions that wait for each other."""
    if config.bidirectional:
        return len(forced) * config.num_layers
    free = len(forced) - sum(forced)
    return sum(forced) + free * config.num_layers
