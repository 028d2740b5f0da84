"""Small multiples of histories, one column of a paper wide: a panel a case."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench import words
from bench.figures import STYLE, write
from bench.history.changes import Change, History
from bench.history.series import Array
from bench.history.tables import model_words
from bench.leaderboard import labels
from bench.looks import COLOURS, TRUTH, WIDTH_INCHES
from bench.render import printable

BAND = 2.0  # noises to either side of a level
MOST_LABELS = 6
SLOWER, FASTER = COLOURS[1], COLOURS[2]
PANEL_INCHES = 1.15


def save(histories: Sequence[History], file: Path, stamp: str) -> None:
    """Draw histories, at least one, and write them down, ``stamp`` in the metadata.

    Args:
        histories: a panel each.
        file: in the format of its suffix, PNG or SVG.
        stamp: tells what it was drawn from.

    Raises:
        OSError: the file cannot be written.
    """
    with mpl.rc_context(STYLE):
        write(draw(histories), [file], stamp)


def draw(histories: Sequence[History]) -> Figure:
    """A dot a file, its level with a band of two noises, and a line at each change."""
    figure = Figure(
        figsize=(WIDTH_INCHES, PANEL_INCHES * len(histories) + 0.65), layout="constrained"
    )
    panels = figure.subplots(len(histories), 1, sharex=True, squeeze=False)[:, 0]
    names = labels([history.series.machine for history in histories])
    models = list(dict.fromkeys(model_words(history.series.key) for history in histories))
    for axes, history in zip(panels, histories, strict=True):
        _panel(axes, history)
        lines = [
            _name(history),
            *([model_words(history.series.key)] if len(models) > 1 else ()),
            *([names[history.series.machine]] if len(names) > 1 else ()),
        ]
        axes.set_title("\n".join(map(printable, lines)), loc="left", parse_math=False)
    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(
        ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    )
    figure.supylabel("µs per step", fontsize=8)
    shared = [*names.values()] if len(names) == 1 else []
    shared += models if len(models) == 1 else []
    figure.suptitle(printable(", ".join(shared)), fontsize=8, fontweight="bold", parse_math=False)
    figure.legend(handles=_handles(), loc="outside lower center", ncols=4, handlelength=1.2,
                  columnspacing=1.2)  # fmt: skip
    return figure


def _panel(axes: Axes, history: History) -> None:
    series, fit = history.series, history.fit
    dates = np.array([run.microseconds for run in series.runs], dtype="datetime64[us]")
    times, scale = history.microseconds_per_step, 1e6 / series.key.steps
    axes.plot(
        dates, times, ".", color=COLOURS[0], markersize=2.0, markeredgewidth=0.0,
        alpha=max(0.2, min(0.8, 200 / len(dates))), rasterized=len(dates) > 1000,
    )  # fmt: skip
    for (start, stop), level in zip(fit.spans, fit.levels, strict=True):
        # Up to where the next level begins, so that a level has no gap beside it.
        ends = dates[[start, min(stop, len(dates) - 1)]]
        low, high = scale * np.exp([level - BAND * fit.noise, level + BAND * fit.noise])
        axes.fill_between(ends, low, high, color=TRUTH, alpha=0.15, linewidth=0.0)
        axes.plot(ends, scale * np.exp([level, level]), color=TRUTH, linewidth=0.8)
    axes.set_ylim(*_reach(times, scale * np.exp(fit.levels), fit.noise))
    axes.margins(x=0.02)
    begun = {run.file: date for run, date in zip(series.runs, dates, strict=True)}
    told = sorted(history.changes, key=lambda change: -abs(np.log(change.ratio)))[:MOST_LABELS]
    for number, change in enumerate(history.changes):
        axes.axvline(begun[change.file], color=_colour(change), linewidth=0.7, zorder=1)
        if change in told:
            late = begun[change.file] > dates[0] + 0.7 * (dates[-1] - dates[0])
            axes.annotate(
                f"{printable(change.commit or '?')} {words.ratio(change.ratio)}",
                (begun[change.file], 0.97 - 0.14 * (number % 2)),
                (-2 if late else 2, 0), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=5.5, va="top", ha="right" if late else "left",
                color=_colour(change), parse_math=False,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.4},
            )  # fmt: skip


def _reach(times: Array, levels: Array, noise: float) -> tuple[float, float]:
    """From the lowest to the highest that is told of; a wild file must not flatten the others."""
    low, high = np.quantile(times, (0.005, 0.995))
    low = min(low, levels.min() * np.exp(-2.0 * BAND * noise))
    high = max(high, levels.max() * np.exp(2.0 * BAND * noise))
    low, high = max(low, levels.min() / 1.5), min(high, 1.5 * levels.max())
    return low - 0.05 * (high - low), high + 0.3 * (high - low)  # the labels' room


def _name(history: History) -> str:
    key = history.series.key
    threads = f", {key.threads} threads" if key.threads > 1 else ""
    return f"{key.implementation}, {key.workload}, batch {key.batch_size:,}{threads}"


def _colour(change: Change) -> str:
    return SLOWER if change.verdict == "slower" else FASTER


def _handles() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=COLOURS[0], marker=".", linestyle="", label="one file"),
        Patch(color=TRUTH, alpha=0.3, linewidth=0.0, label="level ± 2 s.d."),
        Line2D([], [], color=SLOWER, linewidth=0.8, label="slower"),
        Line2D([], [], color=FASTER, linewidth=0.8, label="faster"),
    ]
