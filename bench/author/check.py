"""What a check is: a function of a `Subject` that says nothing when all is well."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.author.subject import Subject
from bench.messages import Finding

# None, or else what was wrong and what would be right; or findings, one of each thing looked at.
Outcome = str | Sequence[Finding] | None


class NotCheckedError(Exception):
    """A check makes no sense here; the message says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at; ``needs``: without these it makes no sense."""

    run: Callable[[Subject], Outcome]
    needs: tuple[str, ...]


class Group(dict[str, Check]):
    """Checks by name, in the order in which they are to be made."""

    def add(self, name: str, *needs: str) -> Callable[[Callable[[Subject], Outcome]], None]:
        """Register the decorated function under ``name``, after the checks that it needs."""

        def register(run: Callable[[Subject], Outcome]) -> None:
            self[name] = Check(run, needs)

        return register
