"""How far does a free run keep to the wave? Error, phase and amplitude over 10,000 free steps.

The lecture's model "makes errors finding period": phase and amplitude are told apart, window by
window (`bench.studies.phases`), and the slope of the phase is the error of the period.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.recipes import RECIPES
from bench.render import Table
from bench.studies import words
from bench.studies.phases import Array, Drift, drift, slopes
from bench.studies.schema import Cell, Setting, StudyConfig, StudyResult, Value, Values
from bench.studies.spread import spread
from bench.studies.study import FROM_FILE, Axis, Study, Tick
from bench.words import NOTHING
from tasks.waves import STEP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from impls.generator import Generator

SEQUENCES = 100
TOLD = (100, 1_000, 10_000)  # free steps in the table
CURVES = {
    "mse": "MSE",
    "phase": "phase error (rad)",
    "amplitude": "amplitude error",
}
MEASURES = ("steps", *CURVES, "with_a_wave", "period_error", "period_bias", "in_phase_until",
            "training_loss")  # fmt: skip
PERIOD = 2.0 * np.pi / STEP
QUARTER = np.pi / 2.0  # a wave that far off is no better than none


def measure(cell: Cell, config: StudyConfig, tick: Tick) -> Values:
    """Train, or read weights; run free, and compare with the truth window by window."""
    from bench.studies import trained

    settings: dict[str, Any] = cell.settings
    loss: Value = None
    if settings["recipe"] == FROM_FILE:
        model = trained.from_file(config)
    else:
        how = RECIPES[settings["recipe"]]
        model = trained.created(config, cell.seed)
        iterations = max(1, how.iterations * settings["percent"] // 100)
        loss = trained.train_cell(model, cell, config, tick, how, iterations=iterations)
    found = compared(model, config, settings["free_steps"])
    return found | {"training_loss": loss}


def compared(model: "Generator", config: StudyConfig, free_steps: int) -> Values:
    """How far a free run of a trained model is from the truth.

    Raises:
        NotFiniteError: a prediction was not finite.
    """
    from bench import evaluation
    from bench.config import EvaluationConfig
    from tasks import TASKS

    warm_up = config.evaluation.warm_up
    wanted = EvaluationConfig(
        seed=config.evaluation.seed,
        sequences=min(SEQUENCES, config.evaluation.sequences),
        points=warm_up + free_steps + 1,
        warm_up=warm_up,
    )
    sequences = evaluation.test_set(TASKS[config.task], wanted)
    forced = evaluation.forcing(sequences, wanted)
    predictions = evaluation.predict(model, sequences.inputs, forced)
    if not np.isfinite(predictions).all():
        raise evaluation.NotFiniteError("a prediction of the free run is not finite")
    return summed_up(drift(predictions[warm_up:, :, 0], sequences.targets[warm_up:, :, 0], STEP))


def summed_up(found: Drift) -> Values:
    """Curves over the windows and numbers, over all sequences; of those with a wave the medians.

    A curve of phases ends where fewer than half have one.
    """
    there = np.isfinite(found.phase_error)
    share = there.mean(axis=1)
    kept = int(np.logical_and.accumulate(share >= 0.5).sum())
    phase = np.abs(found.phase_error)
    ahead = slopes(found.steps, found.phase_error)
    ahead = ahead[np.isfinite(ahead)]
    period = STEP / (STEP + ahead) - 1.0
    return {
        "steps": tuple(found.steps.tolist()),
        "mse": tuple(found.squared_error.mean(axis=1).tolist()),
        "phase": tuple(np.nanmedian(phase[:kept], axis=1).tolist()),
        "amplitude": tuple(np.median(np.abs(found.amplitude_error), axis=1).tolist()),
        "with_a_wave": tuple(share.tolist()),
        "period_error": float(np.median(np.abs(period))) if len(period) else None,
        "period_bias": float(np.median(period)) if len(period) else None,
        "in_phase_until": float(np.median(_in_phase_until(found))),
    }


def _in_phase_until(found: Drift) -> Array:
    """For each sequence, the last window's step before it was a quarter off or lost its wave."""
    good = np.abs(found.phase_error) < QUARTER  # not where it is NaN
    windows = np.logical_and.accumulate(good, axis=0).sum(axis=0)
    until: Array = np.concatenate([[0.0], found.steps])[windows]
    return until


def tables(result: StudyResult) -> dict[str, Table]:
    """The errors after so many free steps; and the period."""
    return {"horizon": _horizon_table(result), "period": _period_table(result)}


def _horizon_table(result: StudyResult) -> Table:
    """A section a recipe, a row a number of free steps."""
    sections = tuple(
        tuple(_at(result, recipe, free_steps, told) for told in TOLD if told <= free_steps)
        for recipe in result.config.axes["recipe"]
        for free_steps in _longest(result)
    )
    return Table(
        title="Free run against the truth",
        columns=("recipe", "steps", "MSE", "low", "high", "phase", "low", "high",
                 "amplitude", "low", "high", "waves"),
        sections=sections,
        notes=(
            "In the window of one period, 62 steps, that ends nearest to so many free steps. MSE: "
            "mean over the sequences; phase, its error in radians, and amplitude, its relative "
            "error: medians of their magnitudes, of the waves fitted to prediction and truth. Each "
            "the geometric mean over the seeds, with its 95% interval. waves: sequences whose "
            "amplitude has never been below a tenth of the truth's; the others have no phase, and "
            "where fewer than half have a wave none is told.",
            *_notes(result),
        ),
    )  # fmt: skip


