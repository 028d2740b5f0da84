"""Numbers in words, for the tables."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.schema import Environment

NOTHING = "-"


def error(value: float | None) -> str:
    """Four decimals where they say something, two digits and an exponent below."""
    if value is None:
        return NOTHING
    return f"{value:.4f}" if value >= 1e-3 else f"{value:.1e}"


def ratio(value: float | None) -> str:
    """A factor."""
    return NOTHING if value is None else f"{value:.2f}x"


def significant(value: float | None) -> str:
    """Three significant digits, thousands set apart, never an exponent."""
    if value is None:
        return NOTHING
    rounded = float(f"{value:.3g}")
    decimals = max(0, 2 - len(str(int(rounded))) + 1) if rounded >= 1 else 3
    return f"{rounded:,.{decimals}f}"


def short(value: float | None) -> str:
    """Three significant digits and a letter for thousands (k), millions (M), billions (G)."""
    if value is None:
        return NOTHING
    for letter, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{significant(value / scale)}{letter}"
    return significant(value)


def plus_minus(low: float | None, high: float | None) -> str:
    """Half the width of an interval of ratios, in percent: what is added and taken away."""
    if low is None or high is None:
        return NOTHING
    half = math.expm1(math.log(high / low) / 2.0)
    return "±" + percent(half) if half <= 1.0 else "±>100%"


def ratio_within(value: float | None, low: float | None, high: float | None) -> str:
    """A factor and, where it has an interval, half of its width: "1.38x ±5.3%"."""
    apart = plus_minus(low, high)
    return ratio(value) if apart == NOTHING else f"{ratio(value)} {apart}"


def case(key: tuple[str, str, int], *, with_size: bool) -> str:
    """A case by its implementation, its device and, where there are several, its hidden size."""
    implementation, device, hidden_size = key
    return f"{implementation} on {device}" + (f" with H={hidden_size}" if with_size else "")


def machine(environment: "Environment") -> str:
    """A kind of machine: its processor, cores and GPUs."""
    cores = f"{environment.cores} core{'s' if environment.cores > 1 else ''}"
    gpus = dict.fromkeys(gpu.name for gpu in environment.gpu)
    return ", ".join([f"{environment.cpu} ({cores})", *gpus])


def thread_counts(counts: Sequence[int]) -> str:
    """Such as "1 and 2 threads"."""
    text = listed(list(map(str, counts)))
    return f"{text} thread{'' if text == '1' else 's'}"


def listed(parts: Sequence[str], word: str = "and") -> str:
    """Such as "a, b and c", of one part at least."""
    *others, last = parts
    return f"{', '.join(others)} {word} {last}" if others else last


def percent(value: float | None) -> str:
    """A fraction in percent, two digits where they say something."""
    if value is None:
        return NOTHING
    hundredths = 100.0 * value
    if hundredths >= 1000.0:
        return ">999%"
    return f"{hundredths:.1f}%" if abs(hundredths) < 10.0 else f"{hundredths:.0f}%"


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{significant(value / size)} {unit}"
    return f"{significant(value / 1e-6)} us"


def size(value: int | None) -> str:
    """Bytes in binary units."""
    if value is None:
        return NOTHING
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if value >= scale:
            return f"{significant(value / scale)} {unit}"
    return f"{significant(value / 1024)} KiB" if value else "0"
