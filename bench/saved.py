"""Files that pytest-benchmark saved, of any project: what a comparison needs, the rest ignored."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from bench.errors import BenchError
from bench.records import problem
from bench.schema import Count, Positive

Text = Annotated[str, Field(max_length=1000)]


class _Foreign(BaseModel):
    """Exact types and finite numbers, but fields that we do not know are no error."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class SavedStats(_Foreign):
    """Seconds of one call; ``data``, one a round, is there only if the file was told to keep it."""

    median: Positive
    rounds: Count
    data: tuple[Positive, ...] | None = Field(default=None, min_length=1)


class SavedBenchmark(_Foreign):
    """One test. Its names are any text: print nothing of them unescaped."""

    name: Text
    fullname: Text
    group: Text | None = None
    param: Text | None = None
    params: dict[str, Any] | None = None
    extra_info: dict[str, Any] = Field(default_factory=dict)
    stats: SavedStats


class SavedCpu(_Foreign):
    """What py-cpuinfo found out, in its names before and since its version 6."""

    brand: Text | None = Field(default=None, validation_alias=AliasChoices("brand_raw", "brand"))
    count: Count | None = None


class SavedMachine(_Foreign):
    """The part of the machine that makes seconds of two files comparable."""

    cpu: SavedCpu | None = None


class SavedFile(_Foreign):
    """A whole file."""

    machine_info: SavedMachine
    benchmarks: tuple[SavedBenchmark, ...] = Field(min_length=1)
    datetime: Text
    version: Text

    @property
    def cpu(self) -> str | None:
        """The CPU's name."""
        return self.machine_info.cpu.brand if self.machine_info.cpu else None

    @property
    def cores(self) -> int | None:
        """Logical cores."""
        return self.machine_info.cpu.count if self.machine_info.cpu else None


def looks_like(head: Any) -> bool:
    """Whether JSON has the outline of such a file."""
    return (
        isinstance(head, dict)
        and isinstance(head.get("benchmarks"), list)
        and "machine_info" in head
    )


def parse(path: Path, text: str) -> SavedFile:
    """The saved file in ``text``; ``path`` is for the messages.

    Raises:
        BenchError: it is not JSON, or a field is missing or wrong, which is named.
    """
    try:
        return SavedFile.model_validate_json(text)
    except ValidationError as error:
        raise BenchError(problem(path, error)) from None
