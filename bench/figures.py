"""Results -> matplotlib's figures, each one column of a paper wide."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.looks import COLOURS, TRUTH, WIDTH_INCHES, look
from bench.prediction_figures import answers, best_worst
from bench.scaling import Against
from bench.scaling_figures import scaling
from bench.schema import Case, Result
from bench.summary import PREDICTORS, ThroughputRow, throughput_rows
from tasks.task import Array

_FLOORS = {"recurrence": "exact recurrence, float32", "rotation": "exact rotation, float32"}
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
        case: the one that one of `bench.prediction_figures` is of.
        files: in the format of their suffix.
        stamp: tells what it was drawn from.
        lines: the workload of `bench.scaling_figures.scaling`, and over which size.

    Raises:
        OSError: a file cannot be written.
    """
    with mpl.rc_context(STYLE):
        write(drawn(name, result, case, lines=lines), files, stamp)


def drawn(
    name: str, result: Result, case: Case | None, *, lines: tuple[str, Against] | None = None
) -> Figure:
    """A figure by its name, as `save` is told it; the house style must be on."""
    if lines:
        return scaling(result, *lines)
    return _OF_CASE[name](result, case) if case else _OF_ALL[name](result)


def write(figure: Figure, files: Iterable[Path], stamp: str) -> None:
    """Write a figure down, ``stamp`` in its metadata; the house style must be on.

    Raises:
        OSError: a file cannot be written.
    """
    for file in files:
        metadata = {"Description": stamp}
        if file.suffix == ".svg":
            metadata["Date"] = None  # type: ignore[assignment]
        figure.savefig(file, metadata=metadata)


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
    title = f"{result.config.task}, recipe {result.config.recipe}"
    axes.set_title(title, loc="left", parse_math=False)  # names can be anybody's
    axes.legend()
    return figure


def error_growth(result: Result) -> Figure:
    """Mean squared error at each step that is judged, the trivial predictors' beside it."""
    figure, axes = _single(1.25)
    first = result.config.evaluation.warm_up
    forced = _after(first)
    for number, case in enumerate(result.cases):
        if not case.accuracy:
            continue
        errors = case.accuracy.mse_per_step
        if own := case.accuracy.forced_steps:  # such a task is judged to its end
            steps_in_all = len(case.accuracy.best.target)
            first = steps_in_all - len(errors)
            forced = "of each step, all forced" if own >= steps_in_all else _after(own)
        colour, style = look(number)
        steps = np.arange(first, first + len(errors))
        axes.plot(steps, errors, style, color=colour, label=_label(case, result))
    # The most modest and the last, which is the floor where there is one: more lines hide the rest.
    found = list((result.baselines or {}).items())
    looks = ((":", TRUTH), ("-", "#AAAAAA"))
    for (name, baseline), (line, colour) in zip([*found[:1], *found[1:][-1:]], looks, strict=False):
        steps = np.arange(first, first + len(baseline.mse_per_step))
        label = _FLOORS.get(name, PREDICTORS.get(name, name))
        axes.plot(steps, baseline.mse_per_step, line, color=colour, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("MSE over the sequences")
    axes.set_title(f"error {forced}", loc="left")
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


def _single(ratio: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, WIDTH_INCHES / 1.618 * ratio), layout="constrained")
    return figure, figure.subplots()


def _after(forced_steps: int) -> str:
    return f"after {forced_steps} forced step" + "s" * (forced_steps > 1)


def _label(case: Case, result: Result) -> str:
    size = f", H={case.model.hidden_size}" if len(result.config.hidden_sizes) > 1 else ""
    return f"{case.implementation}, {case.device}{size}"


_OF_CASE = {"best_worst": best_worst, "answers": answers}
_OF_ALL = {
    "training_loss": training_loss,
    "error_growth": error_growth,
    "throughput": throughput,
}
