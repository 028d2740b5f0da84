"""Files against a base, row by row: how much faster or slower, and whether anybody can tell. Pure.

The effect is the ratio of two estimates, with an interval that holds for all rows of the comparison
at once, and that is wider by as much as the machine may have moved between the files: the far end
of the canary's own interval. It is called faster or slower only where that lies wholly beyond the
margin, the same only where it lies inside: 1 %, or how far apart the files' A/A arms lie, whichever
is larger.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bench import statistics
from bench.observed import Errors, Key, Observed, Timed
from bench.statistics import Interval

TimeVerdict = Literal[
    "faster", "slower", "same", "cannot tell", "not comparable", "only in base", "only in new"
]
ErrorVerdict = Literal[
    "better", "worse", "same", "cannot tell", "not comparable", "only in base", "only in new"
]


@dataclass(frozen=True, slots=True)
class ThroughputChange:
    """One row in two files.

    ``ratio`` is new over base of the steps a second, with the ends of its interval; between two
    machines it is that of each file's ratio to its own baseline, which ``base`` and ``new`` are
    then too. ``margin`` is a fraction. ``smallest_visible`` is the smallest difference, as a
    fraction, that would have had a verdict. ``reason`` names what cannot be compared.
    """

    workload: str
    batch_size: int
    threads: int
    implementation: str
    device: str
    hidden_size: int
    base: float | None = None
    new: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    verdict: TimeVerdict = "cannot tell"
    smallest_visible: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """One case in two files: mean squared errors, and the mean of the paired differences.

    ``difference`` is new - base over the same sequences, with the ends of its interval.
    """

    implementation: str
    device: str
    hidden_size: int
    base: float | None = None
    new: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    verdict: ErrorVerdict = "cannot tell"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one file has to say about the base.

    ``differences`` names settings that differ, as "name: base -> new": whoever reads a ratio must
    know them. ``same_machine``: whether seconds were compared, or ratios to the baselines.
    ``confidence`` is that of all intervals together, over ``rows_compared`` rows.
    """

    base: str
    new: str
    same_machine: bool
    differences: tuple[str, ...]
    accuracy: tuple[AccuracyChange, ...]
    throughput: tuple[ThroughputChange, ...]
    rows_compared: int
    confidence: float = statistics.CONFIDENCE


def compare(base: Observed, news: Iterable[Observed]) -> tuple[Comparison, ...]:
    """Join each file with the base, on everything that names a row."""
    files = list(news)
    timed = sum(len(base.rows.keys() & new.rows.keys()) for new in files)
    tested = sum(len(base.accuracy.keys() & new.accuracy.keys()) for new in files)
    return tuple(_pair(base, new, timed, tested) for new in files)


def several(numbers: Iterable[int]) -> bool:
    """Whether rows must be told apart by their threads or sizes; 0 is somebody else's file."""
    return len(set(numbers) - {0}) > 1


