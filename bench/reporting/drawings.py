"""Figures as SVG that stands in a page: text stays text, ink follows the page's colours."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from bench import figures, words
from bench.compare import Comparison
from bench.comparison_figures import forest
from bench.plots import Plan, planned
from bench.scaling import panels
from bench.schema import Result
from bench.summary import mean_error

# More lines than these hide each other, and a page of 200 cases is to stay small.
MOST_CASES = 8
MOST_PANELS = 16  # beyond, nobody finds anything, and each takes a second to draw
STYLE = figures.STYLE | {
    "svg.fonttype": "none",  # text, which is searched, read aloud, and takes no room
    "font.family": "sans-serif",
    "path.simplify_threshold": 0.5,
}
# The figures' inks by what they are in the page, where another ground may lie behind them.
_INKS = {
    "#000000": "currentColor",
    "#444444": "var(--ink-soft)",
    "#aaaaaa": "var(--ink-faint)",
    "#999999": "var(--ink-faint)",
    "#888888": "var(--ink-faint)",
    "#dddddd": "var(--shade)",
    "#ffffff": "var(--ground)",
}
_INK = re.compile("|".join(_INKS), re.IGNORECASE)
_SPACES = {"": "http://www.w3.org/2000/svg", "xlink": "http://www.w3.org/1999/xlink"}
SCALE = 1.45  # a figure's 8 points are small on a screen


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure in a page.

    Attributes:
        title: what it shows.
        svg: safe to stand in HTML as it is: all text in it is escaped.
        note: what was left out of it, or nothing.
    """

    title: str
    svg: str
    note: str = ""


def of_result(result: Result, prefix: str) -> Iterator[Drawing]:
    """Predictions, loss, growth of the error, throughput, and how it scales.

    Args:
        result: of a run.
        prefix: of every id, so that no two figures of a page share one.
    """
    shown = _shown(result)
    evaluated = sum(bool(case.accuracy or case.training) for case in result.cases)
    note = f"The {MOST_CASES} most accurate of {evaluated} cases." if evaluated > MOST_CASES else ""
    plans = [plan for plan in planned(shown) if plan.name in _TITLES and not _of_times(plan)]
    plans += [plan for plan in planned(result) if _of_times(plan) and _drawable(plan, result)]
    for number, plan in enumerate(sorted(plans, key=lambda plan: list(_TITLES).index(plan.name))):
        of = result if _of_times(plan) else shown
        with mpl.rc_context(STYLE):
            figure = figures.drawn(plan.name, of, plan.case, lines=plan.lines)
            yield Drawing(
                _title(plan), inline(figure, f"{prefix}{number}", _title(plan)),
                "" if _of_times(plan) or plan.case else note,
            )  # fmt: skip


def of_comparison(comparison: Comparison, prefix: str) -> Drawing | None:
    """Its verdicts and intervals, or None where no row has a ratio."""
    with mpl.rc_context(STYLE):
        figure = forest(comparison)
        if figure is None:
            return None
        title = f"{comparison.new} against {comparison.base}"
        return Drawing(title, inline(figure, prefix, title))


def inline(figure: Figure, prefix: str, title: str) -> str:
    """A figure as an ``<svg>`` element.

    Args:
        figure: what to draw; the style must be on.
        prefix: of every id.
        title: what a screen reader says of it.
    """
    written = io.BytesIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    for name, space in _SPACES.items():
        ElementTree.register_namespace(name, space)
    root = ElementTree.fromstring(written.getvalue())  # noqa: S314 - matplotlib has just written it
    parents = {child: parent for parent in root.iter() for child in parent}
    for element in list(root.iter()):
        kind = element.tag.rpartition("}")[2]
        if kind in ("metadata", "style"):
            parents[element].remove(element)
        for name, value in element.attrib.items():
            element.set(name, _in_page(name.rpartition("}")[2], value, prefix))
        element.tail = None
    width = float(root.attrib.pop("width").removesuffix("pt")) / 72.0
    root.attrib.pop("height")
    root.attrib |= {
        "role": "img",
        "aria-label": title,
        "style": f"width: {SCALE * width:.2f}in",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _in_page(name: str, value: str, prefix: str) -> str:
    """An attribute: ids that no other figure has, colours that the page chooses."""
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        return value.replace("#", f"#{prefix}-", 1)
    value = value.replace("url(#", f"url(#{prefix}-")
    if name in ("style", "fill", "stroke"):
        value = _INK.sub(lambda found: _INKS[found[0].lower()], value)
    return value


_TITLES = {
    "best_worst": "Best and worst prediction",
    "answers": "Answers against targets",
    "training_loss": "Training loss",
    "error_growth": "Error, step by step",
    "throughput": "Throughput",
    "scaling": "How it scales",
}


def _of_times(plan: Plan) -> bool:
    return plan.name in ("throughput", "scaling")


def _drawable(plan: Plan, result: Result) -> bool:
    """Whether its panels are few enough to be looked at."""
    return plan.lines is None or len(panels(result, *plan.lines)) <= MOST_PANELS


def _title(plan: Plan) -> str:
    title = _TITLES[plan.name]
    if plan.case:
        return f"{title}: {words.case(plan.case.key, with_size=True)}"
    if plan.lines:
        workload, over = plan.lines
        return f"{title}: {workload} over {over}"
    return title


def _shown(result: Result) -> Result:
    """The most accurate cases, in their order, and others that were trained where there is room."""
    ranked = sorted((case for case in result.cases if case.accuracy), key=mean_error)[:MOST_CASES]
    others = [case for case in result.cases if case.training and not case.accuracy]
    kept = [*ranked, *others][:MOST_CASES]
    cases = tuple(case for case in result.cases if any(case is each for each in kept))
    return result.model_copy(update={"cases": cases})
