"""What a history is made of: runs in the order of their dates, and what each of them measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.config import WORKLOADS
from bench.leaderboard import Machine
from impls import GeneratorConfig

Array = NDArray[np.float64]
SHORT = 7  # characters of a commit's hash, as git shortens it


@dataclass(frozen=True, slots=True)
class Run:
    """One result file.

    Attributes:
        file: its name.
        microseconds: since 1970, in UTC, when it was begun.
        commit: whose source tree it measured; None where nobody knows.
        dirty: whether files differed from that commit.
        software: what else a time depends on, each with its version.
    """

    file: str
    microseconds: int
    commit: str | None
    dirty: bool
    software: tuple[tuple[str, str], ...]

    @property
    def date(self) -> str:
        """The day, in UTC, as ISO 8601 writes it."""
        return str(np.datetime64(self.microseconds, "us"))[:10]

    @property
    def label(self) -> str | None:
        """The commit's short hash, with a plus where files differed from it."""
        return self.commit[:SHORT] + "+" * self.dirty if self.commit else None


@dataclass(frozen=True, slots=True)
class Key:
    """What was timed: the same key in two files of one machine is the same work."""

    implementation: str
    device: str
    dtype: str
    model: GeneratorConfig
    workload: str
    batch_size: int
    threads: int
    steps: int

    @property
    def order(self) -> tuple[object, ...]:
        """Where it stands among others, in the order of the leaderboard's lines."""
        known = self.workload in WORKLOADS
        workload = WORKLOADS.index(self.workload) if known else len(WORKLOADS)
        return (workload, self.workload, self.model.hidden_size, str(self.model), self.dtype,
                self.batch_size, self.steps, self.implementation, self.threads)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Series:
    """One case on one machine over all runs that timed it, the oldest first.

    Attributes:
        machine: where.
        key: what.
        runs: at least one.
        logs: (len(runs),), natural logs of the seconds of one call.
    """

    machine: Machine
    key: Key
    runs: tuple[Run, ...]
    logs: Array


@dataclass(frozen=True, slots=True)
class Collection:
    """What a folder holds.

    Attributes:
        series: in the order of machines and keys.
        results: how many files are result files.
        other_kinds: how many are a study's or a self-test's.
        left_out: why, a line for each file that is damaged or no result.
    """

    series: tuple[Series, ...]
    results: int
    other_kinds: int
    left_out: tuple[str, ...]
