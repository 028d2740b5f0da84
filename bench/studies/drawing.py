"""What the studies' figures share: every seed a faint dot, mean and interval plainly."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.looks import WIDTH_INCHES, look
from bench.studies.schema import StudyResult
from bench.studies.spread import Spread, spread

# Narrow: they stand beside the panel.
TRIVIAL = {"zero": "always\nzero", "repeat": "last\nvalue", "recurrence": "recur-\nrence"}
DARK = "#444444"


def single(ratio: float = 1.2) -> tuple[Figure, Axes]:
    """A figure of one panel, one column wide; a higher ``ratio`` makes it higher."""
    figure = Figure(figsize=(WIDTH_INCHES, WIDTH_INCHES / 1.618 * ratio), layout="constrained")
    return figure, figure.subplots()


def panels(count: int, height: float = 1.6) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels above each other, each so many inches high."""
    size = (WIDTH_INCHES, height * count + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])


def series(
    axes: Axes,
    positions: Sequence[float],
    spreads: Sequence[Spread | None],
    number: int,
    label: str | None = None,
    *,
    joined: bool = True,
) -> None:
    """One line of a panel: its look is that of ``number``.

    Args:
        axes: the panel.
        positions: where each spread is, on the horizontal axis.
        spreads: one a position; None leaves a gap.
        number: names colour and dash.
        label: for the legend.
        joined: whether a line goes through the means; names have no order.
    """
    colour, style = look(number)
    there = [(x, found) for x, found in zip(positions, spreads, strict=True) if found]
    for x, found in there:
        axes.plot(
            [x] * len(found.values),
            found.values,
            "o",
            color=colour,
            alpha=0.3,
            markersize=3,
            markeredgewidth=0,
        )
        if found.low is not None:
            axes.vlines(x, found.low, found.high or found.low, color=colour, linewidth=0.8)
    axes.plot(
        [x for x, _ in there],
        [found.mean for _, found in there],
        linestyle=style if joined else "none",
        marker="_",
        markersize=7,
        color=colour,
        label=label,
    )


def curves(
    axes: Axes,
    positions: Sequence[float],
    found: Sequence[Sequence[float]],
    colour: str,
    style: str = "-",
    label: str | None = None,
) -> None:
    """Curves of several seeds: each faintly, their geometric mean and its 95 % band plainly.

    Args:
        axes: the panel.
        positions: of the longest curve.
        found: a curve a seed; the mean goes as far as all of them do.
        colour: of all.
        style: dash of the mean.
        label: for the legend.
    """
    for curve in found:
        axes.plot(positions[: len(curve)], curve, color=colour, alpha=0.3, linewidth=0.4)
    spreads = [each for each in (spread(values) for values in zip(*found, strict=False)) if each]
    there = positions[: len(spreads)]
    axes.plot(there, [each.mean for each in spreads], style, color=colour, label=label)
    lows = [each.mean if each.low is None else each.low for each in spreads]
    highs = [each.mean if each.high is None else each.high for each in spreads]
    axes.fill_between(there, lows, highs, color=colour, alpha=0.15, linewidth=0)


def places(axes: Axes, names: Sequence[str]) -> None:
    """A horizontal axis of names, at 0, 1, 2, ...; every other one shaded."""
    for place in range(1, len(names), 2):
        axes.axvspan(place - 0.5, place + 0.5, color="#F3F3F3", linewidth=0, zorder=0)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(range(len(names)), names)
    axes.tick_params(axis="x", length=0)


def trivial(axes: Axes, result: StudyResult, names: Sequence[str] = ("zero",)) -> None:
    """Dotted lines for what trivial predictors get."""
    for name in names:
        if name in result.trivial:
            mse = result.trivial[name]
            axes.axhline(mse, color=DARK, linestyle=":", linewidth=0.8)
            axes.annotate(
                TRIVIAL.get(name, name),
                (1.0, mse),
                xycoords=("axes fraction", "data"),
                xytext=(2, 0),
                textcoords="offset points",
                va="center",
                fontsize=6,
                color=DARK,
            )


def log_error(axes: Axes, found: Sequence[Spread | None], *more: float) -> None:
    """A log scale that every seed, and each of ``more``, fits; wide intervals are cut there."""
    values = [value for each in found if each for value in each.values] + list(more)
    axes.set_yscale("log")
    if positive := [value for value in values if value > 0.0]:
        axes.set_ylim(min(positive) / 3.0, max(positive) * 3.0)
