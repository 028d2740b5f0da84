"""Implementations of other packages: entry points of the group `GROUP`, and what ``--impl`` names.

Nothing is imported here: what only an import shows is found by the worker that makes it. Where the
environment variable `SWITCH` is set, to whatever but nothing, no plugin is looked for.
"""

import importlib.util
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata

from bench.errors import BenchError, unknown
from bench.schema import NAME_PATTERN
from impls import COMMAND_LINE, REGISTRY, Entry

GROUP = "rnn_bench.implementations"
SWITCH = "RNN_BENCH_NO_PLUGINS"
ALL = "all"
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_WHERE = "in the current folder or among the installed packages"


@dataclass(frozen=True, slots=True)
class Broken:
    """A plugin that cannot be used; ``origin`` is the distribution and version that brings it."""

    name: str
    origin: str
    reason: str

    @property
    def summary(self) -> str:
        """A few words for the tables."""
        return f"plugin: {self.origin}"


@dataclass(frozen=True, slots=True)
class Plugins:
    """What the installed packages bring."""

    entries: dict[str, Entry] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()


def discover() -> Plugins:
    """Every plugin of every installed package; one that is broken keeps no other from working."""
    try:
        found = installed()
    except Exception as error:  # noqa: BLE001 - some package's own file is malformed
        reason = f"the entry points cannot be read: {type(error).__name__}: {error}"
        return Plugins(broken=(Broken("?", "an installed package", reason),))
    times = Counter(point.name for point, _ in found)
    entries: dict[str, Entry] = {}
    broken: list[Broken] = []
    for point, origin in found:
        others = [other for each, other in found if each.name == point.name and other != origin]
        if fault := _fault(point, times[point.name], others):
            broken.append(Broken(point.name, origin, f"plugin {point.name} of {origin}: {fault}"))
        else:
            entries[point.name] = Entry(_target(point), f"plugin: {origin}", origin=origin)
    return Plugins(entries, tuple(broken))


def installed() -> list[tuple[metadata.EntryPoint, str]]:
    """The group's entry points, each with the distribution and version that brings it."""
    if os.environ.get(SWITCH):
        return []
    return sorted(
        ((point, _origin(point)) for point in metadata.entry_points(group=GROUP)),
        key=lambda found: (found[0].name, found[1]),
    )


def register(text: str, plugins: Plugins, devices: Iterable[str]) -> tuple[str, ...]:
    """The names that ``--impl`` means; what is named by its target gets into the registry.

    Args:
        text: a comma list of names and of ``package.module:Class``; or ``all``, which is every one
            that is written for one of ``devices``.
        plugins: what is installed, already in the registry where it is not broken.
        devices: of the run, such as ``cuda:1``.

    Raises:
        BenchError: an unknown name, a broken plugin, a target that cannot be, or none at all.
    """
    names = [part.strip() for part in text.split(",")]
    if not all(names):
        raise BenchError(
            "--impl must be all or a comma list such as torch_rnn,my_package.cells:Fast, "
            f"got '{text}'"
        )
    kinds = {device.partition(":")[0] for device in devices}
    known = [name for name, entry in REGISTRY.items() if kinds.intersection(entry.devices)]
    chosen: dict[str, None] = {}
    for name in names:
        if name == ALL:
            chosen |= dict.fromkeys(known)
            continue
        if name not in REGISTRY:
            _register(name, plugins.broken)
        chosen[name] = None
    return tuple(chosen)


def register_again(names: Iterable[str], plugins: Plugins, file: object) -> None:
    """Get the implementations of a run that is to go on into the registry.

    Raises:
        BenchError: one is not here.
    """
    for name in names:
        try:
            if name not in REGISTRY:
                _register(name, plugins.broken)
        except BenchError as error:
            right = "install the package that brings it, or begin a new run"
            raise BenchError(f"--resume {file}: it times {name}; {error}; {right}") from None


def _register(name: str, broken: Iterable[Broken]) -> None:
    for each in broken:
        if each.name == name:
            raise BenchError(each.reason)
    if ":" not in name:
        hint = "; a class of your own is package.module:Class" if "." in name else ""
        error = unknown("implementation", name, REGISTRY)
        raise BenchError(f"{error}{hint}")
    if not _TARGET.fullmatch(name):
        raise BenchError(f"--impl must name a class as package.module:Class, got '{name}'")
    if not re.fullmatch(NAME_PATTERN, name):
        raise BenchError(
            f"--impl {name}: a result file takes at most 100 letters, digits and .:_- of ASCII"
        )
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)  # the worker's is a copy of this one
    if absent := _absent(name):
        raise BenchError(
            f"--impl {name}: there is no module {absent} {_WHERE}; it must be package.module:Class"
        )
    REGISTRY[name] = Entry(name, "named on the command line", origin=COMMAND_LINE)


def _fault(point: metadata.EntryPoint, times: int, others: list[str]) -> str | None:
    """What is wrong with an entry point, and what would be right."""
    if not re.fullmatch(NAME_PATTERN, point.name):
        return (
            f"{point.name!r} is no name for a result file; it must be at most 100 letters, digits "
            "and .:_- of ASCII"
        )
    if point.name in REGISTRY or point.name == ALL:
        return "the name is taken by rnn-bench itself; it must be another"
    if times > 1:
        also = f"{', '.join(others)} too" if others else f"its own distribution {times} times"
        return f"the name is given by {also}; each must have its own"
    target = _target(point)
    if not _TARGET.fullmatch(target):
        return f"its target is {target}; it must be package.module:Class"
    if absent := _absent(target):
        return f"its target is {target}, but there is no module {absent}"
    return None


def _target(point: metadata.EntryPoint) -> str:
    """Without the extras that an entry point may name behind it."""
    return point.value.partition("[")[0].strip()


def _absent(target: str) -> str | None:
    """The top-level module of a target where there is none; looking deeper would import it."""
    top = target.partition(":")[0].partition(".")[0]
    try:
        return top if importlib.util.find_spec(top) is None else None
    except (ImportError, ValueError):
        return top


def _origin(point: metadata.EntryPoint) -> str:
    """The name and version of the distribution that brings an entry point."""
    try:
        if point.dist:
            return f"{point.dist.metadata['Name']} {point.dist.version}"
    except (TypeError, KeyError):  # its metadata is not there
        pass
    return "an unknown distribution"
