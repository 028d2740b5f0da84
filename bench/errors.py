"""What goes wrong by the user's hand, as one clear line."""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Bad input; the message says what was wrong and what would be right."""


class WrongWorkError(Exception):
    """An implementation did other work than was timed: none of its times counts."""


def unknown(kind: str, name: str, known: Iterable[str]) -> BenchError:
    """The error for a name that is not among ``known``, with the nearest one where there is one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return BenchError(f"unknown {kind} '{name}'{hint} (known: {', '.join(names)})")
