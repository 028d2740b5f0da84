"""Recipes in TOML files: the fields of `bench.recipes.Recipe`, and under ``[model]`` its sizes.

What TOML cannot write, None, is a field left out.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_core import to_json

from bench import toml_files
from bench.config import LARGEST_HIDDEN_SIZE, LARGEST_NUM_LAYERS, StrictModel
from bench.errors import BenchError
from bench.recipes import NO_RECIPE, RECIPES, Recipe
from bench.schema import NAME_PATTERN
from bench.toml_files import SUFFIX
from impls.config import Nonlinearity

MODEL = "model"
# What is wrong in one of two numbers would be said of that one alone.
_PAIRS = {
    "points": "must be two whole numbers from 3 on, at the first and the last iteration",
    "free_probability": "must be two numbers from 0 to 1, at the first and the last iteration, or "
    "'lab'",
}


class Model(StrictModel):
    """What a recipe file may say of the generator, for options that are not given."""

    hidden_size: Annotated[int, Field(ge=1, le=LARGEST_HIDDEN_SIZE)] | None = None
    num_layers: Annotated[int, Field(ge=1, le=LARGEST_NUM_LAYERS)] | None = None
    nonlinearity: Nonlinearity | None = None


class _File(StrictModel):
    """A dataclass alone would take the words "1" for the number."""

    recipe: Recipe
    model: Model = Model()


@dataclass(frozen=True, slots=True)
class Chosen:
    """What ``--recipe`` means.

    Attributes:
        name: of a built-in recipe, or a file's without its suffix.
        own: what the file says, or None.
        model: sizes and options of the generator that the file names.
    """

    name: str
    own: Recipe | None = None
    model: Mapping[str, Any] = field(default_factory=dict)

    def model_without(self, given: Collection[str]) -> dict[str, Any]:
        """The file's ``[model]``, without the options that were ``given``, which come first."""
        return {name: value for name, value in self.model.items() if name not in given}


def chosen(text: str, folder: Path = Path()) -> Chosen:
    """A name as it is; a file, which ends in .toml or has a folder before it, is read.

    Args:
        text: either.
        folder: where the path of a file begins.

    Raises:
        BenchError: as `load`.
    """
    is_file = text.endswith(SUFFIX) or "/" in text or "\\" in text
    return load(folder / text) if is_file else Chosen(text)


def load(path: Path) -> Chosen:
    """Read a recipe file.

    Raises:
        BenchError: missing, a folder, unreadable, too large, not TOML, named as a built-in recipe,
            or with a field that is missing, unknown, of the wrong type or out of range.
    """
    table = toml_files.table(path, "recipe")
    name = check_name(path)
    parts = {"recipe": {key: value for key, value in table.items() if key != MODEL}}
    if MODEL in table:
        parts[MODEL] = table[MODEL]
    try:  # by way of JSON, where a list may be a tuple and a table a dataclass, strictly typed
        read = _File.model_validate_json(to_json(parts, inf_nan_mode="constants"))
    except ValidationError as error:
        raise BenchError(f"{path}: {_problem(error)}") from None
    return Chosen(name, read.recipe, read.model.model_dump(exclude_none=True))


def as_toml(recipe: Recipe, model: Mapping[str, Any], comment: str) -> str:
    """The text of a recipe file, ``comment`` at its head."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    fields = {name: value for name, value in asdict(recipe).items() if value is not None}
    tables = ["\n".join(f"{name} = {_toml(value)}" for name, value in fields.items())]
    if model:
        sizes = (f"{name} = {_toml(value)}" for name, value in model.items())
        tables.append("\n".join([f"[{MODEL}]", *sizes]))
    return "\n".join([head, *(f"{table}\n" for table in tables)])


def _toml(value: Any) -> str:
    """A number, a text or a tuple of them; JSON writes all of these as TOML does, save one sign."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return to_json(value).decode().replace("\x7f", "\\u007f")


def check_name(path: Path) -> str:
    """The name that results and tables show.

    Raises:
        BenchError: it is a built-in recipe's, or none that a file of results can have.
    """
    name = path.name.removesuffix(SUFFIX)
    if name in (*RECIPES, NO_RECIPE):
        raise BenchError(
            f"{path} would pass for the recipe '{name}' in the tables; rename the file"
        )
    if not re.fullmatch(NAME_PATTERN, name):
        raise BenchError(f"{path}: rename the file: up to 100 letters, digits, '_', '.' and '-'")
    return name


def _problem(error: ValidationError) -> str:
    """The first field that is wrong: its name as in the file, and what is wrong with it."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    names = where[1:2] if where[0] == "recipe" else where[:2]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing" and len(where) == 2:
        return f"field {names[0]} is missing"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = Model.model_fields if where[0] == MODEL else Recipe.__dataclass_fields__
        return f"unknown field {'.'.join(names)[:60]!r} (known: {', '.join(known)})"
    if not names:
        return message
    message = _PAIRS.get(names[0], message)
    found = repr(first["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    return f"field {'.'.join(names)}: {message}, got {found}"
