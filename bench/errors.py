"""What goes wrong by the user's hand, as one clear line."""

import difflib
import re
from collections.abc import Iterable

# Triton opens with a place in the kernel, the source down to a caret, and what is wrong beneath.
_PLACE = re.compile(r"at \d+:\d+:")
# It quotes what the assembler wrote beneath such a line.
_QUOTED = re.compile(r"`\w+` stderr:")


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


def telling_line(message: str) -> str:
    """The line of an exception's message that says what was wrong.

    Its first; but of a compiler that quotes others, or its source, its own place and what it says
    of it.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    first = lines[0] if lines else ""
    if _PLACE.fullmatch(first):
        # The caret closes the source; without one, or with nothing beneath, the last line it is.
        carets = [number for number, line in enumerate(lines) if line == "^"]
        said = lines[carets[-1] + 1 :] if carets else []
        rest = [line for line in lines[1:] if line != "^"]
        return " ".join([first, *(said[:1] or rest[-1:])])
    for number, line in enumerate(lines[:-1]):
        if _QUOTED.fullmatch(line):
            return f"{first}: {lines[number + 1]}" if number else lines[1]
    return first
