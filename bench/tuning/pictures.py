"""A study's figures: what mattered, and how the best error came down."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bench.figures import STYLE
from bench.looks import COLOURS, TRUTH, WIDTH_INCHES
from bench.tuning.outcome import Outcome


def draw_all(outcome: Outcome, folder: Path) -> None:
    """Write down, as PNG and SVG, what the study has data for.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(exist_ok=True)
    figures = {"history": history} if outcome.best else {}
    if outcome.importances:
        figures["importances"] = importances
    with mpl.rc_context(STYLE):
        for name, draw in figures.items():
            figure = draw(outcome)
            for kind in ("png", "svg"):
                metadata = {"Date": None} if kind == "svg" else {}
                figure.savefig(folder / f"{name}.{kind}", metadata=metadata)


def importances(outcome: Outcome) -> Figure:
    """A bar a hyperparameter, the one that matters most on top."""
    names, shares = list(outcome.importances), list(outcome.importances.values())
    figure = Figure(figsize=(WIDTH_INCHES, 0.17 * len(names) + 0.6), layout="constrained")
    axes = figure.subplots()
    axes.barh([name.replace("_", " ") for name in names], shares, color=COLOURS[0], height=0.7)
    for number, share in enumerate(shares):
        axes.text(share, number, f" {share:.0%}", va="center", fontsize=6.5)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.15 * max(shares))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("importance (PED-ANOVA)")
    axes.set_title(f"{outcome.task}: {outcome.complete} judged trials", loc="left")
    return figure


def history(outcome: Outcome) -> Figure:
    """Every judged trial's error, those given up at the top edge, and the best so far."""
    figure = Figure(figsize=(WIDTH_INCHES, WIDTH_INCHES / 1.618), layout="constrained")
    axes = figure.subplots()
    judged = [(point.trial, point.mse) for point in outcome.points if point.mse is not None]
    given_up = [point.trial for point in outcome.points if point.mse is None]
    trials, errors = (np.array(values) for values in zip(*judged, strict=True))
    axes.plot(trials, errors, "o", color=COLOURS[0], markersize=2.5, label="trial")
    axes.plot(
        trials,
        np.minimum.accumulate(errors),
        color=COLOURS[1],
        drawstyle="steps-post",
        label="best so far",
    )
    if given_up:
        top = axes.get_xaxis_transform()  # of these there is no error to show
        axes.plot(
            given_up, np.full(len(given_up), 0.98), "x", color=TRUTH, markersize=3,
            transform=top, label="given up",
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("trial")
    axes.set_ylabel("validation MSE")
    figure.legend(loc="outside upper center", ncols=3)
    return figure
