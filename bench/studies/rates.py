"""The rate of an implementation at one size; imported in a worker alone."""

from statistics import median
from typing import Any

import numpy as np
import torch

import impls
from bench import environment, measure, workloads
from bench.config import LONG_FACTOR
from bench.errors import WrongWorkError
from bench.parity import tolerance_of
from bench.studies.schema import Cell, StudyConfig
from bench.studies.study import Tick
from impls import GeneratorConfig
from tasks import TASKS

WORKLOAD = "generate"
THREADS = 1  # what a worker of a study has pinned


def steps_per_second(
    cell: Cell, config: StudyConfig, size: dict[str, Any], blocks: int, tick: Tick
) -> float | None:
    """Sequence-steps of ``generate`` in a second: of the median of so many blocks.

    The last call of every block is checked against the reference. None where the implementation
    cannot run here, or not at this size.

    Raises:
        WrongWorkError: what was timed is not what the weights say.
    """
    name, device = str(cell.settings["timed"]), torch.device("cpu")
    model_config = GeneratorConfig(input_size=TASKS[config.task].input_size, **size)
    dtype: torch.dtype = getattr(torch, config.dtype)
    if impls.missing(impls.REGISTRY[name], device.type):
        return None
    kind = impls.load(name)
    if not kind.closed_loop or kind.unsupported(model_config, device, dtype):
        return None
    model = impls.create(name, model_config, device=device, dtype=dtype, seed=cell.seed)
    workloads.load_timed_weights(model, cell.seed)
    batch_size: Any = cell.settings["batch_size"]
    timed = workloads.build(WORKLOAD, model, TASKS[config.task], batch_size, cell.seed, owner=name)
    of_one_call = measure.Cell(timed.call, device)
    ready = measure.warm_up(of_one_call, tick)
    timed.provide(ready.calls_per_sample)
    rng, seconds, frozen = np.random.default_rng(), [], []
    for _ in range(blocks):
        timed.refresh(rng)
        spent, outcome = measure.block(of_one_call, ready.calls_per_sample)
        frozen.append(timed.freeze(outcome))
        seconds.append(spent / ready.calls_per_sample)
        tick()
    if what := environment.changed(THREADS):
        raise WrongWorkError(f"{name} {what}")
    error, most = timed.error(*frozen), LONG_FACTOR * tolerance_of(kind, dtype)
    if error is None or not error <= most:
        raise WrongWorkError(f"{name}: error {error} of what was timed, above {most:.0e}")
    return float(timed.steps * batch_size / median(seconds))
