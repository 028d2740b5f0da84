"""What a run is: every choice that its numbers depend on, validated once, at the door."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.errors import BenchError, unknown
from bench.recipes import NO_RECIPE, RECIPES, Recipe
from impls import REGISTRY, GeneratorConfig
from impls.config import READS_THE_FUTURE, InitName
from tasks import TASKS

# What tells the cases of a run apart: implementation, device, hidden size.
CaseKey = tuple[str, str, int]
Dtype = Literal["float32", "float64"]
WorkloadName = Literal["generate", "train_step", "sequence"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
WORKLOADS: tuple[WorkloadName, ...] = get_args(WorkloadName)
INIT_NAMES: tuple[InitName, ...] = get_args(InitName)
# The largest error against the float64 reference that counts as rounding, by dtype; and where an
# implementation states that it multiplies in another precision, by that: some four times the worst
# of thousands of trials whose products were rounded so (docs/fused_cuda.md).
TOLERANCE: dict[str, float] = {"float32": 1e-5, "float64": 1e-10}
REDUCED_TOLERANCE: dict[str, float] = {"tf32x3": 2e-5, "tf32": 5e-3, "bfloat16": 8e-2}
# A thousand steps hold on to what they have met, rounding included: that many times as much.
LONG_FACTOR = 10.0
DEFAULT_BATCH_SIZES: dict[WorkloadName, tuple[int, ...]] = {
    "generate": (1, 32, 1000),
    "train_step": (1, 32),
    "sequence": (1, 32),
}
DEFAULT_WORKLOADS: tuple[WorkloadName, ...] = ("generate", "train_step")
PositiveInt = Annotated[int, Field(ge=1, le=10**12)]
NaturalInt = Annotated[int, Field(ge=0, le=10**12)]


@dataclass(frozen=True, slots=True)
class Preset:
    """How much is sampled: fresh processes, rounds in each, and seconds that these take at least.

    A process takes longer to start than five rounds of short calls: more rounds cost next to
    nothing then, and a median of forty tells three times as much as one of five.
    """

    processes: int
    rounds: int
    seconds: float = 3.0


PRESETS = {"quick": Preset(3, 5), "default": Preset(5, 8), "rigorous": Preset(12, 10)}
# Beyond these a typing error is likelier than a wish; each is far above what a machine can hold.
LARGEST_HIDDEN_SIZE, LARGEST_NUM_LAYERS, LARGEST_BATCH_SIZE = 16_384, 100, 100_000
LARGEST_THREADS = 10_000  # of a machine that is not here; this one has as many as it has cores


class StrictModel(BaseModel):
    """Exact types, no unknown fields, no infinities, no changes after the check."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class EvaluationConfig(StrictModel):
    """The test set: the same for every run, whatever its seed, so that errors can be compared."""

    seed: NaturalInt = 1000
    sequences: PositiveInt = 1000
    points: PositiveInt = 1000
    warm_up: PositiveInt = 100

    @model_validator(mode="after")
    def _something_to_predict(self) -> Self:
        if self.warm_up >= self.points - 1:
            raise ValueError("warm_up must leave steps to predict: below points - 1")
        return self


class Source(StrictModel):
    """Whose weights a run was given, in the words of their file, and their digest."""

    digest: str
    implementation: str = ""
    task: str = ""
    recipe: str = ""
    iterations: str = ""
    seed: str = ""


class RunConfig(StrictModel):
    """One run.

    ``threads`` defaults to one, as in ``torch.utils.benchmark``: a pool makes small steps slower.
    Every row is timed on each count; parity, training and evaluation use the first.
    ``more_hidden_sizes``: beside the model's own; every implementation has a case of each size.
    ``init``, ``init_gain``: where a training starts from, instead of the recipe's own.
    ``recipe``: `NO_RECIPE` for parity and timing alone; ``own_recipe``: what the file of that name
    said, where it is none of `RECIPES`. ``steps``: of one timed call; None for 999 of ``generate``
    and ``sequence``, 99 of ``train_step``.
    ``seed`` names the initial weights, the training data, the coin flips and the order of timing.
    ``sampling_seconds``: a process takes more than its ``rounds`` until these have taken that long.
    ``time_budget``: seconds that the timing may take; it ends with fewer rounds then, never with
    fewer processes. ``time_limit``: seconds without a sign of life after which a case counts as
    hung.
    ``weights``: that were given to be evaluated, where nothing is trained or timed.
    """

    implementations: tuple[str, ...] = Field(default=tuple(REGISTRY), min_length=1)
    devices: tuple[str, ...] = Field(default=("cpu",), min_length=1)
    dtype: Dtype = "float32"
    task: str = "cosine"
    recipe: str = "quick"
    own_recipe: Recipe | None = None
    iterations: Annotated[int, Field(ge=1, le=10**9)] | None = None
    init: InitName | None = None
    init_gain: Annotated[float, Field(gt=0.0, le=1e6)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    model: GeneratorConfig = GeneratorConfig()
    more_hidden_sizes: tuple[PositiveInt, ...] = ()
    steps: Annotated[int, Field(ge=2, le=100_000)] | None = None
    batch_sizes: dict[WorkloadName, tuple[PositiveInt, ...]] = {
        name: DEFAULT_BATCH_SIZES[name] for name in DEFAULT_WORKLOADS
    }
    processes: Annotated[int, Field(ge=1, le=1_000)] = PRESETS["default"].processes
    rounds: Annotated[int, Field(ge=1, le=10_000)] = PRESETS["default"].rounds
    sampling_seconds: Annotated[float, Field(ge=0.0, le=1e7)] = 0.0
    time_budget: Annotated[float, Field(gt=0.0, le=1e7)] | None = None
    time_limit: Annotated[float, Field(gt=0.0, le=1e7)] = 600.0
    threads: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1,)
    baseline: str = "torch_rnn"
    evaluation: EvaluationConfig = EvaluationConfig()
    weights: Source | None = None

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """The model's own first, each once."""
        return tuple(dict.fromkeys((self.model.hidden_size, *self.more_hidden_sizes)))

    def model_of(self, hidden_size: int) -> GeneratorConfig:
        """The model with so many hidden units."""
        return replace(self.model, hidden_size=hidden_size)

    @property
    def trains(self) -> bool:
        """Whether there is a recipe."""
        return self.recipe != NO_RECIPE


