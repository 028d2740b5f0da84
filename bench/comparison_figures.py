"""A comparison drawn: every ratio with its interval, about the margin within which all is same."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.compare import Comparison, ThroughputChange, several
from bench.looks import COLOURS, WIDTH_INCHES, legend_handles

# By verdict: colour and marker both, for colour-blind readers and printers.
LOOKS = {
    "faster": (COLOURS[2], "o"),
    "slower": (COLOURS[1], "s"),
    "same": (COLOURS[0], "D"),
    "cannot tell": ("#888888", "o"),
}
MOST_ROWS = 120
ROW_INCHES = 0.16
# Beyond these an interval is cut: one wild row must not squeeze all others.
LEAST, MOST = 0.25, 4.0


def forest(comparison: Comparison) -> Figure | None:
    """A dot a row, its line the interval; a panel a workload. None where no row has a ratio.

    Of more rows than `MOST_ROWS` those with a verdict come first, then the widest apart.
    """
    rows = [row for row in comparison.throughput if row.ratio]
    if not rows:
        return None
    if len(rows) > MOST_ROWS:
        kept = sorted(rows, key=_interest, reverse=True)[:MOST_ROWS]
        rows = [row for row in rows if row in kept]
    workloads = list(dict.fromkeys(row.workload for row in rows))
    counts = [sum(row.workload == workload for row in rows) for workload in workloads]
    figure = Figure(
        figsize=(1.6 * WIDTH_INCHES, ROW_INCHES * len(rows) + 0.45 * len(workloads) + 0.6),
        layout="constrained",
    )
    grid = figure.subplots(
        len(workloads), sharex=True, squeeze=False, height_ratios=[count + 1 for count in counts]
    )
    for axes, workload in zip(grid[:, 0], workloads, strict=True):
        _panel(axes, [row for row in rows if row.workload == workload])
        axes.set_title(workload or "timed", loc="left")
    ends = [end for row in rows for end in (row.low, row.ratio, row.high) if end]
    low, high = max(LEAST, min(*ends, 0.95)), min(MOST, max(*ends, 1.05))
    axes.set_xscale("log")
    axes.set_xlim(low / 1.03, high * 1.03)
    ticks = _ticks(low, high)
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("new over base, with the interval of all rows together")
    handles = legend_handles(figure)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=5)
    return figure


def _panel(axes: Axes, rows: list[ThroughputChange]) -> None:
    sizes, threads = (
        several(getattr(row, name) for row in rows) for name in ("hidden_size", "threads")
    )
    for place, row in enumerate(rows):
        colour, marker = LOOKS.get(row.verdict, LOOKS["cannot tell"])
        ratio = row.ratio or 1.0
        margin = row.margin or 0.0
        axes.fill_betweenx(
            [place - 0.5, place + 0.5], 1.0 / (1.0 + margin), 1.0 + margin,
            color="#888888", alpha=0.18, linewidth=0, label="margin",
        )  # fmt: skip
        low, high = row.low or ratio, row.high or ratio
        axes.plot([low, high], [place, place], color=colour, linewidth=1.0)
        axes.plot(ratio, place, marker, color=colour, markersize=3.5, label=row.verdict)
    axes.axvline(1.0, color="#888888", linewidth=0.6)
    names = [
        f"{row.implementation}, {row.device}, {row.batch_size:,}"
        + (f", H={row.hidden_size}" if sizes else "")
        + (f", {row.threads} thr." if threads else "")
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _interest(row: ThroughputChange) -> tuple[bool, float]:
    return row.verdict in ("faster", "slower"), abs(math.log(row.ratio or 1.0))


def _ticks(low: float, high: float) -> list[float]:
    steps = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    step = next(each for each in steps if (high - low) / each <= 8 or each == steps[-1])
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 6) for number in range(first, last + 1)]
