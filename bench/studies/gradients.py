"""Does the gradient vanish, or explode? Its norm against distance, through training.

Each cell trains from one of the starts, with or without clipping, and at several checkpoints
measures dL_T/dh_t, the loss that of the last step alone, on sequences of its own: once with every
step forced, where W_hh alone carries a state on, and once running free, where the prediction that
is fed back carries it too. Beside it the spectral radius of either matrix, and the norms of the
gradients that the training itself met, before they were clipped.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.render import Row, Table
from bench.studies import words
from bench.studies.schema import (
    Axes,
    Cell,
    Setting,
    Settings,
    StudyConfig,
    StudyResult,
    Values,
)
from bench.studies.spread import spread
from bench.studies.study import Axis, Study, Tick, in_words, product
from bench.words import NOTHING
from bench.words import percent as in_percent
from tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from impls.config import InitName

# The lecture's own start, whose gradient vanishes; one that keeps it; one that explodes.
STARTS: "dict[str, tuple[InitName, float]]" = {
    "uniform": ("uniform", 1.0),
    "orthogonal": ("orthogonal", 1.0),
    "normal_x2": ("normal", 2.0),
}
CHECKPOINTS = (0, 10, 33, 100)  # percent of the iterations
PATHS = ("forced", "free")
WARM_UP, DISTANCES, SEQUENCES, DATA_SEED = 100, 200, 16, 2000
NORMS = ("norm_median", "norm_largest")
TOLD = (10, 50, 100)  # distances in the table

MEASURES = (
    *(f"{path}_{percent}" for percent in CHECKPOINTS for path in PATHS),
    *(f"radius_{path}_{percent}" for percent in CHECKPOINTS for path in PATHS),
    *NORMS,
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
    due = {percent: _after(iterations, percent) for percent in CHECKPOINTS}
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
    """``forced`` and ``free``: by distance at each checkpoint; ``training``: the norms it met."""
    return {path: _distance_table(result, path) for path in PATHS} | {
        "training": _training_table(result)
    }


def _distance_table(result: StudyResult, path: str) -> Table:
    """A section a start and clipping, a row a checkpoint."""
    matrix, said = {
        "forced": ("W_hh", "every step forced"),
        "free": ("W_hh + W_ih V", "free steps, the prediction fed back"),
    }[path]
    return Table(
        title=f"How far back a loss is felt, {said}",
        columns=("start", "clip", "iterations", "radius", *(f"{d} back" for d in TOLD)),
        sections=tuple(
            tuple(_distance_row(result, settings, path, percent) for percent in CHECKPOINTS)
            for settings in product(result.config.axes)
        ),
        notes=(
            f"radius: spectral radius of {matrix}, which a step multiplies the state with but for "
            "tanh'. N back: the norm of dL_T/dh_t at distance T - t = N over that at 0, where L_T "
            f"is the squared error of the last step alone; median over {SEQUENCES} sequences. "
            "Geometric means over the seeds, with the 95% interval of the last.",
            *words.lost_notes(result),
        ),
    )


def _distance_row(result: StudyResult, settings: Settings, path: str, percent: int) -> Row:
    radius, _ = words.spread_at(result, f"radius_{path}_{percent}", **settings)
    curves = _relative(result.curves(f"{path}_{percent}", **settings))
    found = [spread([curve[distance] for curve in curves]) for distance in TOLD]
    last, interval = found[-1], ""
    if last and last.low is not None and last.high is not None:
        interval = f" ({last.low:.0e} to {last.high:.0e})"
    means = [f"{each.mean:.1e}" if each else NOTHING for each in found]
    start, clip, iterations = settings["start"], settings["clip"], settings["iterations"]
    return (
        str(start),
        _clip(clip),
        f"{_after(iterations, percent):,}",
        f"{radius.mean:.3f}" if radius else NOTHING,
        *means[:-1],
        means[-1] + interval,
    )


def _training_table(result: StudyResult) -> Table:
    rows = tuple(_training_row(result, settings) for settings in product(result.config.axes))
    return Table(
        title="What the training met",
        columns=(
            "start", "clip", "iterations", "median norm", "largest", "above 1",
            "loss", "low", "high", "seeds", "diverged",
        ),
        sections=(rows,),
        notes=(
            "norm: of the gradient of an iteration by all weights, before it was clipped; "
            "geometric means over the seeds. above 1: iterations with a larger one. loss: of the "
            "last twentieth of the iterations; geometric mean over the seeds, with its interval.",
            *words.lost_notes(result),
        ),
    )  # fmt: skip


def _training_row(result: StudyResult, settings: Settings) -> Row:
    norms = [words.spread_at(result, name, **settings)[0] for name in NORMS]
    above = result.values("above_one", **settings)
    loss, ran = words.spread_at(result, "training_loss", **settings)
    ends = (loss.mean, loss.low, loss.high) if loss else (None, None, None)
    return (
        str(settings["start"]),
        _clip(settings["clip"]),
        f"{settings['iterations']:,}",
        *(words.number(found.mean if found else None) for found in norms),
        in_percent(sum(above) / len(above) if above else None),
        *map(words.number, ends),
        f"{len(loss.values) if loss else 0} of {ran}",
        str(len(result.values("diverged_at", **settings))),
    )


def _clip(value: Setting) -> str:
    return "off" if value is None else in_words(value)


def _after(iterations: Any, percent: int) -> int:
    """Iterations done at a checkpoint."""
    return int(-(-iterations * percent // 100))


def _relative(curves: list[tuple[float, ...]]) -> list[list[float]]:
    return [[value / curve[0] for value in curve] for curve in curves if curve[0] > 0.0]


def figures(result: StudyResult) -> "dict[str, Figure]":
    """``forced`` and ``free``: norm against distance; ``radius``: through the training."""
    from bench.studies import gradient_figures

    axes, found = result.config.axes, {}
    after = [_after(axes["iterations"][-1], percent) for percent in CHECKPOINTS]
    for path in PATHS:
        panels = {
            _titled(settings): [
                _relative(result.curves(f"{path}_{percent}", **settings)) for percent in CHECKPOINTS
            ]
            for settings in _drawn(axes)
        }
        found[path] = gradient_figures.distances(panels, len(axes["start"]), after)
    radii = {
        path: {
            _titled(settings): [
                words.spread_at(result, f"radius_{path}_{percent}", **settings)[0]
                for percent in CHECKPOINTS
            ]
            for settings in _drawn(axes)
        }
        for path in PATHS
    }
    found["radius"] = gradient_figures.radii(radii, after)
    return found


def _drawn(axes: Axes) -> list[Settings]:
    """What has a panel: a row a clipping, a column a start."""
    iterations = axes["iterations"][-1]
    return [
        {"start": start, "clip": clip, "iterations": iterations}
        for clip in axes["clip"]
        for start in axes["start"]
    ]


def _titled(settings: Settings) -> str:
    clip = settings["clip"]
    said = "no clipping" if clip is None else f"clipped at {in_words(clip)}"
    return f"{str(settings['start']).replace('_x', ' x ')}, {said}"


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
