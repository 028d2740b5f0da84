"""Waves in CSV files: points that are given, and those that were predicted after them."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError

Array = NDArray[np.float64]
MOST_CSV_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Wave:
    """What is given, and what should follow where that is known.

    Attributes:
        given: (K, I) points.
        truth: (N, I) points after them, or None.
    """

    given: Array
    truth: Array | None = None


def read_points(path: Path, size: int) -> Array:
    """(K, ``size``) numbers of a CSV file, a row a point; one row of words may come first.

    Raises:
        BenchError: missing, unreadable or too large, no rows, a row of another length, or something
            that is no finite number, with its line.
    """
    points = []
    reader = csv.reader(io.StringIO(_text(path)))
    try:
        for row in reader:
            headings = reader.line_num == 1 and all(_number(cell) is None for cell in row)
            if headings or not any(cell.strip() for cell in row):
                continue
            points.append(_point(row, size, f"{path}, line {reader.line_num}"))
    except csv.Error as error:
        raise BenchError(f"{path}, line {reader.line_num}: {error}") from None
    if not points:
        raise BenchError(f"{path} has no points; it must have a row for each")
    return np.array(points)


def as_csv(wave: Wave, predicted: Array) -> str:
    """Every point once: step, given or predicted, its features, and the truth where it is known."""
    size = predicted.shape[1]
    names = ["x"] if size == 1 else [f"x{n}" for n in range(size)]
    truths = [f"true_{name}" for name in names] if wave.truth is not None else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "kind", *names, *truths])
    known = np.concatenate([wave.given, wave.truth]) if wave.truth is not None else None
    for step, point in enumerate(np.concatenate([wave.given, predicted]).tolist()):
        kind = "given" if step < len(wave.given) else "predicted"
        writer.writerow([step, kind, *point, *(known[step].tolist() if known is not None else ())])
    return text.getvalue()


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_CSV_BYTES:
            raise BenchError(f"{path} is larger than {MOST_CSV_BYTES // 1_000_000} MB")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BenchError(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise BenchError(f"{path} is no CSV: it is not text in UTF-8") from None
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from None


def _point(row: list[str], size: int, where: str) -> list[float]:
    if len(row) != size:
        columns = "column" if len(row) == 1 else "columns"
        raise BenchError(f"{where} has {len(row)} {columns}; the weights want {size}")
    numbers = []
    for cell in row:
        if (number := _number(cell)) is None:
            raise BenchError(f"{where}: {cell[:40]!r} is no finite number")
        numbers.append(number)
    return numbers


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
