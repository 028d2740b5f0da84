"""About how long a cell takes, before it runs: a guess from its sizes, for an ordinary machine.

A step costs what its calls and its arithmetic cost. The rates are rounded ones of
`results/reference/cpu.json`; nobody knows what a given machine and implementation do: a sweep may
take half or twice as long. It is to tell minutes from days.
"""

from bench.config import RunConfig, WorkloadName, recipe_of
from bench.recipes import Recipe
from impls import REGISTRY, GeneratorConfig

# Seconds of one step before any arithmetic, and operations a second of one thread, in float32.
CALL_SECONDS: dict[WorkloadName, float] = {
    "generate": 1.5e-5,
    "sequence": 1.5e-5,
    "train_step": 6e-5,
}
OPERATIONS_PER_SECOND = {"cpu": 5e10, "cuda": 5e12}
# A fresh process: its imports, and what the machine can do at most.
START_SECONDS = 6.0
# Compiling, and finding out how many calls fill a block.
WARM_UP_SECONDS, WARM_UP_CALLS, BLOCK_SECONDS = 0.4, 3, 0.022
PARITY_SECONDS = 1.0
STEPS: dict[WorkloadName, int] = {"generate": 999, "sequence": 999, "train_step": 99}


def cell_seconds(config: RunConfig) -> float:
    """Of a whole run."""
    cases = [
        (name, device)
        for device in config.devices
        for name in config.implementations
        if name not in REGISTRY or device.partition(":")[0] in REGISTRY[name].devices
    ]
    seconds = START_SECONDS + PARITY_SECONDS * len(cases)
    if config.trains:
        recipe = recipe_of(config)
        seconds += sum(_training(config, recipe, device) for _, device in cases)
    if config.batch_sizes:
        seconds += config.processes * _process(config, [device for _, device in cases])
    return seconds


def in_words(seconds: float) -> str:
    """Such as "about 12 min"."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"about {seconds / size:.{1 if seconds < 9.95 * size else 0}f} {unit}"
    return f"about {max(1.0, seconds):.0f} s"


def _training(config: RunConfig, recipe: Recipe, device: str) -> float:
    """One training and the evaluation after it."""
    steps = (config.iterations or recipe.iterations) * sum(recipe.points) / 2.0
    test = config.evaluation
    return steps * _step(config, "train_step", recipe.batch_size, device, 1) + test.points * _step(
        config, "generate", test.sequences, device, 1
    )


def _process(config: RunConfig, devices: list[str]) -> float:
    """One process of the timing: a device for each of its cases."""
    calls = [
        _call(config, workload, batch_size, device, threads)
        for device in (*devices, *dict.fromkeys(devices))  # the baseline is timed twice
        for workload, sizes in config.batch_sizes.items()
        for batch_size in sizes
        for threads in config.threads
    ]
    warm_up = sum(WARM_UP_SECONDS + WARM_UP_CALLS * call for call in calls)
    one_round = sum(max(BLOCK_SECONDS, call) for call in calls)
    sampling = max(config.rounds * one_round, config.sampling_seconds)
    if config.time_budget is not None:
        left = config.time_budget / config.processes - warm_up
        sampling = max(one_round, min(sampling, left))
    return START_SECONDS + warm_up + sampling


def _call(
    config: RunConfig, workload: WorkloadName, batch_size: int, device: str, threads: int
) -> float:
    steps = config.steps or STEPS[workload]
    return steps * _step(config, workload, batch_size, device, threads)


def _step(
    config: RunConfig, workload: WorkloadName, batch_size: int, device: str, threads: int
) -> float:
    """One step of the whole batch."""
    kind = device.partition(":")[0]
    rate = OPERATIONS_PER_SECOND[kind] * (threads if kind == "cpu" else 1)
    rate /= 2.0 if config.dtype == "float64" else 1.0
    passes = 3 if workload == "train_step" else 1
    work = passes * batch_size * _products(config.model)
    return config.model.num_layers * CALL_SECONDS[workload] + work / rate


def _products(model: GeneratorConfig) -> int:
    """Operations of one step of one sequence: H x H once in the first layer, twice above."""
    return 2 * model.hidden_size**2 * (2 * model.num_layers - 1)
