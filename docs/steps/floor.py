"""What the machine allows: ``python -m docs.steps.floor floors|sizes FILE``, a table of a file.

    operations = 2 H^2 a step and sequence, and what the read-out and forced inputs add
    floor      = max(operations / fastest product, bytes / copy, steps x dependent addition)

as `bench.limits` has it; the sizes beside the caches are those of the kernel's own blocking.
"""

import sys
from pathlib import Path

from bench import limits, records
from bench.render import Table, to_markdown
from bench.schema import Result
from bench.summary import throughput_rows
from bench.words import percent, short, significant, size
from bench.workloads import forcing
from impls.fused_cpu import TILE_ROWS
from impls.kernels.recurrence import COLLECTED

SUBJECT = "fused_cpu"


def floors(result: Result) -> Table:
    """The least time of a step, what bounds it, and the time that fused_cpu takes."""
    config, [ceilings] = result.config, result.ceilings
    rows = []
    for row in throughput_rows(result):
        if row.implementation != SUBJECT:
            continue
        forced = forcing(row.workload, config.seed).tolist()
        work = limits.operations(config.model, row.workload, row.batch_size, forced) / len(forced)
        least = limits.limit(
            config.model, row.workload, row.batch_size, forced, config.dtype, ceilings
        )
        rows.append(
            (
                row.workload,
                f"{row.batch_size:,}",
                short(work),
                significant(least.seconds / len(forced) * 1e6),
                least.bound,
                significant(row.microseconds_per_step),
                percent(row.share_of_limit),
            )
        )
    matrix = _matrix_bytes(result)
    step = ceilings.step_seconds or 0.0
    return Table(
        title="A step of the whole batch",
        columns=("workload", "batch", "operations", "floor", "bound", SUBJECT, "share"),
        sections=(tuple(rows),),
        notes=(
            "operations: multiplications and additions that nobody can leave out. floor and "
            f"{SUBJECT} in microseconds. This machine's fastest product does "
            f"{short(ceilings.flops_per_second)} operations a second, its copy within the caches "
            f"{short(ceilings.cached_bytes_per_second)} bytes, and an addition that waits for "
            f"another takes {significant(step * 1e9)} ns: a step of nothing but its one sum's "
            f"{config.model.hidden_size} additions in a row takes "
            f"{significant(step * config.model.hidden_size * 1e6)} microseconds, and "
            "to read W once, at the pace of that copy, "
            f"{significant(matrix / ceilings.cached_bytes_per_second * 1e6)}.",
        ),
    )


def sizes(result: Result) -> Table:
    """What a step touches, and the caches that it may lie in."""
    row = _matrix_bytes(result) // result.config.model.hidden_size
    touched = (
        ("W, read at every step", _matrix_bytes(result)),
        (f"states of a tile, {TILE_ROWS} sequences", TILE_ROWS * row),
        (f"states and gradients of {COLLECTED} rows, backward", 2 * COLLECTED * row),
    )
    caches = tuple((f"cache {name}", held) for name, held in result.environment.caches.items())
    return Table(
        title="Bytes",
        columns=("what it is", "size"),
        sections=(tuple((name, size(held)) for name, held in (*touched, *caches)),),
    )


def _matrix_bytes(result: Result) -> int:
    return limits.ITEM_BYTES[result.config.dtype] * result.config.model.hidden_size**2


TABLES = {"floors": floors, "sizes": sizes}


def main(table: str, file: str) -> None:
    """Print one of the tables of a result file in Markdown."""
    sys.stdout.write(to_markdown(TABLES[table](records.load(Path(file)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
