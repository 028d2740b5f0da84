"""Spreads in words: the columns that every study's tables share."""

from collections import Counter
from collections.abc import Sequence

from bench import words
from bench.render import Row
from bench.studies.schema import CellResult, StudyConfig, StudyResult
from bench.studies.spread import APART, Spread, spread
from bench.studies.study import FROM_FILE
from bench.words import NOTHING

COLUMNS: Row = ("mean", "low", "high", "median", "best", "worst", "seeds", "apart")
COLUMNS_NOTE = (
    "mean: geometric, over the seeds; low, high: its 95% interval, Student's t of the logs. seeds: "
    "that ended with a number, of those that were run. apart: seeds more than "
    f"{APART:g} times above or below the median: another basin, of which a mean says nothing; then "
    "go by the median and the range."
)

BRIEF_NOTE = (
    "Geometric means over the seeds. apart: seeds more than "
    f"{APART:g} times above or below the median; lost: diverged or failed."
)


def number(value: float | None) -> str:
    """Four decimals where they say something, else three digits, or two and an exponent."""
    if value is None or value < 10.0:
        return words.error(value)
    return words.significant(value) if value < 1e3 else f"{value:.1e}"


def cells(found: Spread | None, ran: int) -> Row:
    """A spread in `COLUMNS`; ``ran``: seeds that were run."""
    if found is None:
        return (*(NOTHING,) * 6, f"0 of {ran}", NOTHING)
    return (
        number(found.mean),
        number(found.low),
        number(found.high),
        number(found.median),
        number(found.best),
        number(found.worst),
        f"{len(found.values)} of {ran}",
        str(found.apart),
    )


def brief(found: Spread | None, ran: int) -> str:
    """The geometric mean, and how many seeds lie apart or found nothing, where any do."""
    if found is None:
        return f"none of {ran}" if ran else NOTHING
    apart = f" ({found.apart} apart)" if found.apart else ""
    lost = f" ({found.without} lost)" if found.without else ""
    return number(found.mean) + apart + lost


def spread_at(result: StudyResult, measure: str, **settings: object) -> tuple[Spread | None, int]:
    """What the seeds found at these settings, and how many were run."""
    values = result.values(measure, **settings)  # type: ignore[arg-type]
    ran = len(result.at(**settings))  # type: ignore[arg-type]
    return spread(values, ran - len(values)), ran


def heading(result: StudyResult) -> str:
    """One line that says what was studied, and where."""
    config, machine = result.config, result.environment
    done = len(result.cells)
    parts = [
        f"study {config.study}",
        f"{config.task}, {_source(config)}",
        f"{config.implementation}, {config.dtype}",
        *([f"{config.seeds} seed{'s' if config.seeds > 1 else ''}"] if _trains(config) else []),
        f"{machine.cpu} ({machine.cores} cores)",
        *_elsewhere(result),
        f"torch {machine.torch}",
        f"{sum(cell.seconds for cell in result.cells) / 60:.1f} minutes of one core",
        *([f"{done} of {result.planned} cells"] if done < result.planned else []),
    ]
    return " · ".join(parts)


def _elsewhere(result: StudyResult) -> Sequence[str]:
    """How many cells were measured on which other machine."""
    machines = Counter(cell.machine for cell in result.cells if cell.machine)
    return [f"{count} cell{'s' * (count > 1)} on {machine}" for machine, count in machines.items()]


def _source(config: StudyConfig) -> str:
    """What the weights come from."""
    if not _trains(config):
        return "given weights"
    recipes = config.axes.get("recipe", (config.recipe,))
    return f"recipe{'s' if len(recipes) > 1 else ''} {', '.join(map(str, recipes))}"


def _trains(config: StudyConfig) -> bool:
    return config.axes.get("recipe") != (FROM_FILE,)


def trivial_note(result: StudyResult) -> str:
    """What trivial predictors get."""
    names = {"zero": "always zero", "repeat": "repeat the last value",
             "recurrence": "the exact recurrence in float32"}  # fmt: skip
    said = (f"{names.get(name, name)} {number(mse)}" for name, mse in result.trivial.items())
    return f"MSE of trivial predictors on the same test set: {', '.join(said)}."


def lost_notes(result: StudyResult) -> Sequence[str]:
    """Why cells have no values, each reason once, with how many it is of."""
    reasons = Counter(_lost(cell) for cell in result.cells if cell.status != "ok")
    return [f"{count} cell{'s' * (count > 1)} {reason}." for reason, count in reasons.items()]


def _lost(cell: CellResult) -> str:
    reason = cell.reason or ""
    if cell.status == "failed":
        return f"failed: {reason}"
    # At which step or iteration, only the file tells.
    return f"diverged in the {'training' if reason.startswith('training') else 'evaluation'}"


def trained_note(result: StudyResult) -> str:
    """How many iterations, and which sizes, where these are not varied."""
    axes = result.config.axes
    said = []
    if len(axes.get("iterations", ())) == 1:
        said.append(f"{axes['iterations'][0]:,} iterations")
    if len(axes.get("hidden_size", ())) == 1:
        said.append(f"H={axes['hidden_size'][0]}")
    return f"Recipe {result.config.recipe}{''.join(', ' + each for each in said)}."
