"""What does capacity buy, and what does it cost? Error and rate of every size, and their front.

The error belongs to the size: all implementations compute the same function, so one of them trains
it, over several seeds. The rate belongs to size and implementation: each is timed with
``generate``, after all trainings, nothing else running, in a fresh process a seed, as a run does;
what was timed is checked against the reference.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import words as numbers
from bench.render import Table
from bench.studies import words
from bench.studies.front import Point, front
from bench.studies.schema import Axes, Cell, Settings, StudyConfig, StudyResult, Values
from bench.studies.spread import Spread, spread
from bench.studies.study import Axis, Study, Tick, product
from impls import REGISTRY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TIMED = tuple(name for name, entry in REGISTRY.items() if "cpu" in entry.devices)
SIZES = ("hidden_size", "num_layers", "nonlinearity")
MEASURES = ("mse_mean", "mse_median", "mse_worst", "steps_per_second")
BLOCKS = 5
_RATE_COLUMNS = ("implementation", "H", "L", "nonlinearity", "batch", "mean MSE", "steps/s", "low",
                 "high", "front")  # fmt: skip
_RATE_NOTE = (
    "steps/s: sequence-steps of generate in a second, one thread; geometric mean over fresh "
    f"processes, of each the median of {BLOCKS} blocks, with its 95% interval; nothing else ran. "
    "-: not timed, or not possible here: bench list says why. front: nothing else here has a "
    "smaller error at as high a rate, or a higher rate at as small an error, by the estimates."
)


def grid(axes: Axes) -> tuple[Settings, ...]:
    """Every size, to be trained; then every implementation and batch size at it, to be timed."""
    sizes = product({name: axes[name] for name in SIZES})
    timed = product({"timed": axes["timed"], "batch_size": axes["batch_size"]})
    trainings = ({**size, "iterations": each} for size in sizes for each in axes["iterations"])
    return (*trainings, *({**size, **each} for each in timed for size in sizes))


def alone(settings: Settings) -> bool:
    """Whether something is timed."""
    return "timed" in settings


def measure(cell: Cell, config: StudyConfig, tick: Tick) -> Values:
    """The error of a size, or the rate of an implementation at it."""
    from bench.studies import trained

    found: Values = dict.fromkeys(MEASURES)
    size = {name: cell.settings[name] for name in SIZES}
    if alone(cell.settings):
        from bench.studies.rates import steps_per_second

        return found | {"steps_per_second": steps_per_second(cell, config, size, BLOCKS, tick)}
    model = trained.created(config, cell.seed, **size)
    trained.train_cell(model, cell, config, tick, trained.recipe(config))
    return found | trained.errors(model, config)


class _Found:
    """What a result says of its sizes, in the order of the grid."""

    def __init__(self, result: StudyResult) -> None:
        axes = result.config.axes
        self.sizes = product({name: axes[name] for name in SIZES})
        self.iterations, self.batch_sizes = axes["iterations"], axes["batch_size"]
        self.timed = [str(name) for name in axes["timed"]]
        self._result = result

    def error(self, size: Settings, iterations: Any) -> tuple[Spread | None, int]:
        """Over the seeds that were trained, and how many there are."""
        return words.spread_at(self._result, "mse_mean", **size, iterations=iterations)

    def rate(self, size: Settings, name: str, batch_size: Any) -> Spread | None:
        """Over the processes."""
        settings = {**size, "timed": name, "batch_size": batch_size}
        return spread(self._result.values("steps_per_second", **settings))

    def points(self, iterations: Any, batch_size: Any) -> list[Point]:
        """Every size and implementation that has both."""
        found = []
        for size in self.sizes:
            error, _ = self.error(size, iterations)
            for name in self.timed:
                rate = self.rate(size, name, batch_size)
                if error and rate:
                    found.append(Point(f"{name} {_named(size)}", error.mean, rate.mean))
        return found


def tables(result: StudyResult) -> dict[str, Table]:
    """``error`` by size, ``front``: what is nowhere beaten, ``rate`` by implementation."""
    return {
        "error": _error_table(result),
        "front": _front_table(result),
        "rate": _rate_table(result),
    }


def _error_table(result: StudyResult) -> Table:
    found = _Found(result)
    several = len(found.iterations) > 1
    rows = tuple(
        (
            *map(str, size.values()),
            *((f"{iterations:,}",) if several else ()),
            *words.cells(*found.error(size, iterations)),
        )
        for iterations in found.iterations
        for size in found.sizes
    )
    return Table(
        title="Capacity: mean MSE on the test set",
        columns=("H", "L", "nonlinearity", *(("iterations",) if several else ()), *words.COLUMNS),
        sections=(rows,),
        notes=(
            words.trained_note(result),
            words.COLUMNS_NOTE,
            words.trivial_note(result),
            *words.lost_notes(result),
        ),
    )


def _front_table(result: StudyResult) -> Table:
    """The rows of `_rate_table` that nothing beats in both, the most accurate first."""
    sections = []
    for places in _rated(result):
        there = [place for place in places if place.in_front]
        there.sort(key=lambda place: place.error.mean if place.error else float("inf"))
        sections.append(tuple(_rate_row(place)[:-1] for place in there))
    return Table(
        title="Capacity: the front, as accurate and as fast as nothing else",
        columns=_RATE_COLUMNS[:-1],
        sections=tuple(sections),
        notes=(_RATE_NOTE,),
    )


def _rate_table(result: StudyResult) -> Table:
    """A section a batch size and size, a row an implementation."""
    return Table(
        title="Capacity: error and rate of each implementation",
        columns=_RATE_COLUMNS,
        sections=tuple(
            tuple(map(_rate_row, of_size))
            for places in _rated(result)
            for _, of_size in itertools.groupby(places, key=lambda place: _named(place.size))
        ),
        notes=(_RATE_NOTE,),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """What an implementation has at one size and batch size, and whether nothing beats both."""

    size: Settings
    name: str
    batch_size: Any
    error: Spread | None
    rate: Spread | None
    in_front: bool


def _rated(result: StudyResult) -> list[list[_Place]]:
    """For each batch size every implementation at every size, size by size."""
    found = _Found(result)
    iterations = found.iterations[-1]
    rated = []
    for batch_size in found.batch_sizes:
        best = {point.name for point in front(found.points(iterations, batch_size))}
        rated.append([
            _Place(
                size,
                name,
                batch_size,
                found.error(size, iterations)[0],
                found.rate(size, name, batch_size),
                in_front=f"{name} {_named(size)}" in best,
            )
            for size in found.sizes
            for name in found.timed
        ])  # fmt: skip
    return rated


def _rate_row(place: _Place) -> tuple[str, ...]:
    rate = place.rate
    ends = (rate.mean, rate.low, rate.high) if rate else (None,) * 3
    return (
        place.name,
        *map(str, place.size.values()),
        f"{place.batch_size:,}",
        words.number(place.error.mean if place.error else None),
        *map(numbers.short, ends),
        "front" if place.in_front else "",
    )


def _named(size: Settings) -> str:
    """Such as "H=32 L=2 relu"."""
    return f"H={size['hidden_size']} L={size['num_layers']} {size['nonlinearity']}"


def figures(result: StudyResult) -> "dict[str, Figure]":
    """Error against rate for each batch size, a mark a size and implementation; the front drawn."""
    batch_sizes = result.config.axes["batch_size"]
    return {f"front_batch_{size}": _front_figure(result, size) for size in batch_sizes}


def _front_figure(result: StudyResult, batch_size: Any) -> "Figure":
    """Colour and dash of a mark name the implementation, its form layers and nonlinearity."""
    from matplotlib.figure import Figure

    from bench.looks import COLOURS, WIDTH_INCHES
    from bench.studies import drawing

    found = _Found(result)
    iterations = found.iterations[-1]
    figure = Figure(figsize=(2 * WIDTH_INCHES, 3.6), layout="constrained")
    axes = figure.subplots()
    many = (*COLOURS, "#999999", "#882255")
    colours = {name: many[number % len(many)] for number, name in enumerate(found.timed)}
    forms = _forms(found.sizes)
    for size in found.sizes:
        error, _ = found.error(size, iterations)
        for name in found.timed:
            rate = found.rate(size, name, batch_size)
            if error and rate:
                _mark(axes, size, error, rate, colours[name], forms[_form(size)])
    _draw_front(axes, front(found.points(iterations, batch_size)))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"steps per second, {_batch(batch_size)}")
    axes.set_ylabel("MSE on the test set")
    trained = f"recipe {result.config.recipe}, {iterations:,} iterations"
    axes.set_title(f"{result.config.task}, {trained}", loc="left", parse_math=False)
    for name, colour in colours.items():
        axes.plot([], [], "s", color=colour, markersize=4, label=name)
    for (layers, nonlinearity), form in forms.items():
        axes.plot([], [], form, color=drawing.DARK, fillstyle="none", markersize=4,
                  label=f"{layers} layer{'s' * (layers > 1)}, {nonlinearity}")  # fmt: skip
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure


FORMS = ("o", "^", "s", "D", "v", "P", "X", "<")


def _form(size: Settings) -> tuple[Any, Any]:
    return size["num_layers"], size["nonlinearity"]


def _forms(sizes: Sequence[Settings]) -> dict[tuple[Any, Any], str]:
    kinds = dict.fromkeys(map(_form, sizes))
    return {kind: FORMS[number % len(FORMS)] for number, kind in enumerate(kinds)}


def _mark(axes: Any, size: Settings, error: Spread, rate: Spread, colour: str, form: str) -> None:
    """One size of one implementation: seeds and processes faintly, both means plainly."""
    axes.plot([rate.mean] * len(error.values), error.values, ".", color=colour, alpha=0.25,
              markersize=2.5, markeredgewidth=0)  # fmt: skip
    axes.plot(rate.values, [error.mean] * len(rate.values), ".", color=colour, alpha=0.25,
              markersize=2.5, markeredgewidth=0)  # fmt: skip
    # The larger the hidden size, the larger the mark.
    units: Any = size["hidden_size"]
    axes.plot(rate.mean, error.mean, form, color=colour, markersize=2.0 + 0.5 * units**0.5,
              fillstyle="none", markeredgewidth=0.9)  # fmt: skip


def _draw_front(axes: Any, best: Sequence[Point]) -> None:
    """A line through the front, from the smallest error on, and the size at each of its corners."""
    axes.plot([one.rate for one in best], [one.error for one in best], color="#999999",
              linewidth=0.8, zorder=0, label="front")  # fmt: skip
    for one in best:
        _, _, size = one.name.partition(" ")
        axes.annotate(size, (one.rate, one.error), xytext=(4, 3), textcoords="offset points",
                      fontsize=5.5)  # fmt: skip


def _batch(batch_size: Any) -> str:
    return "one sequence at a time" if batch_size == 1 else f"{batch_size:,} sequences at once"


STUDY = Study(
    question="What does capacity buy, and what does it cost?",
    axes={
        "hidden_size": Axis("units of a layer, H", (8, 32, 128), most=16_384),
        "num_layers": Axis("stacked layers, L", (1, 2), most=64),
        "nonlinearity": Axis("of the cells", ("tanh", "relu"), known=("tanh", "relu")),
        "iterations": Axis("of a training", (2000,)),
        "timed": Axis("implementations that are timed", TIMED, known=TIMED),
        "batch_size": Axis("sequences of a timed call", (1,), most=65_536),
    },
    measures=MEASURES,
    measure=measure,
    tables=tables,
    figures=figures,
    grid=grid,
    seeds=3,
    alone=alone,
)
