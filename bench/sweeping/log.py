"""A sweep's log, the file `FILE` in its folder: which cell ran where, from when to when."""

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from bench import records, words
from bench.config import StrictModel
from bench.errors import BenchError
from bench.schema import Index, Name, Natural, Result, Status
from bench.sweeping.cell import Outcome

FILE, KIND = "sweep.json", "sweep"


class CellRecord(StrictModel):
    """One cell, as it went the last time.

    ``node`` is where: ``here``, or Ray's id of it, which names no machine; times are by its clock.
    ``cases`` counts the cases of its file by their status. What is not known is None.
    """

    name: Name
    status: Literal["done", "failed"]
    reason: str | None = None
    node: Name | None = None
    machine: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    seconds: Natural | None = None
    cases: dict[Status, Index] = Field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether its file is complete, and no case in it failed."""
        return self.status == "done" and not self.cases.get("failed")


class SweepLog(StrictModel):
    """The whole file; the cells in the order in which they came in."""

    kind: Literal["sweep"] = "sweep"
    schema_version: Literal[1] = 1
    cells: tuple[CellRecord, ...] = ()

    def find(self, name: str) -> CellRecord | None:
        """A cell's record."""
        return next((cell for cell in self.cells if cell.name == name), None)

    def without(self, name: str) -> "SweepLog":
        """Without a cell's record."""
        others = tuple(cell for cell in self.cells if cell.name != name)
        return self.model_copy(update={"cells": others})

    def updated(self, record: CellRecord) -> "SweepLog":
        """With this record, in place of an earlier one of the same cell."""
        others = self.without(record.name).cells
        return self.model_copy(update={"cells": (*others, record)})


def load(path: Path) -> SweepLog:
    """Read a log.

    Raises:
        BenchError: it is none, or damaged.
    """
    text = records.read(path)
    head = records.from_json(path, text)
    if not isinstance(head, dict) or head.get("kind") != KIND:
        raise BenchError(f"{path} is not the log of a sweep: its kind is not {KIND}")
    try:
        return SweepLog.model_validate_json(text)
    except ValidationError as error:
        raise BenchError(records.problem(path, error)) from None


def record(outcome: Outcome) -> CellRecord:
    """What the log keeps of an outcome."""
    result = outcome.result
    return CellRecord(
        name=outcome.cell.name,
        status="done" if result else "failed",
        reason=outcome.reason,
        node=outcome.node,
        machine=words.machine(result.environment) if result else None,
        started_at=outcome.started_at,
        ended_at=outcome.ended_at,
        seconds=outcome.seconds,
        cases=counted(result) if result else {},
    )


def record_of_file(name: str, result: Result) -> CellRecord:
    """What a complete file tells of a cell that the log does not know."""
    return CellRecord(
        name=name,
        status="done",
        machine=words.machine(result.environment),
        started_at=result.created_at,
        cases=counted(result),
    )


def counted(result: Result) -> dict[Status, int]:
    """How many cases have each status."""
    return dict(Counter(case.status for case in result.cases))
