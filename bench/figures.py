"""Results -> matplotlib's figures, each one column of a paper wide."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import words
from bench.looks import COLOURS, WIDTH_INCHES, look
from bench.scaling import Against
from bench.scaling_figures import scaling
from bench.schema import Case, Result, Trajectory
from bench.summary import ThroughputRow, throughput_rows
from tasks.task import Array

TRUTH = "#444444"
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "savefig.dpi": 300,
    "svg.hashsalt": "rnn-bench",  # the same file gives the same bytes
}


def save(
    name: str,
    result: Result,
    case: Case | None,
    files: Iterable[Path],
    stamp: str,
    *,
    lines: tuple[str, Against] | None = None,
) -> None:
    """Draw one and write it down, ``stamp`` in its metadata.

    Args:
        name: of one of the functions below.
        result: what to draw.
        case: the one that `best_worst` is of.
        files: in the format of their suffix.
        stamp: tells what it was drawn from.
        lines: the workload of `bench.scaling_figures.scaling`, and over which size.

    Raises:
        OSError: a file cannot be written.
    """
    with mpl.rc_context(STYLE):
        if lines:
            figure = scaling(result, *lines)
        else:
            figure = best_worst(result, case) if case else _OF_ALL[name](result)
        write(figure, files, stamp)


def write(figure: Figure, files: Iterable[Path], stamp: str) -> None:
    """Write a figure down, ``stamp`` in its metadata; the house's style must be on.

    Raises:
        OSError: a file cannot be written.
    """
    for file in files:
        metadata = {"Description": stamp}
        if file.suffix == ".svg":
            metadata["Date"] = None  # type: ignore[assignment]
        figure.savefig(file, metadata=metadata)


def best_worst(result: Result, case: Case) -> Figure:
    """The best and the worst prediction of a case against the truth, the warm-up shaded."""
    accuracy = case.accuracy
    if accuracy is None:
        raise ValueError(f"{case.implementation} on {case.device} has no accuracy")
    figure = Figure(figsize=(WIDTH_INCHES, 3.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    warm_up = result.config.evaluation.warm_up
    panels = [
        (upper, "best", accuracy.best, accuracy.mse_best, accuracy.best_index),
        (lower, "worst", accuracy.worst, accuracy.mse_worst, accuracy.worst_index),
    ]
    for axes, word, trajectory, mse, index in panels:
        _trajectory(axes, trajectory, warm_up)
        of = f"{len(accuracy.mse_per_sequence):,}"
        axes.set_title(f"{word} of {of} (no. {index}): MSE {mse:.1e}", loc="left")
        axes.set_ylabel("value")
    lower.set_xlabel("step")
    name = words.case(case.key, with_size=len(result.config.hidden_sizes) > 1)
    figure.suptitle(name, fontsize=8, fontweight="bold")
    handles, labels = upper.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def training_loss(result: Result) -> Figure:
    """Loss by iteration: every iteration faintly, its running median plainly."""
    figure, axes = _single(1.1)
    for number, case in enumerate(result.cases):
        if not case.training:
            continue
        loss = np.asarray(case.training.loss)
        width = max(1, len(loss) // 50)
        middle = np.lib.stride_tricks.sliding_window_view(loss, width)
        colour, style = look(number)
        axes.plot(loss, color=colour, alpha=0.15, linewidth=0.4)
        centre = np.arange(len(middle)) + (width - 1) / 2
        axes.plot(
            centre, np.median(middle, axis=1), style, color=colour, label=_label(case, result)
        )
    axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.set_ylabel("training loss (MSE)")
    axes.set_title(f"{result.config.task}, recipe {result.config.recipe}", loc="left")
    axes.legend()
    return figure


def error_growth(result: Result) -> Figure:
    """Mean squared error at each free-running step."""
    figure, axes = _single(1.25)
    first = result.config.evaluation.warm_up
    for number, case in enumerate(result.cases):
        if not case.accuracy:
            continue
        errors = case.accuracy.mse_per_step
        colour, style = look(number)
        steps = np.arange(first, first + len(errors))
        axes.plot(steps, errors, style, color=colour, label=_label(case, result))
    if result.baselines:
        zero, floor = result.baselines.zero.mse_per_step, result.baselines.recurrence.mse_per_step
        steps = np.arange(first, first + len(zero))
        axes.plot(steps, zero, ":", color=TRUTH, label="always zero")
        axes.plot(steps, floor, "-", color="#AAAAAA", label="exact recurrence, float32")
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("MSE over the sequences")
    axes.set_title(f"error after {first} forced steps", loc="left")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def throughput(result: Result) -> Figure:
    """One panel a workload and batch size, from zero: bars are estimates, lines 95 % intervals.

    Of several counts of threads each implementation is shown at its best.

    An interval that reaches beyond its bar by more than the longest bar is cut there.
    """
    rows = [row for row in throughput_rows(result) if row.best]
    groups = list(dict.fromkeys(row.group for row in rows))
    bars = max(sum(row.group == group for row in rows) for group in groups)
    height = len(groups) * (0.17 * bars + 0.42) + 0.3
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    # By implementation, for one may have no row in some panels.
    names = dict.fromkeys((case.implementation, case.device) for case in result.cases)
    colours = {name: look(number)[0] for number, name in enumerate(names)}
    several = len(result.config.threads) > 1
    for axes, group in zip(panels, groups, strict=True):
        there = [row for row in rows if row.group == group]
        _bars(axes, there, [colours[row.implementation, row.device] for row in there], several)
        workload, hidden_size, batch_size = group
        size = f", H={hidden_size}" if len(result.config.hidden_sizes) > 1 else ""
        axes.set_title(f"{workload}, batch {batch_size:,}{size}", loc="left")
    panels[-1].set_xlabel("thousand sequence-steps per second")
    return figure


def save_continuation(given: Array, predicted: Array, truth: Array | None, file: Path) -> None:
    """Draw a wave and how weights go on with it, a panel a feature.

    Args:
        given: (K, I) points.
        predicted: (N, I) points after them.
        truth: (N, I), or None where nobody knows.
        file: in the format of its suffix.

    Raises:
        OSError: the file cannot be written.
    """
    with mpl.rc_context(STYLE):
        features = given.shape[1]
        height = WIDTH_INCHES / 1.618 * (0.5 + 0.5 * features)
        figure = Figure(figsize=(2 * WIDTH_INCHES, height), layout="constrained")
        panels = figure.subplots(features, sharex=True, squeeze=False)[:, 0]
        before, after = np.arange(len(given)), len(given) + np.arange(len(predicted))
        for feature, axes in enumerate(panels):
            axes.axvspan(0, len(given), color="#DDDDDD", linewidth=0, label="given")
            axes.plot(before, given[:, feature], color=TRUTH, linewidth=0.8)
            if truth is not None:  # from the last given point on, lest there be a gap
                joined = np.concatenate([given[-1:, feature], truth[:, feature]])
                axes.plot(
                    after[0] - 1 + np.arange(len(joined)),
                    joined,
                    color=TRUTH,
                    linewidth=0.8,
                    label="truth",
                )
            axes.plot(after, predicted[:, feature], "--", color=COLOURS[1], label="prediction")
            axes.set_ylabel("value" if features == 1 else f"feature {feature}")
            axes.set_xlim(0, len(given) + len(predicted))
        panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
        panels[-1].set_xlabel("step")
        figure.savefig(file)


def _bars(axes: Axes, rows: list[ThroughputRow], colours: list[str], several_threads: bool) -> None:
    names = [
        f"{row.implementation}, {row.device}" + f", {row.threads} thr." * several_threads
        for row in rows
    ]
    rates = np.array([row.steps_per_second for row in rows]) / 1e3
    # One process alone has no interval, and so no line. A wild one must not shrink all bars.
    low = rates - np.array([row.low or row.steps_per_second for row in rows]) / 1e3
    high = np.array([row.high or row.steps_per_second for row in rows]) / 1e3 - rates
    high = np.minimum(high, rates.max())
    line = {"elinewidth": 0.8, "ecolor": "black"}
    axes.barh(names, rates, color=colours, xerr=[low, high], capsize=1.5, error_kw=line, height=0.7)
    for number, rate in enumerate(rates):
        text = f" {rate:,.3g}" if rate < 1000 else f" {rate:,.0f}"
        axes.text(rate + high[number], number, text, va="center", fontsize=6.5)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * float((rates + high).max()))
    axes.xaxis.set_major_formatter("{x:,.4g}" if (rates + high).max() < 1000 else "{x:,.0f}")
    axes.tick_params(axis="y", length=0)


def _trajectory(axes: Axes, trajectory: Trajectory, warm_up: int) -> None:
    steps = np.arange(len(trajectory.target))
    axes.axvspan(0, warm_up, color="#DDDDDD", linewidth=0, label="warm-up (forced)")
    axes.plot(steps, trajectory.target, color=TRUTH, linewidth=0.8, label="truth")
    axes.plot(steps, trajectory.prediction, "--", color=COLOURS[1], label="prediction")
    axes.set_xlim(0, len(steps))


def _single(ratio: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, WIDTH_INCHES / 1.618 * ratio), layout="constrained")
    return figure, figure.subplots()


def _label(case: Case, result: Result) -> str:
    size = f", H={case.model.hidden_size}" if len(result.config.hidden_sizes) > 1 else ""
    return f"{case.implementation}, {case.device}{size}"


_OF_ALL = {
    "training_loss": training_loss,
    "error_growth": error_growth,
    "throughput": throughput,
}
