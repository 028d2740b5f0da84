"""What a study's file holds."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bench.config import Dtype, EvaluationConfig, PositiveInt, StrictModel
from bench.schema import Count, Environment, Name, Natural

# What is varied, by name; None means without a limit.
Setting = str | bool | int | float | None
Settings = dict[str, Setting]
Axes = dict[str, tuple[Setting, ...]]
# A number, or a curve; None is what there is none of.
Value = float | tuple[float, ...] | None
Values = dict[str, Value]
# diverged: the training or the free run left the numbers, which is an answer; failed: no answer.
CellStatus = Literal["ok", "diverged", "failed"]


class StudyConfig(StrictModel):
    """One study.

    ``axes``: name -> the settings that are tried. ``seed`` is the first of ``seeds``, each of which
    names the weights, the data and the coin flips of one repetition of the whole grid.
    ``recipe``: what is kept of the training where no axis varies it. ``weights``: a file of trained
    ones, for a study that looks at them. ``time_limit``: seconds without a sign of life after which
    a cell counts as hung.
    """

    study: Name
    task: str = "cosine"
    implementation: Name = "fused_cpu"
    recipe: str = "quick"
    weights: str | None = None
    dtype: Dtype = "float32"
    seed: Annotated[int, Field(ge=0, lt=2**32 - 10_000)] = 0
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 5
    axes: Axes = Field(min_length=1)
    evaluation: EvaluationConfig = EvaluationConfig()
    time_limit: Annotated[float, Field(gt=0.0, le=1e7)] = 600.0


class Cell(StrictModel):
    """One repetition at one point of the grid."""

    settings: Settings
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @property
    def key(self) -> tuple[tuple[tuple[str, str], ...], int]:
        """What tells cells apart: 1, 1.0 and True are different settings."""
        return tuple((name, repr(value)) for name, value in sorted(self.settings.items())), (
            self.seed
        )


class CellResult(Cell):
    """What a cell found, or why it found nothing.

    ``machine``: where, in words, if that is another kind of machine than the study's environment.
    """

    status: CellStatus
    reason: str | None = None
    machine: str | None = None
    seconds: Natural = 0.0
    values: Values = Field(default_factory=dict)


class StudyResult(StrictModel):
    """A study's file; ``trivial`` is what trivial predictors get on its test set, by name."""

    kind: Literal["study"] = "study"
    schema_version: Literal[1] = 1
    created_at: str
    config: StudyConfig
    environment: Environment
    jobs: Count
    planned: PositiveInt
    trivial: dict[str, Natural] = Field(default_factory=dict)
    cells: tuple[CellResult, ...] = ()

    @model_validator(mode="after")
    def _each_cell_once(self) -> Self:
        if len({cell.key for cell in self.cells}) < len(self.cells):
            raise ValueError("cells must not have the same settings and seed twice")
        return self

    def values(self, measure: str, **settings: Setting) -> list[float]:
        """What the finished seeds at these settings found of one measure that is a number."""
        cells = [cell for cell in self.at(**settings) if cell.status == "ok"]
        found = [cell.values[measure] for cell in cells]
        return [value for value in found if isinstance(value, float)]

    def curves(self, measure: str, **settings: Setting) -> list[tuple[float, ...]]:
        """The same of a measure that is a curve."""
        cells = [cell for cell in self.at(**settings) if cell.status == "ok"]
        found = [cell.values[measure] for cell in cells]
        return [value for value in found if isinstance(value, tuple)]

    def at(self, **settings: Setting) -> list[CellResult]:
        """The cells whose settings these are; those that are not named may be any."""
        return [
            cell
            for cell in self.cells
            if all(name in cell.settings and _same(cell.settings[name], value)
                   for name, value in settings.items())
        ]  # fmt: skip


def _same(one: Setting, other: Setting) -> bool:
    return type(one) is type(other) and one == other
