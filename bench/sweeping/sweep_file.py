"""What a sweep's file in TOML may say, and how it is read.

The description of a field is what the message about a wrong value says that it must be.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_core import to_json

from bench import toml_files
from bench.config import (
    DTYPES,
    LARGEST_BATCH_SIZE,
    LARGEST_HIDDEN_SIZE,
    LARGEST_NUM_LAYERS,
    LARGEST_THREADS,
    PRESETS,
    WORKLOADS,
    Dtype,
    StrictModel,
    WorkloadName,
)
from bench.errors import BenchError, unknown
from bench.recipes import NO_RECIPE, RECIPES
from impls.config import Nonlinearity
from tasks import TASKS

LARGEST_LENGTH, LARGEST_SEED = 100_000, 2**32 - 1
MOST_PROCESSES, MOST_ROUNDS = 1_000, 10_000

Word = Annotated[str, Field(min_length=1, pattern=r"^[^,]*$")]
Words = Annotated[tuple[Word, ...], Field(min_length=1)]
Threads = Annotated[
    tuple[Annotated[int, Field(ge=1, le=LARGEST_THREADS)], ...], Field(min_length=1)
]
Batches = Annotated[
    tuple[Annotated[int, Field(ge=1, le=LARGEST_BATCH_SIZE)], ...], Field(min_length=1)
]
Layers = Annotated[
    tuple[Annotated[int, Field(ge=1, le=LARGEST_NUM_LAYERS)], ...], Field(min_length=1)
]
Sizes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=LARGEST_HIDDEN_SIZE)], ...], Field(min_length=1)
]
Lengths = Annotated[tuple[Annotated[int, Field(ge=2, le=LARGEST_LENGTH)], ...], Field(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0, le=LARGEST_SEED)], ...], Field(min_length=1)]
Dtypes = Annotated[tuple[Dtype, ...], Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0.0, le=1e7)]


def _numbers(largest: int, example: str, least: int = 1) -> str:
    return f"a list of whole numbers from {least} to {largest:,}, such as {example}"


def _number(largest: int, example: int) -> str:
    return f"a whole number from 1 to {largest:,}, such as {example}"


class Sweep(StrictModel):
    """A grid: a cell for each combination of some of the lists, all else in every cell.

    The lists of cells: ``recipes``, ``dtypes``, ``layers``, ``hidden_sizes``, ``lengths`` and
    ``seeds``. Implementations, devices, threads, workloads and batch sizes are set against each
    other, so a cell has all of them: they take turns in the same rounds.
    """

    implementations: Words = Field(
        default=("all",), description='a list of names, such as ["torch_rnn"], or ["all"]'
    )
    devices: Words = Field(
        default=("cpu",), description='a list of cpu, cuda, cuda:N and all, such as ["cpu"]'
    )
    threads: Threads = Field(default=(1,), description=_numbers(LARGEST_THREADS, "[1, 2]"))
    workloads: tuple[WorkloadName, ...] = Field(
        default=("generate", "train_step"),
        description=f"a list of {', '.join(WORKLOADS)}, or [] to time nothing",
    )
    batch_sizes: Batches | None = Field(
        default=None, description=_numbers(LARGEST_BATCH_SIZE, "[1, 32]")
    )

    recipes: Words = Field(
        default=("quick",),
        description=f"a list of {', '.join((*RECIPES, NO_RECIPE))} and recipe files, such as "
        '["quick", "own.toml"]',
    )
    dtypes: Dtypes = Field(
        default=("float32",), description=f'a list of {" and ".join(DTYPES)}, such as ["float32"]'
    )
    layers: Layers | None = Field(default=None, description=_numbers(LARGEST_NUM_LAYERS, "[1, 2]"))
    hidden_sizes: Sizes | None = Field(
        default=None, description=_numbers(LARGEST_HIDDEN_SIZE, "[16, 64]")
    )
    lengths: Lengths | None = Field(
        default=None, description=_numbers(LARGEST_LENGTH, "[100]", least=2)
    )
    seeds: Seeds = Field(default=(0,), description=_numbers(LARGEST_SEED, "[0, 1, 2]", least=0))

    task: Word = Field(default="cosine", description=f"one of {', '.join(TASKS)}")
    nonlinearity: Nonlinearity | None = Field(default=None, description='"tanh" or "relu"')
    bias: bool = Field(default=True, description="true or false")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0, description="a number from 0 to below 1, such as 0.1"
    )
    iterations: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None, description=_number(10**9, 1000)
    )
    preset: Word = Field(default="default", description=f"one of {', '.join(PRESETS)}")
    processes: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] | None = Field(
        default=None, description=_number(MOST_PROCESSES, 5)
    )
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] | None = Field(
        default=None, description=_number(MOST_ROUNDS, 8)
    )
    time_budget: Seconds | None = Field(
        default=None, description="seconds above 0 for the timing of a cell, such as 60"
    )
    time_limit: Seconds = Field(default=600.0, description="seconds above 0, such as 600")
    baseline: Word = Field(default="torch_rnn", description='a name, such as "torch_rnn"')


def load(path: Path) -> Sweep:
    """Read a sweep's file.

    Raises:
        BenchError: missing, a folder, unreadable, too large, not TOML, or with a key that is
            unknown, of the wrong type or out of range.
    """
    table = toml_files.table(path, "sweep")
    for key in table:
        if key not in Sweep.model_fields:
            raise BenchError(f"{path}: {unknown('key', key[:60], Sweep.model_fields)}")
    try:  # by way of JSON, where a list may be a tuple, strictly typed
        return Sweep.model_validate_json(to_json(table, inf_nan_mode="constants"))
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        must = Sweep.model_fields[key].description
        raise BenchError(f"{path}: {key} must be {must}, got {_shown(table[key])}") from None


def _shown(value: Any) -> str:
    """A value about as TOML writes it, cut short."""
    text = to_json(value, inf_nan_mode="constants").decode()
    return text if len(text) <= 60 else text[:57] + "..."
