"""How sensitive is training to its start? The lecture's seven starts, under other circumstances.

One circumstance at a time differs from the first values of the axes: hidden size, nonlinearity, or
input scale, which multiplies the task's sequences. Errors are over the scale squared, so that
always predicting zero gets the same everywhere.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bench.config import INIT_NAMES
from bench.render import Table
from bench.studies import words
from bench.studies.schema import Axes, Cell, Setting, Settings, StudyConfig, StudyResult, Values
from bench.studies.study import Axis, Study, Tick, in_words
from bench.studies.words import spread_at
from tasks import TASKS, Sequences, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AROUND = ("hidden_size", "nonlinearity", "input_scale")
MEASURES = ("relative_mean", "relative_median", "relative_worst", "training_loss")


@dataclass(frozen=True, slots=True)
class Scaled:
    """A task whose sequences are multiplied; all else is the task's own."""

    task: Task
    scale: float

    def draw(self, rng: np.random.Generator, batch: int, points: int) -> Sequences:
        """What the task draws, times the scale."""
        drawn = self.task.draw(rng, batch, points)
        return replace(drawn, inputs=drawn.inputs * self.scale, targets=drawn.targets * self.scale)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


def grid(axes: Axes) -> tuple[Settings, ...]:
    """Every start and iteration count at the centre, and at each other value of one axis around."""
    return tuple(
        {"init": init, "iterations": iterations} | around
        for iterations in axes["iterations"]
        for around in circumstances(axes)
        for init in axes["init"]
    )


def circumstances(axes: Axes) -> tuple[Settings, ...]:
    """The centre, then what differs from it in one axis."""
    centre: dict[str, Setting] = {name: axes[name][0] for name in AROUND}
    others = ({**centre, name: value} for name in AROUND for value in axes[name][1:])
    return (centre, *others)


def measure(cell: Cell, config: StudyConfig, tick: Tick) -> Values:
    """Train from a start; errors over the squared scale."""
    from bench.studies import trained

    settings, scale = cell.settings, float(cell.settings["input_scale"] or 1.0)
    task = cast("Task", Scaled(TASKS[config.task], scale))
    model = trained.created(
        config,
        cell.seed,
        hidden_size=settings["hidden_size"],
        nonlinearity=settings["nonlinearity"],
    )
    how = trained.recipe(config, init=settings["init"])
    loss = trained.train_cell(model, cell, config, tick, how, task=task)
    errors = trained.errors(model, config, task)
    found = {"mse_mean": "relative_mean", "mse_median": "relative_median",
             "mse_worst": "relative_worst"}  # fmt: skip
    values: Values = {new: float(errors[old]) / scale**2 for old, new in found.items()}  # type: ignore[arg-type]
    return values | {"training_loss": loss / scale**2}


def tables(result: StudyResult) -> dict[str, Table]:
    """``error``: starts against circumstances; ``seeds``: each of these with its interval."""
    axes = result.config.axes
    places = [(steps, each) for steps in axes["iterations"] for each in circumstances(axes)]
    notes = (
        f"{words.trained_note(result)} Errors are over the squared input scale.",
        words.trivial_note(result),
        *words.lost_notes(result),
    )
    brief = tuple(
        (
            str(init),
            *(
                words.brief(
                    *spread_at(result, "relative_mean", init=init, iterations=steps, **each)
                )
                for steps, each in places
            ),
        )
        for init in axes["init"]
    )
    whole = tuple(
        tuple(_row(result, steps, each, init) for init in axes["init"]) for steps, each in places
    )
    return {
        "error": Table(
            title="Starts: mean MSE on the test set, over the squared input scale",
            columns=("init", *(_named(result, *place) for place in places)),
            sections=(brief,),
            notes=(words.BRIEF_NOTE, *notes),
        ),
        "seeds": Table(
            title="Starts: what the seeds say",
            columns=("where", "init", *words.COLUMNS),
            sections=whole,
            notes=(words.COLUMNS_NOTE, *notes),
        ),
    }


def _row(result: StudyResult, steps: Setting, around: Settings, init: Setting) -> tuple[str, ...]:
    found = spread_at(result, "relative_mean", init=init, iterations=steps, **around)
    return (_named(result, steps, around), str(init), *words.cells(*found))


def _named(result: StudyResult, steps: Setting, around: Settings) -> str:
    """What sets a place apart from the centre."""
    axes = result.config.axes
    short = {"hidden_size": "H={}", "nonlinearity": "{}", "input_scale": "scale {}"}
    differs = [
        short[name].format(in_words(around[name]))
        for name in AROUND
        if around[name] != axes[name][0]
    ]
    centre = [short[name].format(in_words(axes[name][0])) for name in AROUND]
    named = " ".join(differs or centre)
    return f"{named}, {steps:,}" if len(axes["iterations"]) > 1 else named


def figures(result: StudyResult) -> "dict[str, Figure]":
    """A panel a kind of circumstance: the starts side by side at each of its values."""
    from bench.studies import drawing

    axes_of = result.config.axes
    steps, centre = axes_of["iterations"][0], circumstances(axes_of)[0]
    around = [name for name in AROUND if len(axes_of[name]) > 1] or [AROUND[0]]
    figure, panels = drawing.panels(len(around))
    labels = {"hidden_size": "hidden size", "nonlinearity": "nonlinearity",
              "input_scale": "input scale"}  # fmt: skip
    zero = [result.trivial["zero"]] if result.trivial else []
    for axes, name in zip(panels, around, strict=True):
        numbers = [value for value in axes_of[name] if isinstance(value, int | float)]
        values, everything = sorted(numbers) or axes_of[name], []
        for number, init in enumerate(axes_of["init"]):
            found = [
                spread_at(
                    result,
                    "relative_mean",
                    init=init,
                    iterations=steps,
                    **{**centre, name: value},
                )[0]
                for value in values
            ]
            beside = 0.8 * (number + 0.5) / len(axes_of["init"]) - 0.4
            places = [place + beside for place in range(len(values))]
            drawing.series(axes, places, found, number, str(init), joined=False)
            everything += found
        drawing.trivial(axes, result)
        drawing.log_error(axes, everything, *zero)
        drawing.places(axes, [in_words(value) for value in values])
        axes.set_xlabel(labels[name])
        axes.set_ylabel("MSE / scale²")
    panels[0].set_title(f"{result.config.task}, {steps:,} iterations", loc="left", parse_math=False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2)
    return {"error": figure}


STUDY = Study(
    question="How sensitive is training to where it starts?",
    axes={
        "init": Axis("the start, of torch.nn.init", INIT_NAMES, known=INIT_NAMES),
        "hidden_size": Axis("units of the layer, H", (64, 16, 128), most=16_384),
        "nonlinearity": Axis("of the cells", ("tanh", "relu"), known=("tanh", "relu")),
        "input_scale": Axis("what sequences are multiplied with", (1.0, 0.1, 10.0), least=0.0),
        "iterations": Axis("of the training", (1500,)),
    },
    measures=MEASURES,
    measure=measure,
    tables=tables,
    figures=figures,
    grid=grid,
)
