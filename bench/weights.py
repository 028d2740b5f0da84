"""Trained weights in a file of their own: safetensors, which can hold numbers and nothing else.

Its metadata say what they are the weights of. Never pickle: reading a file must not run it.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from bench import records
from bench.config import LARGEST_HIDDEN_SIZE, LARGEST_NUM_LAYERS, RunConfig
from bench.errors import BenchError
from bench.schema import Case
from impls import GeneratorConfig
from impls.generator import Generator

FORMAT = "rnn-bench weights 1"
DTYPES = (torch.float32, torch.float64)
LARGEST_FILE_BYTES = 1 << 31
Word = Annotated[str, Field(max_length=200)]


class _Model(BaseModel):
    """Sizes and options as they stand in the metadata; the dataclass has this one's manners."""

    model_config = ConfigDict(extra="forbid")

    model: Json[GeneratorConfig]


class Origin(BaseModel):
    """Where weights come from, for whoever finds the file: all of it words."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    implementation: Word = ""
    task: Word = ""
    recipe: Word = ""
    iterations: Word = ""
    seed: Word = ""

    @classmethod
    def of(cls, case: Case, config: RunConfig) -> Self:
        """What a run's case was trained with."""
        return cls(
            implementation=case.implementation,
            task=case.task,
            recipe=config.recipe,
            iterations=str(case.training.iterations if case.training else ""),
            seed=str(config.seed),
        )


@dataclass(frozen=True, slots=True)
class Saved:
    """A file of weights.

    Attributes:
        model: sizes and options of the generator.
        weights: by the contract's names.
        origin: where they come from.
    """

    model: GeneratorConfig
    weights: dict[str, Tensor]
    origin: Origin


def save(model: Generator, path: Path, origin: Origin) -> None:
    """Write a model's weights, whole or not at all.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    weights = {name: w.detach().cpu().contiguous() for name, w in model.weights().items()}
    metadata = {"format": FORMAT, "model": records.dumps(asdict(model.config))}
    records.write(to_bytes(weights, metadata | origin.model_dump()), path)


def load(path: Path) -> Saved:
    """Read weights; whatever is wrong with the file, in one line.

    Raises:
        BenchError: missing, unreadable, no file of weights, another model's names or shapes,
            numbers of another type, or some that are not finite.
    """
    if path.is_dir():
        raise BenchError(f"{path} is a folder; name a file of weights in it")
    with _told(path):
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise BenchError(f"{path} is larger than {LARGEST_FILE_BYTES >> 30} GiB")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise BenchError(
                    f"{path} holds tensors, but does not say that they are those of a generator; "
                    "take a file that bench run has left beside its result"
                )
            model = _Model.model_validate({"model": metadata.get("model", "")}).model
            _check_sizes(path, model)
            names = file.keys()
            _check_shapes(path, model, {n: file.get_slice(n).get_shape() for n in names})
            weights = {name: file.get_tensor(name) for name in model.weight_shapes()}
            origin = Origin.model_validate(metadata)
    for name, weight in weights.items():
        _check_numbers(path, name, weight)
    return Saved(model, weights, origin)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever is wrong with the file itself, in one line."""
    try:
        yield
    except FileNotFoundError:
        raise BenchError(f"there is no file {path}") from None
    except SafetensorError as error:
        raise BenchError(f"{path} is no file of weights (safetensors): {error}") from None
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"])) or "model"
        raise BenchError(f"{path}: {field}: {problem['msg']}") from None


def _check_numbers(path: Path, name: str, weight: Tensor) -> None:
    if weight.dtype not in DTYPES:
        kind = str(weight.dtype).removeprefix("torch.")
        raise BenchError(f"{path}: {name} is {kind}; it must be float32 or float64")
    if not torch.isfinite(weight).all():
        raise BenchError(f"{path}: {name} has numbers that are not finite")


def _check_sizes(path: Path, model: GeneratorConfig) -> None:
    """A file must not make us count the weights of a billion layers."""
    limits = {"hidden_size": LARGEST_HIDDEN_SIZE, "num_layers": LARGEST_NUM_LAYERS}
    for name, largest in limits.items():
        if (size := getattr(model, name)) > largest:
            raise BenchError(f"{path}: {name} must be at most {largest:,}, got {size:,}")


def _check_shapes(path: Path, model: GeneratorConfig, found: dict[str, list[int]]) -> None:
    """Before anything is read: names and shapes are those of the model that the file names."""
    shapes = model.weight_shapes()
    if missing := [name for name in shapes if name not in found]:
        raise BenchError(f"{path} lacks {', '.join(missing[:3])}")
    if extra := [name for name in found if name not in shapes]:
        raise BenchError(f"{path} has {extra[0][:60]!r}, which is no weight of its model")
    for name, shape in shapes.items():
        if tuple(found[name]) != shape:
            raise BenchError(
                f"{path}: {name} has {math.prod(found[name]):,} numbers in shape "
                f"{tuple(found[name])}; its model has {shape}"
            )
