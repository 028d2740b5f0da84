"""Histories in words: a line a case, and a line a change; and in numbers, for JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bench import words
from bench.history.changes import Change, History
from bench.history.series import Key
from bench.leaderboard import labels
from bench.render import Row, Table

BARS = "▁▂▃▄▅▆▇█"
COURSE_WIDTH = 12
NO_CHANGE = "No case has surely changed its level by more than 1%."
FLATTEST = 0.1  # log: what the height of a course spans at least, lest noise look like change


def model_words(key: Key) -> str:
    """Such as "H=128 L=1 tanh float32", with whatever is not as usual."""
    model = key.model
    unusual = {
        "no bias": not model.bias,
        "bidirectional": model.bidirectional,
        "batch first": model.batch_first,
        f"dropout={model.dropout:g}": model.dropout > 0.0,
        f"I={model.input_size}": model.input_size > 1,
    }
    words_for = [f"H={model.hidden_size}", f"L={model.num_layers}", model.nonlinearity]
    words_for += [name for name, found in unusual.items() if found]
    return " ".join([*words_for, key.dtype])


# A column that only tells rows apart where they differ in it.
_EXTRA: dict[str, Callable[[Key], str]] = {
    "model": model_words,
    "threads": lambda key: str(key.threads),
    "steps": lambda key: f"{key.steps:,}",
}


def tables(histories: Sequence[History], about: Sequence[str]) -> list[Table]:
    """Two tables a machine: what each case took, and what changed it.

    Args:
        histories: of one machine or several, each machine's together.
        about: what a reader has to know of all files, beneath the last table.
    """
    names = labels([history.series.machine for history in histories])
    found = []
    for machine, name in names.items():
        theirs = [history for history in histories if history.series.machine == machine]
        found += [_cases(name, theirs), _changes(name, theirs)]
    last = found[-1]
    found[-1] = Table(last.title, last.columns, last.sections, (*last.notes, *about))
    return found


def headline(histories: Sequence[History]) -> str:
    """How many changes of how many cases, and the last of them."""
    changes = [(change, each.series.key) for each in histories for change in each.changes]
    cases = f"{len(histories):,} case{'s' if len(histories) > 1 else ''}"
    if not changes:
        files = max(len(each.series.runs) for each in histories)
        return f"{cases}, {files:,} file{'s' if files > 1 else ''} at most of one: {NO_CHANGE}"
    last, key = max(changes, key=lambda found: found[0].date)
    changed = sum(bool(each.changes) for each in histories)
    by = f", by commit {last.commit}" if last.commit and not last.same_commit else ""
    return (
        f"{len(changes):,} change{'s' if len(changes) > 1 else ''} in {changed:,} of {cases}. The "
        f"last: {key.implementation}, {key.workload} at batch {key.batch_size:,}, "
        f"{words.ratio(last.ratio)} as fast from {last.date} on{by}."
    )


def numbers(history: History, machine: str) -> dict[str, Any]:
    """A history for JSON; ``machine`` in words."""
    series = history.series
    return {
        "machine": machine,
        **asdict(series.key),
        "files": len(series.runs),
        "first": series.runs[0].date,
        "last": series.runs[-1].date,
        "noise": history.noise,
        "judged": history.judged,
        "levels": [asdict(level) for level in history.levels],
        "changes": [asdict(change) for change in history.changes],
    }


def _cases(machine: str, histories: Sequence[History]) -> Table:
    keys = [history.series.key for history in histories]
    extra = _extra(keys)
    title = f"History: {machine}" + ("" if "model" in extra else f", {model_words(keys[0])}")
    return Table(
        title=title,
        columns=("workload", "batch", "implementation", *extra,
                 "files", "course", "us/step", "noise", "changes", "latest"),
        sections=tuple(
            tuple(_case(history, extra) for history in histories if _place(history) == place)
            for place in dict.fromkeys(map(_place, histories))
        ),
        notes=(
            "course: microseconds for one step of the whole batch, from the first file to the "
            "last; the higher the slower. us/step: now, the mean since the latest change. noise: "
            "standard deviation of one file around its level.",
        ),
    )  # fmt: skip


def _case(history: History, extra: Sequence[str]) -> Row:
    key = history.series.key
    latest = history.changes[-1] if history.changes else None
    return (
        *_name(key, extra),
        f"{len(history.series.runs):,}",
        _course(history),
        words.significant(1e6 * history.levels[-1].seconds / key.steps),
        words.percent(history.noise) if len(history.series.runs) > 1 else words.NOTHING,
        str(len(history.changes)) if history.judged else "too few",
        f"{latest.date} {words.ratio(latest.ratio)}" if latest else words.NOTHING,
    )


def _changes(machine: str, histories: Sequence[History]) -> Table:
    extra = _extra([history.series.key for history in histories])
    reasons: dict[str, int] = {}
    changed = [history for history in histories if history.changes]
    sections = tuple(
        tuple(
            _change(change, history.series.key, extra, reasons)
            for history in changed
            if _place(history) == place
            for change in history.changes
        )
        for place in dict.fromkeys(map(_place, changed))
    )
    return Table(
        title=f"Changes: {machine}",
        columns=("workload", "batch", "implementation", *extra,
                 "since", "commit", "among", "ratio", "verdict"),
        sections=sections,
        notes=(
            NO_CHANGE,
        )
        if not sections
        else (
            "since: the first file with the new level. commit: that most likely did it; among: the "
            "commits of which one did it with 95% probability, as git log takes them, those that "
            "nobody timed included. ratio: new over old level in steps a second, ± half of its "
            "interval; all intervals hold together with 95% confidence and lie beyond 1%. A level "
            "is one of 5 files at least.",
            *(f"({number}) {reason}." for reason, number in reasons.items()),
        ),
    )  # fmt: skip


def _change(change: Change, key: Key, extra: Sequence[str], reasons: dict[str, int]) -> Row:
    told = list(change.software)
    if change.same_commit:
        told.insert(0, "the same commit before and after it: the machine did it, or its software")
    marks = "".join(
        f" ({reasons.setdefault(reason, len(reasons) + 1)})" for reason in ["; ".join(told)] if told
    )
    among = f"{change.before}..{change.latest}" if change.before and change.latest else None
    return (
        *_name(key, extra),
        change.date,
        change.commit or words.NOTHING,
        words.NOTHING if change.same_commit or among is None else among,
        f"{words.ratio(change.ratio)} {words.plus_minus(change.low, change.high)}",
        change.verdict + marks,
    )


def _name(key: Key, extra: Sequence[str]) -> Row:
    columns = (_EXTRA[name](key) for name in extra)
    return (key.workload, f"{key.batch_size:,}", key.implementation, *columns)


def _extra(keys: Sequence[Key]) -> list[str]:
    return [name for name, cell in _EXTRA.items() if len(set(map(cell, keys))) > 1]


def _place(history: History) -> tuple[object, ...]:
    """What is told of in one section."""
    key = history.series.key
    return key.workload, key.model, key.dtype, key.batch_size


def _course(history: History) -> str:
    """A bar for each of equal shares of the runs, at the median of theirs."""
    logs = history.series.logs
    shares = np.array_split(logs, min(COURSE_WIDTH, len(logs)))
    heights = np.array([np.median(share) for share in shares])
    low, high = heights.min(), heights.max()
    span = max(FLATTEST, high - low)
    bottom = (low + high - span) / 2.0
    bars = np.minimum(len(BARS) * (heights - bottom) / span, len(BARS) - 1).astype(int)
    return "".join(BARS[bar] for bar in bars)