def recipe_of(config: RunConfig) -> Recipe:
    """How a run trains: by its own recipe, or by the one that it names.

    Raises:
        BenchError: there is no recipe of that name.
    """
    if config.own_recipe:
        return config.own_recipe
    _check_name("recipe", config.recipe, RECIPES)
    return RECIPES[config.recipe]


# Options whose fields have other names, or that set a part of one.
_FIELDS: dict[str, tuple[str, ...]] = {
    "impl": ("implementations",),
    "device": ("devices",),
    "batch_size": ("batch_sizes",),
    "workload": ("batch_sizes",),
    "preset": ("processes", "rounds", "sampling_seconds"),
    "rounds": ("rounds", "sampling_seconds"),
    "hidden_size": ("model", "more_hidden_sizes"),
    "recipe": ("recipe", "own_recipe"),
} | dict.fromkeys(
    ("num_layers", "nonlinearity", "no_bias", "dropout", "bidirectional", "batch_first"),
    ("model",),
)
# Where a field's command-line option has another name.
_OPTIONS = {
    "implementations": "--impl",
    "devices": "--device",
    "batch_sizes": "--batch-size",
    "bias": "--no-bias",
}


def validated(options: Mapping[str, Any], *, cores: int | None = None) -> RunConfig:
    """Check ``options``; the first problem is named after its option.

    Args:
        options: field -> value.
        cores: of the machine that it is for; this one's where it is left out.

    Raises:
        BenchError: a wrong type, a number out of range, or an unknown name.
    """
    if init := options.get("init"):  # its nearest name says more than a list
        _check_name("init", init, INIT_NAMES)
    try:
        config = RunConfig.model_validate(dict(options))
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0])
        option = _OPTIONS.get(field, "--" + field.replace("_", "-"))
        raise BenchError(f"{option}: {problem['msg']}, got {problem['input']!r}") from None
    cores = cores or os.cpu_count() or 1
    if (most := max(config.threads)) > cores:
        raise BenchError(f"--threads {most}: this machine has {cores} cores")
    if config.baseline not in REGISTRY:
        raise unknown("baseline", config.baseline, REGISTRY)
    _check_name("task", config.task, TASKS)
    if (size := TASKS[config.task].input_size) != config.model.input_size:
        raise BenchError(
            f"--task {config.task} has {size} features, the model {config.model.input_size}"
        )
    if config.own_recipe is None:
        _check_name("recipe", config.recipe, (*RECIPES, NO_RECIPE))
    for option, given in (("iterations", config.iterations), ("init", config.init)):
        if given and not config.trains:
            raise BenchError(f"--{option} {given}: --recipe {NO_RECIPE} trains nothing")
    if config.init_gain != 1.0 and not config.init:
        raise BenchError(f"--init-gain {config.init_gain:g}: name what it is the gain of, --init")
    _check_free_steps(config, options)
    return config


def fields_of(options: set[str]) -> list[str]:
    """The fields that ``options``, by their names in Python, set."""
    fields = {field for option in options for field in _FIELDS.get(option, (option,))}
    return [name for name in RunConfig.model_fields if name in fields]


def sampling(preset: str, processes: int | None, rounds: int | None) -> Preset:
    """A preset by name, with what was given instead of its own numbers.

    Raises:
        BenchError: an unknown preset.
    """
    _check_name("preset", preset, PRESETS)
    chosen = PRESETS[preset]
    if processes is not None:
        chosen = replace(chosen, processes=processes)
    # Whoever asks for two rounds wants two.
    return chosen if rounds is None else replace(chosen, rounds=rounds, seconds=0.0)


def presets_in_words() -> str:
    """For the help."""
    seconds = PRESETS["default"].seconds
    words = (f"{name} ({p.processes} x {p.rounds})" for name, p in PRESETS.items())
    return f"Processes x rounds: {', '.join(words)}; more rounds until these take {seconds:g} s."


