"""The folder of figures beside a result file, as PNG and SVG, kept up to date.

Every figure's metadata name the program and the digest of the file it was drawn from, so that an
up-to-date one is known, without matplotlib.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.environment import version
from bench.scaling import Against, against
from bench.schema import Case, Result
from bench.summary import throughput_rows

PROGRAM = "rnn-bench"
MOST_BARS = 24  # panels; beyond that lines say it


@dataclass(frozen=True, slots=True)
class Plan:
    """A figure to be: ``file`` is its name without suffix, ``name`` that of its function."""

    file: str
    name: str
    case: Case | None = None
    lines: tuple[str, Against] | None = None


def draw_all(result: Result, source: Path) -> Path:
    """Draw what is missing or out of date into the folder beside ``source``; returns the folder.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder, stamp = prepared(source)
    for plan in planned(result):
        _bring_up_to_date(plan, result, folder, stamp)
    return folder


def prepared(source: Path) -> tuple[Path, str]:
    """The folder beside ``source``, without figures of what was in it before, and their stamp.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder = source.with_suffix("")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    stamp = f"{PROGRAM} {version()}, result file sha256 {digest}"
    folder.mkdir(exist_ok=True)
    _remove_figures_of_another_result(folder, stamp)
    return folder, stamp


def planned(result: Result) -> Iterator[Plan]:
    """The figures that the result has data for."""
    evaluated = [case for case in result.cases if case.accuracy]
    for case in evaluated:
        device = case.device.replace(":", "")
        size = f"_h{case.model.hidden_size}" if len(result.config.hidden_sizes) > 1 else ""
        yield Plan(f"best_worst_{case.implementation}_{device}{size}", "best_worst", case)
    for name, has_data in {
        "training_loss": any(case.training for case in result.cases),
        "error_growth": bool(evaluated),
        "throughput": 0 < len({row.group for row in throughput_rows(result)}) <= MOST_BARS,
    }.items():
        if has_data:
            yield Plan(name, name)
    for workload in dict.fromkeys(row.workload for row in throughput_rows(result)):
        for over in against(result, workload):
            file = f"scaling_{workload}_over_{over.replace(' ', '_')}"
            yield Plan(file, "scaling", lines=(workload, over))


def _remove_figures_of_another_result(folder: Path, stamp: str) -> None:
    """What we drew from an earlier content of the file; nothing that is not ours."""
    for path in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        content = path.read_bytes()
        ours = f"{PROGRAM} ".encode() in content and b", result file sha256 " in content
        if ours and stamp.encode() not in content:
            path.unlink()


def _bring_up_to_date(plan: Plan, result: Result, folder: Path, stamp: str) -> None:
    files = [folder / f"{plan.file}.{kind}" for kind in ("png", "svg")]
    if all(file.is_file() and stamp.encode() in file.read_bytes() for file in files):
        return
    from bench import figures  # takes a third of a second: only who draws waits for matplotlib

    figures.save(plan.name, result, plan.case, files, stamp, lines=plan.lines)