def _pair(base: Observed, new: Observed, timed: int, tested: int) -> Comparison:
    same_machine = not _unequal(base.machine, new.machine)
    joined = _Rows(base, new, same_machine, statistics.corrected(timed))
    return Comparison(
        base=base.name,
        new=new.name,
        same_machine=same_machine,
        differences=_differences(base, new),
        accuracy=tuple(
            _accuracy_change(key, base, new, statistics.corrected(tested))
            for key in _keys(base.accuracy, new.accuracy)
        ),
        throughput=tuple(joined.change(key) for key in _keys(base.rows, new.rows)),
        rows_compared=timed,
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The timed rows of two files."""

    base: Observed
    new: Observed
    same_machine: bool
    confidence: float

    def change(self, key: Key) -> ThroughputChange:
        names: dict[str, Any] = {
            name: getattr(key, name)
            for name in (
                *("workload", "batch_size", "threads"),
                *("implementation", "device", "hidden_size"),
            )
        }
        old, fresh = self.base.rows.get(key), self.new.rows.get(key)
        if old is None or fresh is None:
            missing: TimeVerdict = "only in base" if fresh is None else "only in new"
            return ThroughputChange(**names, base=_rate(old), new=_rate(fresh), verdict=missing)
        if unequal := _unequal(old.conditions, fresh.conditions):
            return _not_comparable(names, old, fresh, unequal)
        if self.same_machine:
            margin = max(statistics.SMALLEST_MARGIN, old.floor, fresh.floor)
            effect = statistics.difference(
                list(old.logs.values()), list(fresh.logs.values()), self.confidence
            )
            wider = statistics.widened(effect, self._drift(key))
            return _judged(names, _rate(old), _rate(fresh), wider, margin)
        return self._relative(names, key, old, fresh)

    def _relative(
        self, names: dict[str, Any], key: Key, old: Timed, fresh: Timed
    ) -> ThroughputChange:
        """Two machines: each file's ratio to its own baseline, process by process."""
        if reason := self._without_baseline(key):
            return _not_comparable(names, old, fresh, reason)
        before, after = _against(self.base, key, old), _against(self.new, key, fresh)
        effect = statistics.difference(before, after, self.confidence)
        margin = max(statistics.SMALLEST_MARGIN, old.floor, fresh.floor)
        base, new = (_exp(-math.fsum(side) / len(side)) for side in (before, after))
        return _judged(names, base, new, effect, margin)

    def _without_baseline(self, key: Key) -> str | None:
        baseline = self.base.baseline
        if baseline is None or baseline != self.new.baseline:
            return f"other machine, and baseline: {baseline} -> {self.new.baseline}"
        if key.implementation == baseline:
            return "other machine; it is the baseline itself"
        for observed in (self.base, self.new):
            row = observed.rows.get(_replaced(key, baseline))
            if row is None or not row.logs.keys() & observed.rows[key].logs.keys():
                return f"other machine, and {observed.name} has no {baseline} there"
        return None

    def _drift(self, key: Key) -> float:
        """How far the canary may have moved between the two files: its interval's far end.

        Its processes are as few as the code's, so its mean alone misses half of what there was; and
        of a result that was put together from several only those count that timed the row.
        """
        old, fresh = (
            {
                process: log
                for process, log in side.canary.get(key.device, {}).items()
                if process in side.rows[key].logs
            }
            for side in (self.base, self.new)
        )
        if not old or not fresh:
            return 0.0
        moved = statistics.difference(list(old.values()), list(fresh.values()))
        return abs(moved.mean) + (moved.half or 0.0)


def _keys(base: Iterable[Key], new: Iterable[Key]) -> list[Key]:
    """The base's, in its order, and what only the new file has."""
    return list(dict.fromkeys([*base, *new]))


def _against(observed: Observed, key: Key, row: Timed) -> list[float]:
    """Log seconds less the baseline's, by process."""
    baseline = observed.rows[_replaced(key, str(observed.baseline))].logs
    return [row.logs[process] - baseline[process] for process in row.logs if process in baseline]


def _replaced(key: Key, implementation: str) -> Key:
    return replace(key, implementation=implementation)


def _judged(
    names: dict[str, Any], base: float | None, new: float | None, effect: Interval, margin: float
) -> ThroughputChange:
    visible = statistics.smallest_visible(effect, margin)
    low, high = (None if math.isinf(end) else _exp(-end) for end in (effect.high, effect.low))
    return ThroughputChange(
        **names,
        base=base,
        new=new,
        ratio=_exp(-effect.mean),
        low=low,
        high=high,
        margin=math.expm1(margin),
        verdict=statistics.verdict(effect, margin),
        smallest_visible=None if visible is None else math.expm1(min(visible, 50.0)),
        reason="one process alone has no interval" if effect.half is None else None,
    )


def _not_comparable(
    names: dict[str, Any], old: Timed, fresh: Timed, reason: str
) -> ThroughputChange:
    return ThroughputChange(
        **names, base=_rate(old), new=_rate(fresh), verdict="not comparable", reason=reason
    )


def _rate(row: Timed | None) -> float | None:
    """Steps a second, or calls where the file does not tell the steps."""
    if row is None:
        return None
    return (row.work or 1) * _exp(-math.fsum(row.logs.values()) / len(row.logs))


def _accuracy_change(key: Key, base: Observed, new: Observed, confidence: float) -> AccuracyChange:
    old, fresh = base.accuracy.get(key), new.accuracy.get(key)
    names: dict[str, Any] = {
        "implementation": key.implementation,
        "device": key.device,
        "hidden_size": key.hidden_size,
        "base": _mean(old),
        "new": _mean(fresh),
    }
    if old is None or fresh is None:
        missing: ErrorVerdict = "only in base" if fresh is None else "only in new"
        return AccuracyChange(**names, verdict=missing)
    unequal = _unequal(old.conditions, fresh.conditions)
    if not unequal and len(old.per_sequence) != len(fresh.per_sequence):
        unequal = f"sequences: {len(old.per_sequence)} -> {len(fresh.per_sequence)}"
    if unequal:
        return AccuracyChange(**names, verdict="not comparable", reason=unequal)
    paired = np.subtract(fresh.per_sequence, old.per_sequence)
    effect = statistics.mean(paired.tolist(), confidence)
    floor = max(statistics.SMALLEST_MARGIN, base.error_floor, new.error_floor)
    margin = math.expm1(min(floor, 50.0)) * (names["base"] or 0.0)
    words: Mapping[str, ErrorVerdict] = {"slower": "worse", "faster": "better", "same": "same"}
    return AccuracyChange(
        **names,
        difference=effect.mean,
        low=None if effect.half is None else effect.low,
        high=None if effect.half is None else effect.high,
        margin=margin,
        verdict=words.get(statistics.verdict(effect, margin), "cannot tell"),
    )


def _mean(errors: Errors | None) -> float | None:
    return float(np.mean(errors.per_sequence)) if errors else None


def _unequal(old: Mapping[str, Any], fresh: Mapping[str, Any]) -> str | None:
    """The first field that both know and that differs, as "name: base -> new"."""
    for name, value in old.items():
        other = fresh.get(name)
        if value is not None and other is not None and value != other:
            return f"{name}: {_short(value)} -> {_short(other)}"
    return None


def _differences(base: Observed, new: Observed) -> tuple[str, ...]:
    old, fresh = (dict(side.machine) | dict(side.settings) for side in (base, new))
    return tuple(
        f"{name}: {_short(old[name])} -> {_short(fresh[name])}"
        for name in old
        if name in fresh and old[name] != fresh[name]
    )


def _short(value: Any) -> str:
    """A digest by its beginning."""
    text = str(value)
    return text if len(text) <= 40 else text[:12] + "..."


def _exp(value: float) -> float:
    """Exponentiate within what a result file may hold."""
    return math.exp(max(-60.0, min(60.0, value)))
