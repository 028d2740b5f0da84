"""How should the teacher force? Error against the schedule, from always to never.

All are judged alike, running free. The error of single steps, each told the true value before, is
beside it: a network that was always forced is good at those, and has never met its own mistakes
(exposure bias; Bengio et al., 2015, draw the flips of a curriculum against it).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.render import Table
from bench.studies import words
from bench.studies.schema import Cell, StudyConfig, StudyResult, Values
from bench.studies.study import Axis, Study, Tick
from bench.studies.words import spread_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Schedule:
    """Fields of a recipe, and what they amount to."""

    free_probability: tuple[float, float] | Literal["lab"]
    forced_steps: int
    summary: str


SCHEDULES = {
    "always": Schedule((0.0, 0.0), 1, "every step forced"),
    "free_25": Schedule((0.25, 0.25), 1, "a step runs free with probability 0.25"),
    "free_50": Schedule((0.5, 0.5), 1, "0.5"),
    "free_75": Schedule((0.75, 0.75), 1, "0.75"),
    "lecture": Schedule("lab", 1, "0.6, 0.7, 0.8, then 0.85: 100 iterations each"),
    "curriculum": Schedule((0.0, 1.0), 1, "from 0 to 1, linearly over the training"),
    "warm_up": Schedule((1.0, 1.0), 50, "the first 50 steps forced, none after"),
    "never": Schedule((1.0, 1.0), 1, "only the first step forced"),
}
MEASURES = ("mse_mean", "mse_median", "mse_worst", "single_step", "training_loss")


def measure(cell: Cell, config: StudyConfig, tick: Tick) -> Values:
    """Train by the schedule; errors of a free run, and of single steps."""
    from bench.studies import trained

    schedule = SCHEDULES[str(cell.settings["schedule"])]
    how = trained.recipe(
        config,
        free_probability=schedule.free_probability,
        forced_steps=schedule.forced_steps,
    )
    model = trained.created(config, cell.seed, hidden_size=cell.settings["hidden_size"])
    loss = trained.train_cell(model, cell, config, tick, how)
    return trained.errors(model, config) | {
        "single_step": trained.single_step_error(model, config),
        "training_loss": loss,
    }


def tables(result: StudyResult) -> dict[str, Table]:
    """A row a schedule."""
    axes = result.config.axes
    names = [name for name in ("hidden_size", "iterations") if len(axes[name]) > 1]
    sections = tuple(
        tuple(
            _row(result, names, hidden_size=size, iterations=iterations, schedule=schedule)
            for schedule in axes["schedule"]
        )
        for size in axes["hidden_size"]
        for iterations in axes["iterations"]
    )
    meant = (f"{name}: {each.summary}" for name, each in SCHEDULES.items())
    return {
        "error": Table(
            title="Teacher forcing: mean MSE on the test set, running free",
            columns=(*names, "schedule", *words.COLUMNS, "single step"),
            sections=sections,
            notes=(
                f"{'; '.join(meant)}.",
                f"{words.trained_note(result)} single step: MSE where every step of the test set "
                "is forced; geometric mean.",
                words.COLUMNS_NOTE,
                words.trivial_note(result),
                *words.lost_notes(result),
            ),
        )
    }


def _row(result: StudyResult, names: list[str], **settings: object) -> tuple[str, ...]:
    single, _ = spread_at(result, "single_step", **settings)
    return (
        *(f"{settings[name]:,}" for name in names),
        str(settings["schedule"]),
        *words.cells(*spread_at(result, "mse_mean", **settings)),
        words.number(single.mean if single else None),
    )


def figures(result: StudyResult) -> "dict[str, Figure]":
    """Both errors, a schedule beside the other."""
    from bench.studies import drawing

    axes_of = result.config.axes
    size, iterations = axes_of["hidden_size"][0], axes_of["iterations"][0]
    names = [str(name) for name in axes_of["schedule"]]
    figure, axes = drawing.single(1.35)
    everything = []
    for number, (what, label) in enumerate(
        {"mse_mean": "running free", "single_step": "single steps"}.items()
    ):
        found = [
            spread_at(result, what, schedule=name, hidden_size=size, iterations=iterations)[0]
            for name in names
        ]
        positions = [place + 0.2 * number - 0.1 for place in range(len(names))]
        drawing.series(axes, positions, found, number, label, joined=False)
        everything += found
    drawing.trivial(axes, result)
    drawing.log_error(axes, everything, *([result.trivial["zero"]] if result.trivial else []))
    drawing.places(axes, names)
    axes.tick_params(axis="x", labelrotation=40)
    axes.set_ylabel("MSE on the test set")
    axes.set_title(
        f"{result.config.task}, H={size}, {iterations:,} iterations", loc="left", parse_math=False
    )
    figure.legend(loc="outside lower center", ncols=2)
    return {"error": figure}


STUDY = Study(
    question="How often should the teacher force the true value?",
    axes={
        "schedule": Axis("when a step runs free", tuple(SCHEDULES), known=tuple(SCHEDULES)),
        "iterations": Axis("of the training", (4000,)),
        "hidden_size": Axis("units of the layer, H", (128,), most=16_384),
    },
    measures=MEASURES,
    measure=measure,
    tables=tables,
    figures=figures,
    tasks=("cosine", "sine", "circle", "delayed"),  # the others force every step
)
