"""Comparisons in words."""

from collections.abc import Iterable

from bench.compare import AccuracyChange, Comparison, ThroughputChange, several
from bench.render import Row, Table
from bench.words import NOTHING, error, percent, ratio_within, short


def comparison_tables(comparisons: tuple[Comparison, ...]) -> list[Table]:
    """Accuracy and throughput of every new file beside the base."""
    return [table for comparison in comparisons for table in _tables(comparison)]


def _tables(comparison: Comparison) -> list[Table]:
    found = [_accuracy(comparison)] if comparison.accuracy else []
    return [*found, _throughput(comparison)]


def _accuracy(comparison: Comparison) -> Table:
    reasons = _Reasons(row.reason for row in comparison.accuracy)
    sizes = several(row.hidden_size for row in comparison.accuracy)
    rows = tuple(_accuracy_row(row, reasons, sizes=sizes) for row in comparison.accuracy)
    return Table(
        title="Accuracy: mean squared error, lower is better",
        columns=(
            *("implementation", "device"),
            *(("H",) if sizes else ()),
            *("base", "new", "difference", "verdict"),
        ),
        sections=(rows,),
        notes=(
            "difference: mean over the same sequences, pair by pair, ± half of its interval. "
            "better, worse: beyond 1%, and beyond what separates the files' own implementations "
            "after the same training.",
            *reasons.notes(),
        ),
    )


def _throughput(comparison: Comparison) -> Table:
    reasons = _Reasons(row.reason for row in comparison.throughput)
    groups = dict.fromkeys(
        (row.workload, row.hidden_size, row.batch_size) for row in comparison.throughput
    )
    columns = {
        "H": several(row.hidden_size for row in comparison.throughput),
        "threads": several(row.threads for row in comparison.throughput),
    }
    extra = [name for name, wanted in columns.items() if wanted]
    what = "steps per second" if comparison.same_machine else "ratio to each file's own baseline"
    return Table(
        title=f"Throughput: {what}, higher is better",
        columns=(
            *("workload", "batch", "implementation", "device"),
            *extra,
            *("base", "new", "ratio", "verdict"),
        ),
        sections=tuple(
            tuple(
                _throughput_row(row, reasons, extra)
                for row in comparison.throughput
                if (row.workload, row.hidden_size, row.batch_size) == group
            )
            for group in groups
        ),
        notes=(*_notes(comparison), *reasons.notes()),
    )


class _Reasons:
    """Reasons, each told once beneath the table, and numbered in it."""

    def __init__(self, reasons: Iterable[str | None]) -> None:
        self._numbers = {
            reason: number for number, reason in enumerate(dict.fromkeys(filter(None, reasons)), 1)
        }

    def mark(self, verdict: str, reason: str | None) -> str:
        """The verdict, and the number of its reason."""
        return verdict if reason is None else f"{verdict} ({self._numbers[reason]})"

    def notes(self) -> tuple[str, ...]:
        """One line a reason."""
        return tuple(f"({number}) {reason}." for reason, number in self._numbers.items())


def _accuracy_row(row: AccuracyChange, reasons: _Reasons, *, sizes: bool) -> Row:
    difference = NOTHING
    if row.difference is not None:
        difference = f"{row.difference:+.1e}"
        if row.low is not None and row.high is not None:
            difference += f" ±{(row.high - row.low) / 2.0:.1e}"
    verdict = reasons.mark(row.verdict, row.reason)
    name = (row.implementation, row.device, *((str(row.hidden_size or ""),) if sizes else ()))
    return *name, error(row.base), error(row.new), difference, verdict


def _throughput_row(row: ThroughputChange, reasons: _Reasons, extra: list[str]) -> Row:
    verdict = reasons.mark(row.verdict, row.reason)
    if row.verdict == "cannot tell" and row.smallest_visible is not None:
        verdict += f" < {percent(row.smallest_visible)}"
    numbers = {"H": row.hidden_size, "threads": row.threads}
    return (
        row.workload,
        f"{row.batch_size:,}" if row.batch_size else "",
        row.implementation,
        row.device,
        *(str(number or "") for name, number in numbers.items() if name in extra),
        short(row.base),
        short(row.new),
        ratio_within(row.ratio, row.low, row.high),
        verdict,
    )


def _notes(comparison: Comparison) -> tuple[str, ...]:
    notes = [f"base: {comparison.base}. new: {comparison.new}."]
    margins = [row.margin for row in comparison.throughput if row.margin is not None]
    if margins:
        low, high = percent(min(margins)), percent(max(margins))
        span = low if low == high else f"{low} to {high}"
        notes.append(
            f"ratio: new over base, ± half of its interval; all {comparison.rows_compared} "
            f"intervals hold together with {percent(comparison.confidence)} confidence, and are "
            "wider by what the canary says that the machine may have moved. Margin: "
            f"{span}, the larger of 1% and the distance of the files' A/A arms. "
            "faster, slower: the interval lies wholly beyond the margin; same: inside it; "
            "cannot tell < x: only a difference of x would have shown."
        )
    if not comparison.same_machine:
        notes.append(
            "The files come from different machines: only ratios to each file's own baseline are "
            "compared."
        )
    if comparison.differences:
        notes.append("The files differ in: " + "; ".join(comparison.differences) + ".")
    return tuple(notes)
