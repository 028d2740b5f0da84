"""Files in TOML that users write: read with a size limit, and one clear line for each fault."""

import tomllib
from pathlib import Path
from typing import Any

from bench.errors import BenchError

SUFFIX = ".toml"
LARGEST_FILE_BYTES = 100_000


def table(path: Path, what: str) -> dict[str, Any]:
    """What a file says.

    Args:
        path: the file.
        what: a word for what it is, such as recipe.

    Raises:
        BenchError: missing, a folder, unreadable, too large, or not TOML.
    """
    try:
        return tomllib.loads(_text(path, what))
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise BenchError(f"{path} is not TOML: {error}") from None


def _text(path: Path, what: str) -> str:
    too_large = BenchError(f"{path} is larger than {LARGEST_FILE_BYTES // 1000} kB: no {what}")
    try:
        if path.is_dir():
            raise BenchError(f"{path} is a folder; name a {what} file in it")
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise too_large
        with path.open("rb") as file:  # a device such as /dev/zero has no size, and no end
            content = file.read(LARGEST_FILE_BYTES + 1)
        if len(content) > LARGEST_FILE_BYTES:
            raise too_large
        return content.decode()
    except FileNotFoundError:
        raise BenchError(f"there is no {what} file {path}") from None
    except UnicodeDecodeError:
        raise BenchError(f"{path} is not TOML: it is not text in UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BenchError(f"cannot read {path}: {reason}") from None
