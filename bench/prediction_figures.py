"""What a case predicted: its best and its worst sequence, and the answers that it gave to all."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import words
from bench.looks import COLOURS, TRUTH, WIDTH_INCHES
from bench.schema import Case, Result, Trajectory


def best_worst(result: Result, case: Case) -> Figure:
    """The best and the worst prediction of a case against the truth, the warm-up shaded."""
    accuracy = case.accuracy
    if accuracy is None:
        raise ValueError(f"{case.implementation} on {case.device} has no accuracy")
    figure = Figure(figsize=(WIDTH_INCHES, 3.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    forced = accuracy.forced_steps or result.config.evaluation.warm_up
    panels = [
        (upper, "best", accuracy.best, accuracy.mse_best, accuracy.best_index),
        (lower, "worst", accuracy.worst, accuracy.mse_worst, accuracy.worst_index),
    ]
    for axes, word, trajectory, mse, index in panels:
        _trajectory(axes, trajectory, forced, len(accuracy.mse_per_step))
        of = f"{len(accuracy.mse_per_sequence):,}"
        axes.set_title(f"{word} of {of} (no. {index}): MSE {mse:.1e}", loc="left")
        axes.set_ylabel("value")
    # Both have this axis, and a sequence may be shorter than the other.
    lower.set_xlim(0, max(len(accuracy.best.target), len(accuracy.worst.target)))
    lower.xaxis.get_major_locator().set_params(integer=True)
    lower.set_xlabel("step")
    name = words.case(case.key, with_size=len(result.config.hidden_sizes) > 1)
    figure.suptitle(name, fontsize=8, fontweight="bold")
    handles, labels = upper.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def answers(result: Result, case: Case) -> Figure:
    """Predictions against targets, a dot a sequence, the best and the worst marked.

    A panel a feature, of a task that wants one answer of each sequence.
    """
    accuracy = case.accuracy
    if accuracy is None or accuracy.answers is None:
        raise ValueError(f"{case.implementation} on {case.device} has no answers")
    found = accuracy.answers
    width = WIDTH_INCHES * max(0.75, 0.6 * len(found.target))
    figure = Figure(figsize=(width, 0.72 * WIDTH_INCHES), layout="constrained")
    panels = figure.subplots(1, len(found.target), squeeze=False)[0]
    pairs = zip(found.target, found.prediction, strict=True)
    for number, (axes, (target, prediction)) in enumerate(zip(panels, pairs, strict=True)):
        axes.plot(target, prediction, ".", color=COLOURS[0], markersize=1.5, alpha=0.6)
        ends = [min(target), max(target)]
        axes.plot(ends, ends, color=TRUTH, linewidth=0.6)
        for word, index, mark in (
            ("best", accuracy.best_index, "o"),
            ("worst", accuracy.worst_index, "s"),
        ):
            axes.plot(target[index], prediction[index], mark, color=COLOURS[1], mfc="none")
            axes.annotate(
                word, (target[index], prediction[index]), (4, 4), textcoords="offset points"
            )
        axes.set_xlabel("target" if len(panels) == 1 else f"target, feature {number}")
    panels[0].set_ylabel("prediction")
    name = words.case(case.key, with_size=len(result.config.hidden_sizes) > 1)
    title = f"{name}: {result.config.task}, MSE {accuracy.mse_mean:.1e}"
    figure.suptitle(title, fontsize=8, fontweight="bold", parse_math=False)
    return figure


def _trajectory(axes: Axes, trajectory: Trajectory, forced: int, judged: int) -> None:
    """Truth, prediction and, where the file tells it, what was read: faintly, the marked plainly.

    A truth of one step alone is a dot.
    """
    steps = np.arange(len(trajectory.target))
    if forced < len(steps):
        axes.axvspan(0, forced, color="#DDDDDD", linewidth=0, label="warm-up (forced)")
    if trajectory.inputs:
        axes.plot(trajectory.inputs[0], color="#BBBBBB", linewidth=0.6, label="read")
        _marked(axes, trajectory.inputs)
    if judged == 1:
        axes.plot(steps[-1:], trajectory.target[-1:], "o", color=TRUTH, markersize=4, label="truth")
    else:
        start = 0 if trajectory.inputs is None else len(steps) - judged
        axes.plot(
            steps[start:], trajectory.target[start:], color=TRUTH, linewidth=0.8, label="truth"
        )
    axes.plot(steps, trajectory.prediction, "--", color=COLOURS[1], label="prediction")


def _marked(axes: Axes, inputs: tuple[tuple[float, ...], ...]) -> None:
    """The values of the first feature where a marker, which is now 0 and now 1, is 1."""
    if len(inputs) < 2 or set(inputs[1]) != {0.0, 1.0}:
        return
    where = np.flatnonzero(inputs[1])
    axes.plot(where, np.asarray(inputs[0])[where], "^", color=TRUTH, markersize=4, label="marked")
