"""The result files of a folder, read where they lie, one series a machine and case.

DuckDB gets links of plain names, in a folder of their own: it takes a name for a pattern, and what
it says is wrong with a link tells which file that is, whatever the file itself is called.
"""

import os
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np

from bench import records
from bench.errors import BenchError
from bench.history.database import MODEL, SOFTWARE, Database, Row
from bench.history.series import Collection, Key, Run, Series
from bench.leaderboard import Machine
from bench.schema import NAME_PATTERN, SCHEMA_VERSION
from impls import GeneratorConfig

# A damaged file costs the others of its query a second reading.
FILES_A_QUERY = 128
# Before 1970 there was nothing to measure; so far beyond today nobody can draw a date.
LATEST_MICROSECONDS = 100 * 365 * 86_400_000_000
LARGEST_COUNT = 10**12
NEEDED = 5  # of a model's columns, up to the biases: the others came later


def read(folder: Path, since: int = 0) -> Collection:
    """All result files of a folder.

    Args:
        folder: its ``*.json``; folders in it are not looked into.
        since: microseconds since 1970; runs that began before are left alone.

    Raises:
        BenchError: there is no such folder, or it holds no result file.
    """
    if not folder.is_dir():
        raise BenchError(f"there is no folder {folder}; name one that holds result files")
    with tempfile.TemporaryDirectory(prefix="rnn-bench-history-") as name:
        reader = _Reader(sorted(folder.glob("*.json")), Path(name).resolve(), since)
        reader.read(folder.resolve())
    left_out = reader.faults()
    if not reader.results:
        why = f"; {len(left_out):,} files are damaged or no results" if left_out else ""
        raise BenchError(f"{folder} holds no result file (*.json){why}")
    return Collection(tuple(reader.series()), reader.results, reader.other_kinds, tuple(left_out))


@dataclass(frozen=True, slots=True)
class _Place:
    """A file's machine, as far as it is the same for every device."""

    cpu: str
    cores: int
    caches: tuple[tuple[str, int], ...]
    gpu: str

    def machine(self, device: str) -> Machine:
        """Where work on ``device`` was done, as the leaderboard tells machines apart."""
        if device.startswith("cuda"):
            return Machine(self.gpu, 0, (), "cuda")
        return Machine(self.cpu, self.cores, self.caches, device)


