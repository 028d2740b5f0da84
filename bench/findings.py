"""Asks a worker for everything that an implementation's author must know, one finding a question.

A crash or a hang is a finding too: of whatever was being asked, and those before it stay.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.config import CaseKey
from bench.messages import Finding
from bench.remote import CaseError, WorkerLostError
from bench.schema import Case

MOST_LOSSES = 2  # a new worker takes seconds to start


@dataclass(frozen=True, slots=True)
class Checked:
    """What `bench check` found out.

    Attributes:
        cases: with parity.
        findings: by a case's key; none for what cannot run here.
    """

    cases: tuple[Case, ...]
    findings: Mapping[CaseKey, tuple[Finding, ...]]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        verdicts = {each.verdict for found in self.findings.values() for each in found}
        return "FAIL" not in verdicts and all(case.status != "failed" for case in self.cases)


def investigate(
    case: Case, ask: Callable[..., Any], close_worker: Callable[[], None]
) -> tuple[Finding, ...]:
    """All findings of a case, the gate's own the last.

    Args:
        case: with its parity, where that was found.
        ask: asks the worker, or a new one after `close_worker`.
        close_worker: ends what is left of a worker that was lost.
    """
    found: list[Finding] = []
    causes: dict[str, list[str]] = {}  # of what failed or could not be looked at
    losses = 0
    for name, needs in ask("findings_planned"):
        if losses >= MOST_LOSSES:
            found.append(Finding(name, "not checked", "the process was lost too often"))
            continue
        if roots := list(dict.fromkeys(root for need in needs for root in causes.get(need, ()))):
            causes[name] = roots
            found.append(Finding(name, "not checked", f"because of: {', '.join(roots)}"))
            continue
        try:
            new = ask("findings", case, name)
        except CaseError as error:
            new = (Finding(name, "FAIL", f"raised {error}"),)
        except WorkerLostError as error:
            close_worker()
            losses += MOST_LOSSES if error.hung else 1
            new = (Finding(name, "FAIL", str(error)),)
        found += new
        if any(each.verdict == "FAIL" for each in new):
            causes[name] = [name]
    return (*found, _gate(case))


def _gate(case: Case) -> Finding:
    """What `bench run` would say."""
    if case.parity and case.parity.passed:
        return Finding("gate of bench run", "ok")
    return Finding("gate of bench run", "FAIL", case.reason or "it was not reached")