def model_of_task(task: str, **options: Any) -> GeneratorConfig:
    """The model of ``options`` with as many features as the task has; one for an unknown task.

    Raises:
        BenchError: an option is out of range.
    """
    found = TASKS.get(task)
    return model_config(input_size=found.input_size if found else 1, **options)


def model_config(**options: Any) -> GeneratorConfig:
    """A `GeneratorConfig` from the command line, its errors in the command line's words.

    Raises:
        BenchError: a size below 1, an unknown nonlinearity, or a dropout outside [0, 1).
    """
    limits = {"hidden_size": LARGEST_HIDDEN_SIZE, "num_layers": LARGEST_NUM_LAYERS}
    for name, largest in limits.items():
        if options.get(name, 1) > largest:
            option = "--" + name.replace("_", "-")
            raise BenchError(f"{option} must be at most {largest:,}, got {options[name]}")
    try:
        return GeneratorConfig(**options)
    except ValueError as error:
        field, _, rest = str(error).partition(" ")
        raise BenchError(f"--{field.replace('_', '-')} {rest}") from None


def batch_sizes(text: str | None, workloads: str | None) -> dict[WorkloadName, tuple[int, ...]]:
    """Batch sizes a workload, from the two comma lists of the command line.

    Raises:
        BenchError: not whole numbers of at least 1, or an unknown workload.
    """
    names = _split(workloads, "--workload", "a comma list") if workloads else ()
    for name in names:
        _check_name("workload", name, WORKLOADS)
    chosen = tuple(name for name in WORKLOADS if name in (names or DEFAULT_WORKLOADS))
    if text is None:
        return {name: DEFAULT_BATCH_SIZES[name] for name in chosen}
    return dict.fromkeys(chosen, _numbers(text, "--batch-size", LARGEST_BATCH_SIZE, "1,32"))


def hidden_sizes(text: str) -> tuple[int, ...]:
    """Sizes of the layers, from the comma list of the command line, each kept once.

    Raises:
        BenchError: not whole numbers from 1 to the largest that is likely.
    """
    return _numbers(text, "--hidden-size", LARGEST_HIDDEN_SIZE, "128")


def thread_counts(text: str) -> tuple[int, ...]:
    """Counts of CPU threads, from the comma list of the command line, each kept once.

    Raises:
        BenchError: not whole numbers from 1 to the cores of this machine.
    """
    return _numbers(text, "--threads", os.cpu_count() or 1, "1", "the cores of this machine")


def check_writable(path: Path) -> None:
    """Find out now, before hours of training, whether ``path`` can be written.

    Raises:
        BenchError: its folder is missing, is no folder, or cannot be written to.
    """
    if path.is_dir():
        raise BenchError(f"--output {path} is a folder; name a file in it, such as {path}/run.json")
    if path.suffix != ".json":  # the plots go into a folder of the name that is left
        raise BenchError(f"--output must end in .json, got {path}")
    if not path.parent.is_dir():
        raise BenchError(f"--output {path}: there is no folder {path.parent}; create it first")
    plots = path.with_suffix("")
    if plots.exists() and not (plots.is_dir() and os.access(plots, os.W_OK)):
        raise BenchError(
            f"--output {path}: its plots need a folder {plots}, but that is no folder or "
            "cannot be written to; choose another name"
        )
    probe = path.with_name(f".{path.name}.probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BenchError(
            f"--output {path}: cannot write into {path.parent} ({error.strerror}); "
            "choose another folder"
        ) from None


def _check_free_steps(config: RunConfig, options: Mapping[str, Any]) -> None:
    """What runs free steps is nothing for bidirectional layers."""
    if not config.model.bidirectional:
        return
    free = [f"--recipe {config.recipe}"] if config.trains and "recipe" in options else []
    names = config.batch_sizes if "batch_sizes" in options else ()
    free += [f"--workload {name}" for name in names if name != "sequence"]
    if free:
        raise BenchError(
            f"--bidirectional runs forced steps alone, and {free[0]} leaves steps free: "
            f"{READS_THE_FUTURE}; take --workload sequence --recipe {NO_RECIPE}"
        )


def _check_name(kind: str, name: str, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    if name not in known:
        raise unknown(kind, name, known)


def _numbers(text: str, option: str, largest: int, example: str, what: str = "") -> tuple[int, ...]:
    """A comma list of whole numbers from 1 to ``largest``, which is ``what``, each kept once."""
    which = f" ({what})" if what else ""
    rule = f"whole numbers from 1 to {largest}{which}, such as {example}"
    parts = _split(text, option, rule)
    # The length first: Python refuses to read thousands of digits.
    numbers = [int(s) for s in parts if s.isascii() and s.isdigit() and len(s) < 10]
    if len(numbers) < len(parts) or not all(1 <= n <= largest for n in numbers):
        raise BenchError(f"{option} must be {rule}, got '{text}'")
    return tuple(dict.fromkeys(numbers))


def _split(text: str, option: str, example: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(names):
        raise BenchError(f"{option} must be {example}, got '{text}'")
    return names