@dataclass(slots=True)
class _Reader:
    """Reads files by their numbers; whatever is wrong with one costs no other.

    Attributes:
        paths: of the files; numbers count them.
        links: the folder for the links.
        since: microseconds since 1970; runs that began before are left alone.
        told: number -> what is wrong, in the words of whoever found it.
        results: how many are result files.
        other_kinds: how many are a study's or a self-test's.
        points: what they measured.
        keys: what is known of the columns that name a case; None where they name none.
    """

    paths: Sequence[Path]
    links: Path
    since: int
    told: dict[int, str] = field(default_factory=dict)
    results: int = 0
    other_kinds: int = 0
    points: dict[tuple[Machine, Key], list[tuple[Run, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    keys: dict[Row, Key | None] = field(default_factory=dict)

    def read(self, folder: Path) -> None:
        """Read all files, which lie in ``folder``, an absolute path."""
        import duckdb

        sizes, folders = self._link(folder)
        numbers = list(sizes)
        waiting = [
            (numbers[start : start + FILES_A_QUERY], False)
            for start in range(0, len(numbers), FILES_A_QUERY)
        ]
        database = Database(folders)
        while waiting:
            asked, doubtful = waiting.pop()
            links = [self._link_of(number) for number in asked]
            largest = max(sizes[number] for number in asked)
            try:
                answers = database.answers(links, largest, doubtful=doubtful)
            except duckdb.InterruptException:
                raise KeyboardInterrupt from None
            except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
                raise  # that is no file's fault
            except (duckdb.Error, UnicodeDecodeError) as error:
                rest = self._rest(asked, str(error)) if doubtful else [asked]
                waiting += [(numbers, True) for numbers in rest]
                if isinstance(error, duckdb.FatalException | duckdb.InternalException):
                    database = Database(folders)  # the other one answers nothing any more
            else:
                self._take(asked, *answers)

    def series(self) -> Iterator[Series]:
        """What was measured, the oldest runs first."""
        for machine, key in sorted(self.points, key=lambda found: _order(*found)):
            points = sorted(
                self.points[machine, key], key=lambda point: (point[0].microseconds, point[0].file)
            )
            logs = np.array([log for _, log in points])
            yield Series(machine, key, tuple(run for run, _ in points), logs)

    def faults(self) -> list[str]:
        """A line for each file that is damaged or no result; those of other kinds are counted."""
        lines = []
        for number in sorted(self.told):
            fault = _fault(self.paths[number], self.told[number])
            if fault is None:
                self.other_kinds += 1
            else:
                lines.append(f"left out: {fault}")
        return lines

    def _link(self, folder: Path) -> tuple[dict[int, int], list[str]]:
        """Link what can be read; gives number -> bytes, and the folders that are to be opened."""
        sizes, folders = {}, {str(self.links)}
        for number, path in enumerate(self.paths):  # of text: pathlib takes longer than the disk
            target = f"{folder}/{path.name}"
            try:
                target.encode()
                target = os.path.realpath(target, strict=True) if path.is_symlink() else target
                status = os.stat(target)
            except (OSError, UnicodeEncodeError):
                self.told[number] = "cannot be opened by its name"
                continue
            if not S_ISREG(status.st_mode) or status.st_size > records.LARGEST_FILE_BYTES:
                self.told[number] = "is no file that can be read"
            else:
                os.symlink(target, self._link_of(number))
                sizes[number] = status.st_size
                folders.add(target.rpartition("/")[0])
        return sizes, sorted(folders)

    def _link_of(self, number: int) -> str:
        return f"{self.links}/{number}.json"

    def _rest(self, asked: Sequence[int], error: str) -> list[list[int]]:
        """What to ask for after an error: without the file that it names, or half by half."""
        link = re.escape(str(self.links)) + r"/(\d+)\.json"
        named = {int(number) for number in re.findall(link, error)} & set(asked)
        if not named and len(asked) > 1:
            middle = len(asked) // 2
            return [list(asked[:middle]), list(asked[middle:])]
        for number in named or asked:
            self.told[number] = re.sub(link, "it", error.partition("\n")[0])
        rest = [number for number in asked if number not in self.told]
        return [rest] if rest else []

    def _take(self, asked: Sequence[int], files: Sequence[Row], rows: Sequence[Row]) -> None:
        """Take in what a query answered, file by file."""
        values = Counter(file[0] for file in files)
        measured = defaultdict(list)
        for number, *row in rows:
            measured[number].append(row)
        for number in asked:
            if values[number] != 1:
                self.told[number] = "holds no value" if number not in values else "holds several"
        for number, *head in files:
            if values[number] == 1:
                self._take_file(number, head, measured[number])

    def _take_file(self, number: int, head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> None:
        kind, has_cases, version, microseconds, *about = head
        if kind:
            self.other_kinds += 1
            return
        keys = [self._key(tuple(row[2:])) for row in rows]
        place = _place(about)
        if version is None or not 1 <= version <= SCHEMA_VERSION:
            self.told[number] = "has no known schema_version"
        elif microseconds is None or not 0 <= microseconds < LATEST_MICROSECONDS:
            self.told[number] = "field created_at: is no date"
        elif not has_cases or place is None or None in keys or not all(row[0] for row in rows):
            self.told[number] = "holds a timed row that no run writes"
        else:
            self.results += 1
            run = _run(self.paths[number].name, microseconds, about)
            for key, (_, log, *_) in zip(keys, rows, strict=True):
                if key and microseconds >= self.since:
                    self.points[place.machine(key.device), key].append((run, log))

    def _key(self, columns: Row) -> Key | None:
        """What names a case, each made once; None where the columns name none."""
        if columns not in self.keys:
            self.keys[columns] = _key(columns)
        return self.keys[columns]


def _key(columns: Row) -> Key | None:
    implementation, device, dtype, workload, batch_size, threads, steps, *model = columns
    names, counts = (implementation, device, dtype, workload), (batch_size, threads, steps)
    if not all(name and re.fullmatch(NAME_PATTERN, name) for name in names):
        return None
    if not all(count and 1 <= count <= LARGEST_COUNT for count in counts):
        return None
    if None in model[:NEEDED]:
        return None
    given = {name: value for name, value in zip(MODEL, model, strict=True) if value is not None}
    try:
        config = GeneratorConfig(**given)
    except ValueError:
        return None
    return Key(implementation, device, dtype, config, workload, *counts)


def _place(about: Sequence[Any]) -> _Place | None:
    _, _, cpu, cores, caches, gpus, older_gpus, *_ = about
    if cpu is None or cores is None:
        return None
    names = dict.fromkeys(filter(None, gpus or older_gpus or ()))
    return _Place(cpu, cores, tuple(sorted((caches or {}).items())), ", ".join(names) or "GPU")


def _run(file: str, microseconds: int, about: Sequence[Any]) -> Run:
    commit, dirty, _, _, _, _, _, precision, *versions = about
    software = dict(zip(SOFTWARE, versions, strict=True))
    software |= {f"precision {name}": flag for name, flag in sorted((precision or {}).items())}
    known = tuple((name, value) for name, value in software.items() if value is not None)
    return Run(file, microseconds, commit, bool(dirty), known)


def _order(machine: Machine, key: Key) -> tuple[object, ...]:
    return (machine.device, machine.name, machine.cores, machine.caches, *key.order)


def _fault(path: Path, told: str) -> str | None:
    """What is wrong with a file, in one line; None where it is another kind's, and no trouble.

    ``told``: that something is; whoever reads result files with more care says what.
    """
    try:
        if path.exists() and not path.is_file():
            raise BenchError(f"{path} is no regular file")
        text = records.read(path)
        head = records.from_json(path, text)
        if isinstance(head, dict) and "kind" in head:
            return None
        records.parse(path, text, head)
    except BenchError as error:
        return str(error)
    return f"{path} {told}"
