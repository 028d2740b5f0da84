"""What a user asks of a study, and a study's file read back: both checked at the door."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench import records
from bench.errors import BenchError, unknown
from bench.recipes import RECIPES
from bench.studies.registry import STUDIES
from bench.studies.schema import Axes, StudyConfig, StudyResult
from bench.studies.study import FROM_FILE, Study
from tasks import TASKS

KIND = "study"
MOST_CELLS = 100_000


def configured(
    name: str,
    vary: Sequence[str],
    evaluation: Mapping[str, Any],
    **options: Any,
) -> StudyConfig:
    """Check the options of the command line.

    Args:
        name: the study.
        vary: ``axis=values``, each in place of an axis's own values.
        evaluation: fields of its test set.
        options: other fields; None leaves one at its default.

    Raises:
        BenchError: an unknown name, or a number out of range.
    """
    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    study = STUDIES[name]
    for kind, known in (("task", TASKS), ("recipe", RECIPES)):
        if (given := options.get(kind)) is not None and given not in known:
            raise unknown(kind, given, known)
    if study.tasks and (task := options.get("task")) not in (None, *study.tasks):
        raise BenchError(f"study {name} needs --task {' or '.join(study.tasks)}, got '{task}'")
    if options.get("weights") and not study.weights:
        takers = ", ".join(name for name, each in STUDIES.items() if each.weights)
        raise BenchError(f"study {name} trains all that it looks at; --weights is for {takers}")
    fields = {
        "study": name,
        "axes": _with_weights(axes(name, study, vary), vary, options.get("weights")),
        "seeds": study.seeds,
        "evaluation": dict(evaluation),
        **{field: value for field, value in options.items() if value is not None},
    }
    try:
        config = StudyConfig.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        option = _OPTIONS.get(str(problem["loc"][-1]), str(problem["loc"][-1]).replace("_", "-"))
        raise BenchError(f"--{option}: {problem['msg']}, got {problem['input']!r}") from None
    if (cells := len(study.cells(config))) > MOST_CELLS:
        raise BenchError(f"study {name}: {cells:,} cells; vary less: {MOST_CELLS:,} at most")
    return config


def axes(name: str, study: Study, vary: Sequence[str]) -> Axes:
    """The study's axes, those of ``vary`` with other values.

    Raises:
        BenchError: the study has no such axis, or one no such value.
    """
    found = {axis: each.values for axis, each in study.axes.items()}
    for text in vary:
        axis, equals, values = text.partition("=")
        if not equals:
            raise BenchError(f"--vary must be such as {next(iter(found))}=VALUES, got '{text}'")
        if axis not in found:
            raise BenchError(f"study {name} does not vary {axis}; it varies {', '.join(found)}")
        found[axis] = study.axes[axis].read(axis, values)
    return found


def _with_weights(found: Axes, vary: Sequence[str], weights: str | None) -> Axes:
    """A file of weights takes the recipes' place, unless these are named too.

    Raises:
        BenchError: one is asked for without the other.
    """
    asked = any(text.startswith("recipe=") for text in vary)
    if weights and not asked:
        return {**found, "recipe": (FROM_FILE,)}
    if weights and FROM_FILE not in found["recipe"]:
        raise BenchError(f"--weights needs {FROM_FILE} among --vary recipe=VALUES")
    if not weights and FROM_FILE in found.get("recipe", ()):
        raise BenchError(f"--vary recipe={FROM_FILE} needs --weights FILE")
    return found


def load(path: Path) -> StudyResult:
    """Read a study's file.

    Raises:
        BenchError: it is none, damaged, or holds what its study does not vary or measure.
    """
    text = records.read(path)
    head = records.from_json(path, text)
    if not isinstance(head, dict) or head.get("kind") != KIND:
        raise BenchError(f"{path} is not a file of a study: its kind is not {KIND}")
    try:
        result = StudyResult.model_validate_json(text)
    except ValidationError as error:
        raise BenchError(records.problem(path, error)) from None
    if fault := _fault(result):
        raise BenchError(f"{path}: {fault}")
    return result


def _fault(result: StudyResult) -> str | None:
    """What the models cannot see to be wrong."""
    config = result.config
    if config.study not in STUDIES:
        return str(unknown("study", config.study, STUDIES))
    if config.task not in TASKS:
        return str(unknown("task", config.task, TASKS))
    return _axes_fault(config, STUDIES[config.study]) or _cells_fault(result)


def _axes_fault(config: StudyConfig, study: Study) -> str | None:
    if set(config.axes) != set(study.axes):
        return f"field config.axes: must be {', '.join(study.axes)}, got {', '.join(config.axes)}"
    for name, values in config.axes.items():
        if not values or not all(map(study.axes[name].holds, values)):
            return f"field config.axes.{name}: not what study {config.study} varies, got {values}"
    return None


def _cells_fault(result: StudyResult) -> str | None:
    study = STUDIES[result.config.study]
    planned = {cell.key for cell in study.cells(result.config)}
    for number, cell in enumerate(result.cells):
        if cell.key not in planned:
            return f"field cells.{number}: none of the study's settings and seeds"
        if cell.status == "ok" and set(cell.values) != set(study.measures):
            return f"field cells.{number}.values: must be {', '.join(study.measures)}"
    return None


_OPTIONS = {
    "implementation": "impl",
    "sequences": "test-sequences",
    "points": "test-points",
}
