"""Small multiples of how the implementations scale: log-log, axes shared, a panel a size."""

from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.looks import WIDTH_INCHES, legend_handles, look
from bench.scaling import Against, Panel, panels
from bench.schema import Result

# Two columns of a paper; a panel of its own takes one.
FULL_WIDTH_INCHES = 2 * WIDTH_INCHES
PANELS_A_ROW = 4
LIMIT = "#999999"
MOST_LABELS = 5


def scaling(result: Result, workload: str, over: Against) -> Figure:
    """Time of one step of the whole batch; bands are 95 % intervals, grey is the machine's limit.

    Each implementation is at its best count of threads.
    """
    found = panels(result, workload, over)
    columns = min(PANELS_A_ROW, len(found))
    rows = ceil(len(found) / columns)
    width = WIDTH_INCHES if columns == 1 else FULL_WIDTH_INCHES
    figure = Figure(figsize=(width, 1.75 * rows + 0.75), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for panel in found for name in panel.lines))
    looks = {name: look(number) for number, name in enumerate(names)}
    several_devices = len({device for _, device in names}) > 1
    for number, axes in enumerate(grid.flat):
        if number >= len(found):
            axes.remove()
            continue
        _draw(axes, found[number], looks, several_devices=several_devices)
        fixed = found[number].fixed
        axes.set_title(f"H = {fixed}" if over == "batch size" else f"batch {fixed:,}", loc="left")
        # Nobody is beneath: the shared axis would go without its numbers here.
        if number + columns >= len(found):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("batch size B" if over == "batch size" else "hidden size H")
    points = [point for panel in found for line in panel.lines.values() for point in line]
    _ticks(grid[0, 0], sorted({point.x for point in points}))
    # An interval of two processes that differ wildly must not flatten all lines.
    heights = [point.microseconds for point in points]
    heights += [floor for panel in found for _, floor in panel.limit]
    grid[0, 0].set_ylim(min(heights) / 1.5, max(heights) * 1.5)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"{workload}: µs per step")
    handles = legend_handles(figure)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center",
        ncols=2 if columns == 1 else 5, handlelength=2.8,
    )  # fmt: skip
    return figure


def _draw(
    axes: Axes,
    panel: Panel,
    looks: dict[tuple[str, str], tuple[str, str]],
    *,
    several_devices: bool,
) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(visible=True, which="major", linewidth=0.3, color="#E5E5E5")
    axes.set_axisbelow(True)
    for name, points in panel.lines.items():
        colour, style = looks[name]
        xs = [point.x for point in points]
        lows, highs = [point.low for point in points], [point.high for point in points]
        axes.fill_between(xs, lows, highs, color=colour, alpha=0.18, linewidth=0)
        label = f"{name[0]}, {name[1]}" if several_devices else name[0]
        times = [point.microseconds for point in points]
        axes.plot(xs, times, style, color=colour, marker="o", markersize=2.2, label=label)
    if panel.limit:  # last, for the legend; beneath the others
        xs, floors = [x for x, _ in panel.limit], [floor for _, floor in panel.limit]
        axes.plot(xs, floors, color=LIMIT, linewidth=0.7, zorder=1, label="limit of this machine")


def _ticks(axes: Axes, xs: list[int]) -> None:
    """A tick at every size that was timed; where they are many, every other has its number."""
    every = ceil(len(xs) / MOST_LABELS)
    labels = [f"{x:,}" if number % every == 0 else "" for number, x in enumerate(xs)]
    axes.set_xticks(xs, labels)
    axes.minorticks_off()
    axes.xaxis.minorticks_off()
    axes.yaxis.set_major_formatter("{x:,g}")
