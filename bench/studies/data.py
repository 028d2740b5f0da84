"""How much data do you need? Error against distinct training sequences, and iterations.

All batches of a training are drawn from so many sequences, with replacement; beyond the last number
every sequence is a fresh one. The loss on what was trained on shows what was learnt by heart.
"""

from typing import TYPE_CHECKING

from bench.render import Table
from bench.studies import words
from bench.studies.schema import Cell, StudyConfig, StudyResult, Values
from bench.studies.study import Axis, Study, Tick, in_words
from bench.studies.words import spread_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = ("mse_mean", "mse_median", "mse_worst", "training_loss")


def measure(cell: Cell, config: StudyConfig, tick: Tick) -> Values:
    """Train on so many sequences, and predict fresh ones."""
    from bench.studies import trained

    settings = cell.settings
    how = trained.recipe(config, sequences=settings["sequences"])
    model = trained.created(config, cell.seed, hidden_size=settings["hidden_size"])
    loss = trained.train_cell(model, cell, config, tick, how)
    return trained.errors(model, config) | {"training_loss": loss}


def tables(result: StudyResult) -> dict[str, Table]:
    """A section an iteration count, a row a number of sequences."""
    axes = result.config.axes
    size = ("H",) if len(axes["hidden_size"]) > 1 else ()
    sections = tuple(
        tuple(
            _row(result, iterations=iterations, hidden_size=hidden_size, sequences=sequences)
            for sequences in axes["sequences"]
        )
        for hidden_size in axes["hidden_size"]
        for iterations in axes["iterations"]
    )
    return {
        "error": Table(
            title="How much data: mean MSE on the test set",
            columns=(*size, "iterations", "sequences", *words.COLUMNS, "training loss"),
            sections=sections,
            notes=(
                "sequences: distinct ones that all batches are drawn from; unlimited: each is a "
                "fresh one. training loss: of the last twentieth of the iterations, on sequences "
                "that were trained on; geometric mean.",
                words.COLUMNS_NOTE,
                words.trivial_note(result),
                *words.lost_notes(result),
            ),
        )
    }


def _row(result: StudyResult, **settings: object) -> tuple[str, ...]:
    loss, _ = spread_at(result, "training_loss", **settings)
    several = len(result.config.axes["hidden_size"]) > 1
    return (
        *((str(settings["hidden_size"]),) if several else ()),
        f"{settings['iterations']:,}",
        in_words(settings["sequences"]),  # type: ignore[arg-type]
        *words.cells(*spread_at(result, "mse_mean", **settings)),
        words.number(loss.mean if loss else None),
    )


def figures(result: StudyResult) -> "dict[str, Figure]":
    """Error over the number of sequences, a line an iteration count."""
    from bench.studies import drawing

    axes_of = result.config.axes
    hidden_size = axes_of["hidden_size"][0]
    figure, axes = drawing.single()
    numbers = [value for value in axes_of["sequences"] if isinstance(value, int)]
    # Without a limit lies a step beyond the last number.
    beyond = 4 * max(numbers, default=1)
    positions = [beyond if value is None else int(value) for value in axes_of["sequences"]]
    everything = []
    for number, iterations in enumerate(axes_of["iterations"]):
        found = [
            spread_at(
                result,
                "mse_mean",
                sequences=value,
                iterations=iterations,
                hidden_size=hidden_size,
            )[0]
            for value in axes_of["sequences"]
        ]
        beside = [position * 1.1**number for position in positions]
        drawing.series(axes, beside, found, number, f"{iterations:,} iterations")
        everything += found
    drawing.trivial(axes, result)
    drawing.log_error(axes, everything, *([result.trivial["zero"]] if result.trivial else []))
    axes.set_xscale("log")
    axes.set_xticks(positions, [in_words(value) for value in axes_of["sequences"]])
    axes.minorticks_off()
    axes.set_xlabel("distinct training sequences")
    axes.set_ylabel("MSE on the test set")
    axes.set_title(f"{result.config.task}, H={hidden_size}", loc="left", parse_math=False)
    figure.legend(loc="outside lower center", ncols=2)
    return {"error": figure}


STUDY = Study(
    question="How much data do you need?",
    axes={
        "sequences": Axis("distinct training sequences", (1, 4, 16, 64, 256, None)),
        "iterations": Axis("of the training", (500, 1500, 4000)),
        "hidden_size": Axis("units of the layer, H", (128,), most=16_384),
    },
    measures=MEASURES,
    measure=measure,
    tables=tables,
    figures=figures,
)
