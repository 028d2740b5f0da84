"""The columns that name a row in the tables of a result, and the sections of its timed rows."""

from collections.abc import Callable, Sequence

from bench.render import Row
from bench.schema import Case, Result
from bench.summary import ParityRow, ThroughputRow, throughput_rows


def sizes(cases: Sequence[Case]) -> list[int]:
    """The hidden sizes, each once: several of them take a column."""
    return list(dict.fromkeys(case.model.hidden_size for case in cases))


def case_columns(hidden_sizes: Sequence[int]) -> Row:
    """The columns that name a case."""
    return ("implementation", "device", *(("H",) if len(hidden_sizes) > 1 else ()))


def case_name(row: ThroughputRow | ParityRow, hidden_sizes: Sequence[int]) -> Row:
    """What a row has in them."""
    size = (str(row.hidden_size),) if len(hidden_sizes) > 1 else ()
    return (row.implementation, row.device, *size)


def timed_columns(result: Result) -> Row:
    """The columns that name a timed row."""
    threads = ("threads",) if len(result.config.threads) > 1 else ()
    return ("workload", "batch", *case_columns(sizes(result.cases)), *threads)


def timed_sections(
    result: Result, cells: Callable[[ThroughputRow], Row]
) -> tuple[tuple[Row, ...], ...]:
    """The timed rows in words, a section for every workload and batch size."""
    rows = throughput_rows(result)
    groups = dict.fromkeys(row.group for row in rows)
    return tuple(
        tuple((*_timed_name(row, result), *cells(row)) for row in rows if row.group == group)
        for group in groups
    )


def _timed_name(row: ThroughputRow, result: Result) -> Row:
    several = len(result.config.threads) > 1
    threads = (f"{row.threads}{'*' if row.best else ' '}",) if several else ()
    case = case_name(row, sizes(result.cases))
    return (row.workload, f"{row.batch_size:,}", *case, *threads)