def _at(result: StudyResult, recipe: Setting, free_steps: int, told: int) -> tuple[str, ...]:
    cells: list[str] = []
    settings = {"recipe": recipe, "free_steps": free_steps}
    for name in CURVES:
        found = spread(_told(result, name, told, **settings))
        ends = (found.mean, found.low, found.high) if found else (None,) * 3
        cells += [words.number(end) for end in ends]
    waves = _told(result, "with_a_wave", told, **settings)
    share = f"{100.0 * sum(waves) / len(waves):.0f}%" if waves else NOTHING
    return (str(recipe), f"{told:,}", *cells, share)


def _told(result: StudyResult, name: str, told: int, **settings: Setting) -> list[float]:
    """Of each seed, the value in the window that ends nearest to ``told`` steps, if it has one."""
    found = []
    for cell in result.at(**settings):
        steps, curve = cell.values.get("steps"), cell.values.get(name)
        if isinstance(steps, tuple) and isinstance(curve, tuple):
            half = steps[0]  # a window's, for the first begins at 0
            nearest = int(np.abs(np.array(steps) + half + 1.0 - told).argmin())
            found += [curve[nearest]] if nearest < len(curve) else []
    return found


def _period_table(result: StudyResult) -> Table:
    rows = []
    for recipe in result.config.axes["recipe"]:
        for free_steps in _longest(result):
            settings = {"recipe": recipe, "free_steps": free_steps}
            bias = result.values("period_bias", **settings)
            until = result.values("in_phase_until", **settings)
            rows.append((
                str(recipe),
                *words.cells(*words.spread_at(result, "period_error", **settings)),
                f"{min(bias):+.1e} to {max(bias):+.1e}" if bias else NOTHING,
                f"{min(until):,.0f} to {max(until):,.0f}" if until else NOTHING,
            ))  # fmt: skip
    return Table(
        title="The period that was found, relative to the true one",
        columns=("recipe", *words.COLUMNS, "bias", "in phase until"),
        sections=(tuple(rows),),
        notes=(
            "From the slope of the phase over the whole run: the median over the sequences of its "
            "magnitude. bias: with its sign, above 0 where the period is too long; in phase until: "
            "free steps after which half of the sequences are a quarter of a period off, or have "
            "no wave; both over the seeds.",
            words.COLUMNS_NOTE,
            *_notes(result),
        ),
    )


def _longest(result: StudyResult) -> list[int]:
    return [value for value in result.config.axes["free_steps"] if isinstance(value, int)]


def _notes(result: StudyResult) -> tuple[str, ...]:
    source = f"weights: {result.config.weights}." if result.config.weights else ""
    return (*([source] if source else []), *words.lost_notes(result))


def figures(result: StudyResult) -> "dict[str, Figure]":
    """Error, phase error and amplitude error over free steps, a line a recipe."""
    from bench.looks import look
    from bench.studies import drawing

    free_steps = max(_longest(result))
    figure, panels = drawing.panels(len(CURVES))
    for number, recipe in enumerate(result.config.axes["recipe"]):
        settings: dict[str, Setting] = {"recipe": recipe, "free_steps": free_steps}
        steps = max(result.curves("steps", **settings), key=len, default=())
        colour, style = look(number)
        for axes, name in zip(panels, CURVES, strict=True):
            found = result.curves(name, **settings)
            drawing.curves(axes, steps, found, colour, style, str(recipe))
    for axes, label in zip(panels, CURVES.values(), strict=True):
        axes.set_xscale("log")
        axes.set_xlim(0.4 * PERIOD, free_steps)
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter("")
        axes.set_ylabel(label)
    panels[1].axhline(QUARTER, color=drawing.DARK, linestyle=":", linewidth=0.8)
    panels[1].annotate(
        "a quarter of a period", (0.0, QUARTER), xycoords=("axes fraction", "data"),
        xytext=(2, 1.5), textcoords="offset points", fontsize=6, color=drawing.DARK,
    )  # fmt: skip
    drawing.trivial(panels[0], result)
    panels[-1].set_xlabel("free steps")
    panels[0].set_title(result.config.task, loc="left", parse_math=False)
    panels[0].legend()
    return {"horizon": figure}


STUDY = Study(
    question="How far does a free run keep to the wave?",
    axes={
        "recipe": Axis("what is trained by", ("lab", "quick"), known=(*RECIPES, FROM_FILE)),
        "free_steps": Axis("steps after the warm-up", (10_000,), least=100),
        "percent": Axis("of the recipe's iterations", (100,), most=1_000),
    },
    measures=MEASURES,
    measure=measure,
    tables=tables,
    figures=figures,
    weights=True,
    tasks=("cosine", "sine"),
)
