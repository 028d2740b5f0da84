"""All checks in their order, and how one is made."""

from dataclasses import replace

from bench import parity
from bench.author import answers, calls, claims, gradients, manners, outputs, reading, weights
from bench.author.check import Check, NotCheckedError
from bench.author.settings import settings_kept
from bench.author.subject import Subject
from bench.messages import Finding

LONGEST_WORDS = 160

CHECKS: dict[str, Check] = {
    **weights.CHECKS,
    **outputs.CHECKS,
    **calls.CHECKS,
    **reading.CHECKS,
    **answers.CHECKS,
    **gradients.CHECKS,
    **claims.CHECKS,
    **manners.CHECKS,
}


def planned() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The names of all checks, each with those that it needs."""
    return tuple((name, each.needs) for name, each in CHECKS.items())


def look(subject: Subject, name: str) -> tuple[Finding, ...]:
    """Run one check; what it raises is its finding."""
    try:
        with settings_kept():
            outcome = CHECKS[name].run(subject)
    except NotCheckedError as reason:
        return (Finding(name, "not checked", str(reason)),)
    except Exception as error:  # noqa: BLE001 - whatever an implementation raises is its result
        outcome = f"raised {parity.one_line(error)[:LONGEST_WORDS]}"
    if outcome is None:
        return (Finding(name, "ok"),)
    if isinstance(outcome, str):
        found: tuple[Finding, ...] = (Finding(name, "FAIL", outcome),)
    else:
        found = tuple(replace(each, name=each.name or name) for each in outcome)
    if any(each.verdict == "FAIL" for each in found):
        subject.failed.add(name)
        subject.forget()
    return found
