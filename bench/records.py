"""The result file: loading and atomic saving.

The only place that touches JSON.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pydantic_core
from pydantic import ValidationError

from bench.config import StrictModel
from bench.errors import BenchError
from bench.migrate import upgraded
from bench.schema import SCHEMA_VERSION, Result

LARGEST_FILE_BYTES = 100_000_000
HEAD = f'{{\n "schema_version": {SCHEMA_VERSION},'


def load(path: Path) -> Result:
    """Read a result file, also one of an older schema.

    Raises:
        BenchError: missing, unreadable, too large, empty, not JSON or cut short, of a newer schema,
            or with a field of the wrong type, which is named.
    """
    text = read(path)
    return quickly(text) or parse(path, text, from_json(path, text))


def quickly(text: str) -> Result | None:
    """The result in ``text`` if it begins as a file of today does and is whole, or None."""
    if not text.startswith(HEAD):
        return None
    try:
        return Result.model_validate_json(text)
    except ValidationError:
        return None  # what is wrong with it takes longer to say


def parse(path: Path, text: str, head: Any) -> Result:
    """The result in ``text``, whose JSON is ``head``; ``path`` is for the messages.

    Raises:
        BenchError: as `load`.
    """
    if isinstance(head, dict) and (kind := head.get("kind")) in ("study", "selftest"):
        raise BenchError(f"{path} is a {kind}'s file: python -m bench {kind} --show {path}")
    if isinstance(head, dict) and head.get("kind") == "sweep":
        raise BenchError(f"{path} is the log of a sweep: take one of the result files beside it")
    if not isinstance(head, dict) or "schema_version" not in head:
        raise BenchError(f"{path} is not a result file: it has no schema_version")
    version = head["schema_version"]
    if type(version) is not int:
        raise BenchError(f"{path}: field schema_version: must be a whole number, got {version!r}")
    if version > SCHEMA_VERSION:
        raise BenchError(
            f"{path} has schema version {version}, newer than the {SCHEMA_VERSION} that this "
            "rnn-bench reads; upgrade rnn-bench"
        )
    try:
        if 1 <= version < SCHEMA_VERSION:
            text = json.dumps(upgraded(head))
        return Result.model_validate_json(text)
    except ValidationError as error:
        raise BenchError(problem(path, error)) from None


def problem(path: Path, error: ValidationError) -> str:
    """One line that names the first field that is wrong."""
    first = error.errors()[0]
    field = ".".join(_printable(part) for part in first["loc"])
    if not field:
        return f"{path} is not a result file: {first['msg']}"
    found = repr(first["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    return f"{path}: field {field}: {first['msg']}, got {found}"


def _printable(part: int | str) -> str:
    """A field's name, which can be anybody's text, cut short and without control characters."""
    return "".join(c if c.isprintable() else " " for c in str(part)[:60])


def from_json(path: Path, text: str) -> Any:
    """The JSON in ``text``; ``path`` is for the message.

    Raises:
        BenchError: it is not JSON, or was cut short.
    """
    try:
        return pydantic_core.from_json(text, allow_inf_nan=True)
    except ValueError as error:
        raise BenchError(f"{path} is not JSON, or was cut short: {error}") from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the result file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Result.model_json_schema(mode="validation"),
    }


def save(result: StrictModel, path: Path) -> None:
    """Write a result file, or another of our models, whole or not at all, whatever happens.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    write(dumps(result.model_dump(mode="json")) + "\n", path)


def write(content: str | bytes, path: Path) -> None:
    """Write a file whole or not at all, through a temporary one beside it.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would keep a colleague from reading it
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def dumps(value: Any, indent: int = 0) -> str:
    """JSON that people can read and diff: objects spread out, short ones and numbers on a line."""
    pad, inner = " " * indent, " " * (indent + 1)
    if isinstance(value, dict) and value and not _is_short(value):
        items = (f"{inner}{json.dumps(k)}: {dumps(v, indent + 1)}" for k, v in value.items())
        return "{\n" + ",\n".join(items) + f"\n{pad}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, dict | list) for item in value):
        items = (inner + dumps(item, indent + 1) for item in value)
        return "[\n" + ",\n".join(items) + f"\n{pad}]"
    return json.dumps(value, allow_nan=False)


def _is_short(value: dict[str, Any]) -> bool:
    """Whether an object, such as a sample, reads best on one line."""
    plain = all(item in ([], ()) or not isinstance(item, dict | list | tuple | str) or
                (isinstance(item, str) and len(item) < 20) for item in value.values())  # fmt: skip
    return plain and len(value) <= 6


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        BenchError: missing, unreadable, too large, empty, or no text.
    """
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise BenchError(f"{path} is larger than {LARGEST_FILE_BYTES // 1_000_000} MB")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BenchError(f"there is no result file {path}") from None
    except IsADirectoryError:
        raise BenchError(f"{path} is a folder; name a result file in it") from None
    except UnicodeDecodeError:
        raise BenchError(f"{path} is not JSON: it is not text in UTF-8") from None
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from None
    if not text.strip():
        raise BenchError(f"{path} is empty; a result file holds JSON")
    return text
