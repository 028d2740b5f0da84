"""Does the gradient vanish, or explode? Its norm against distance, through training.

Each cell trains from one of the starts, with or without clipping, and at several checkpoints
measures dL_T/dh_t, the loss that of the last step alone, on sequences of its own: once with every
step forced, where W_hh alone carries a state on, and once running free, where the prediction that
is fed back carries it too. Beside it the spectral radius of either matrix, and the norms of the
gradients that the training itself met, before they were clipped.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.render import Table
from bench.studies import words
from bench.studies.schema import Cell, StudyConfig, StudyResult, Values
from bench.studies.spread import spread
from bench.studies.study import Axis, Study, Tick, in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from impls.config import InitName

from bench.words import percent as in_percent
from tasks import TASKS

# The lecture's own start, whose gradient vanishes; one that keeps it; one that explodes.
STARTS: "dict[str, tuple[InitName, float]]" = {
    "uniform": ("uniform", 1.0),
    "orthogonal": ("orthogonal", 1.0),
    "normal_x2": ("normal", 2.0),
}
STARTS_IN_WORDS = {"uniform": "uniform", "orthogonal": "orthogonal", "normal_x2": "normal x 2"}
CHECKPOINTS = (0, 10, 33, 100)  # percent of the iterations
PATHS = ("forced", "free")
WARM_UP, DISTANCES, SEQUENCES, DATA_SEED = 100, 200, 16, 2000
LOWEST = 1e-12  # of a panel
TOLD = (10, 50, 100)  # distances in the table

MEASURES = (
    *(f"{path}_{percent}" for percent in CHECKPOINTS for path in PATHS),
    *(f"radius_{path}_{percent}" for percent in CHECKPOINTS for path in PATHS),
    "norm_median",
    "norm_largest",
    "above_one",
    "training_loss",
    "diverged_at",
)


def measure(cell: Cell, config: StudyConfig, tick: Tick) -> Values:
    """Train from one start, and look at the gradient at every checkpoint.

    A training that diverges is an answer: what was seen until then is kept.
    """
    from bench.studies import trained
    from bench.studies.checkpoints import Checkpoints
    from bench.training import DivergedError, restart

    init, gain = STARTS[str(cell.settings["start"])]
    clip: Any = cell.settings["clip"]
    iterations: Any = cell.settings["iterations"]
    how = trained.recipe(config, init=init, init_gain=gain, clip_norm=clip)
    model = trained.created(config, cell.seed)
    restart(model, init, cell.seed, gain)  # as the training will, for the first checkpoint
    due = {at: -(-iterations * at // 100) for at in CHECKPOINTS}
    steps = WARM_UP + DISTANCES
    paths = {"forced": [True] * steps, "free": [True] * WARM_UP + [False] * DISTANCES}
    sequences = TASKS[config.task].draw(np.random.default_rng(DATA_SEED), SEQUENCES, steps + 1)
    seen = Checkpoints(model, sequences, paths, DISTANCES, due)
    found: Values = dict.fromkeys(MEASURES)
    try:
        found["training_loss"] = trained.train_cell(model, cell, config, seen.ticking(tick), how)
    except DivergedError as error:
        found["diverged_at"] = float(error.iteration)
    return found | seen.values()


def tables(result: StudyResult) -> dict[str, Table]:
    """The gradient by distance at every checkpoint, and the norms that the training met."""
    return {"distance": _distance_table(result), "training": _training_table(result)}


def _distance_table(result: StudyResult) -> Table:
    return Table(
        title="dL_T/dh_t by distance T - t, over that at distance 0",
        columns=(
            "start", "clip", "iterations", "at", "radius", *(f"{d} back" for d in TOLD),
            "radius, free", *(f"{d} back, free" for d in TOLD),
        ),
        sections=tuple(
            tuple(_distance_row(result, settings, percent) for percent in CHECKPOINTS)
            for settings in _points(result)
        ),
        notes=(
            "Geometric means over the seeds. L_T: squared error of the last step alone; median "
            f"over {SEQUENCES} sequences of the task. radius: spectral radius of W_hh; every step "
            "forced. free: of W_hh + W_ih V, the loop closed; no step forced in between. at: "
            "percent of the iterations.",
            *words.lost_notes(result),
        ),
    )  # fmt: skip


def _distance_row(result: StudyResult, settings: dict[str, Any], percent: int) -> tuple[str, ...]:
    cells: list[str] = []
    for path in PATHS:
        radius, _ = words.spread_at(result, f"radius_{path}_{percent}", **settings)
        cells.append(words.brief(radius, 0))
        curves = result.curves(f"{path}_{percent}", **settings)
        for distance in TOLD:
            found = spread([curve[distance] / curve[0] for curve in curves if curve[0] > 0.0])
            cells.append(f"{found.mean:.1e}" if found else words.NOTHING)
    return (*_named(settings), f"{percent}%", *cells)


def _training_table(result: StudyResult) -> Table:
    rows = tuple(_training_row(result, settings) for settings in _points(result))
    return Table(
        title="What the training met",
        columns=(
            "start", "clip", "iterations", "median norm", "largest norm", "above 1",
            "training loss", "low", "high", "seeds", "diverged",
        ),
        sections=(rows,),
        notes=(
            "norm: of the gradient of an iteration by all weights, before it was clipped; above "
            "1: how many iterations had a larger one. training loss: geometric mean over the "
            "seeds of the last twentieth of the iterations, with its 95% interval.",
            *words.lost_notes(result),
        ),
    )  # fmt: skip


def _training_row(result: StudyResult, settings: dict[str, Any]) -> tuple[str, ...]:
    norms = [
        words.spread_at(result, name, **settings)[0] for name in ("norm_median", "norm_largest")
    ]
    above = result.values("above_one", **settings)
    loss, ran = words.spread_at(result, "training_loss", **settings)
    return (
        *_named(settings),
        *(words.number(found.mean if found else None) for found in norms),
        in_percent(sum(above) / len(above) if above else None),
        *(
            words.number(value)
            for value in (loss and loss.mean, loss and loss.low, loss and loss.high)
        ),
        f"{len(loss.values) if loss else 0} of {ran}",
        str(len(result.values("diverged_at", **settings))),
    )


def _points(result: StudyResult) -> tuple[dict[str, Any], ...]:
    return STUDY.grid(result.config.axes)  # type: ignore[return-value]


def _named(settings: dict[str, Any]) -> tuple[str, str, str]:
    clip = settings["clip"]
    return (
        settings["start"],
        "off" if clip is None else in_words(clip),
        f"{settings['iterations']:,}",
    )


def figures(result: StudyResult) -> "dict[str, Figure]":
    """``forced`` and ``free``: norm against distance, a panel a start and clipping."""
    return {path: _distances(result, path) for path in PATHS}


def _distances(result: StudyResult, path: str) -> "Figure":
    """A line a checkpoint; what falls below the panel is not drawn."""
    from matplotlib.figure import Figure

    from bench.looks import COLOURS, STYLES, WIDTH_INCHES
    from bench.studies import drawing

    axes_of = result.config.axes
    starts, clips = axes_of["start"], axes_of["clip"]
    figure = Figure(figsize=(2 * WIDTH_INCHES, 1.7 * len(clips) + 0.5), layout="constrained")
    grid = figure.subplots(len(clips), len(starts), sharex=True, sharey=True, squeeze=False)
    iterations = axes_of["iterations"][-1]
    for row, clip in zip(grid, clips, strict=True):
        for axes, start in zip(row, starts, strict=True):
            for number, percent in enumerate(CHECKPOINTS):
                settings = {"start": start, "clip": clip, "iterations": iterations}
                curves = _relative(result.curves(f"{path}_{percent}", **settings))
                label = f"after {iterations * percent // 100:,} iterations"
                look = COLOURS[number], STYLES[number % len(STYLES)]
                drawing.curves(axes, range(DISTANCES + 1), curves, *look, label)
            axes.axhline(1.0, color="#BBBBBB", linewidth=0.5, zorder=0)
            said = "no clipping" if clip is None else f"clipped at {in_words(clip)}"
            axes.set_title(f"{STARTS_IN_WORDS[str(start)]}, {said}", loc="left")
    grid[0, 0].set_yscale("log")
    grid[0, 0].set_ylim(*_limits(grid))
    for axes in grid[-1]:
        axes.set_xlabel("distance T - t")
    for axes in grid[:, 0]:
        axes.set_ylabel("|dL_T/dh_t| / |dL_T/dh_T|")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _relative(curves: list[tuple[float, ...]]) -> list[list[float]]:
    return [[value / curve[0] for value in curve] for curve in curves if curve[0] > 0.0]


def _limits(grid: Any) -> tuple[float, float]:
    """From what single precision would still tell from nothing, to the largest."""
    drawn = [line.get_ydata() for axes in grid.flat for line in axes.lines]
    values = np.concatenate([np.asarray(each, float) for each in drawn])
    return LOWEST, max(10.0, min(1e30, 3.0 * float(values.max())))


STUDY = Study(
    question="Do gradients vanish or explode?",
    axes={
        "start": Axis("where the matrices start from", tuple(STARTS), known=tuple(STARTS)),
        "clip": Axis("largest norm of a gradient", (1.0, None), least=0.0),
        "iterations": Axis("of the training", (1000,)),
    },
    measures=MEASURES,
    measure=measure,
    tables=tables,
    figures=figures,
)
