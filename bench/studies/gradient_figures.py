"""The figures of the study gradients: norms by distance, radii through the training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.looks import COLOURS, STYLES, WIDTH_INCHES
from bench.studies import drawing
from bench.studies.spread import Spread

LOWEST, HIGHEST = 1e-12, 1e24  # of a panel: what lies beyond is cut
GUIDE = "#BBBBBB"
RADII = {"forced": "radius of $W_{hh}$", "free": "radius of $W_{hh} + W_{ih} V$"}


def distances(
    panels: Mapping[str, Sequence[Sequence[Sequence[float]]]], columns: int, after: Sequence[int]
) -> Figure:
    """Norm against distance, a line a checkpoint.

    Args:
        panels: title -> checkpoint -> seed -> the norms at distances 0, 1, 2, ..., over the first.
        columns: panels side by side.
        after: iterations done at each checkpoint.
    """
    rows = len(panels) // columns
    figure = Figure(figsize=(2 * WIDTH_INCHES, 1.7 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (title, checkpoints) in zip(grid.flat, panels.items(), strict=True):
        axes.axhline(1.0, color=GUIDE, linewidth=0.5, zorder=0)
        for number, curves in enumerate(checkpoints):
            steps = range(max(map(len, curves), default=0))
            drawing.curves(
                axes, steps, curves, COLOURS[number], STYLES[number % 4], _said(after[number])
            )
        axes.set_title(title, loc="left")
    grid[0, 0].set_yscale("log")
    grid[0, 0].set_ylim(LOWEST, _highest(panels))
    for axes in grid[-1]:
        axes.set_xlabel("distance $T - t$")
    for axes in grid[:, 0]:
        axes.set_ylabel(r"$|dL_T/dh_t|\;/\;|dL_T/dh_T|$")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def radii(
    found: Mapping[str, Mapping[str, Sequence[Spread | None]]], after: Sequence[int]
) -> Figure:
    """Spectral radius at each checkpoint, a panel a matrix.

    Args:
        found: path -> start and clipping -> checkpoint -> over the seeds.
        after: iterations done at each checkpoint.
    """
    figure, panels = drawing.panels(len(found), 1.7)
    for axes, (path, lines) in zip(panels, found.items(), strict=True):
        axes.axhline(1.0, color=GUIDE, linewidth=0.5, zorder=0)
        for number, (label, spreads) in enumerate(lines.items()):
            beside = 0.1 * (number - (len(lines) - 1) / 2.0)
            drawing.series(axes, [at + beside for at in range(len(after))], spreads, number, label)
        _whole(axes, [each for spreads in lines.values() for each in spreads if each])
        axes.set_ylabel(RADII[path])
        axes.set_xticks(range(len(after)), [f"{each:,}" for each in after])
    panels[-1].set_xlabel("iterations")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _whole(axes: Axes, spreads: Sequence[Spread]) -> None:
    """Every seed is seen; wide intervals are cut."""
    values = [value for each in spreads for value in each.values]
    if values:
        axes.set_ylim(0.9 * min(*values, 1.0), 1.1 * max(*values, 1.0))


def _highest(panels: Mapping[str, Sequence[Sequence[Sequence[float]]]]) -> float:
    drawn = [curve for each in panels.values() for curves in each for curve in curves]
    largest = max((float(np.max(curve)) for curve in drawn), default=1.0)
    return min(HIGHEST, 3.0 * max(1.0, largest))


def _said(iterations: int) -> str:
    return f"after {iterations:,} iterations" if iterations else "at the start"
