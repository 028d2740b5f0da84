"""What DuckDB makes of result files: one number a file and case, and what it says of itself."""

import os
from collections.abc import Sequence
from typing import Any

THREADS, MEMORY = 2, "1GB"
SMALLEST_BUFFER = 16 << 20  # bytes: DuckDB's own, of which every thread takes two
SOFTWARE = ("python", "torch", "numpy", "cuda", "cudnn", "os", "governor")
MODEL = {
    "input_size": "BIGINT",
    "hidden_size": "BIGINT",
    "num_layers": "BIGINT",
    "nonlinearity": "VARCHAR",
    "bias": "BOOLEAN",
    "dropout": "DOUBLE",
    "bidirectional": "BOOLEAN",
    "batch_first": "BOOLEAN",
}
Row = tuple[Any, ...]


def _struct(**fields: str) -> str:
    return f"STRUCT({', '.join(f'{name} {kind}' for name, kind in fields.items())})"


_SAMPLE = _struct(process="BIGINT", seconds="DOUBLE")
_TIMED = _struct(
    workload="VARCHAR",
    batch_size="BIGINT",
    threads="BIGINT",
    steps="BIGINT",
    samples=f"{_SAMPLE}[]",
)
_CASE = _struct(
    implementation="VARCHAR", device="VARCHAR", dtype="VARCHAR", model=_struct(**MODEL),
    throughput=f"{_TIMED}[]",
)  # fmt: skip
_ENVIRONMENT = _struct(
    cpu="VARCHAR", cores="BIGINT", caches="MAP(VARCHAR, BIGINT)", gpu="JSON",
    git_commit="VARCHAR", git_dirty="BOOLEAN", precision="MAP(VARCHAR, VARCHAR)",
    **dict.fromkeys(SOFTWARE, "VARCHAR"),
)  # fmt: skip
# What an older schema does not have is NULL in its files; what has another type there is JSON.
# Everything else in a file is skipped.
_COLUMNS = {
    "kind": "VARCHAR",
    "schema_version": "BIGINT",
    "created_at": "VARCHAR",
    "config": _struct(threads="JSON"),
    "environment": _ENVIRONMENT,
    "cases": f"{_CASE}[]",
}
# A whole file first, and its fields then, of many files at once: with a column a field DuckDB takes
# as long for each file as for thousands of rows.
_READ = """
    CREATE OR REPLACE TEMP TABLE whole AS
    SELECT CAST(regexp_extract(filename, '([0-9]+)[.]json$', 1) AS INTEGER) AS number, json
    FROM read_json(
        $paths, format = 'unstructured', records = 'false', columns = {json: 'JSON'},
        filename = true, hive_partitioning = false, maximum_object_size = $largest
    )
"""
# Where one of them is no JSON read_json gives none of them.
_READ_DOUBTFUL = """
    CREATE OR REPLACE TEMP TABLE whole AS
    SELECT CAST(regexp_extract(filename, '([0-9]+)[.]json$', 1) AS INTEGER) AS number,
        TRY_CAST(content AS JSON) AS json
    FROM read_text($paths)
    WHERE json IS NOT NULL
"""
# What is not of its type is NULL then; whatever has to be there is asked for.
_TAKE = f"""
    CREATE OR REPLACE TEMP TABLE file AS
    SELECT number, TRY_CAST(fields.created_at AS TIMESTAMPTZ) AS began, has_cases, UNNEST(fields)
    FROM (
        SELECT number, json_type(json, '$.cases') = 'ARRAY' AS has_cases,
            TRY_CAST(json AS {_struct(**_COLUMNS)}) AS fields
        FROM whole
    )
"""  # noqa: S608 - made of the constants above
_FILES = f"""
    SELECT number, kind IS NOT NULL, coalesce(has_cases, false), schema_version,
        CASE WHEN isfinite(began) THEN epoch_us(began) END,
        environment.git_commit, environment.git_dirty,
        environment.cpu, environment.cores, environment.caches,
        json_extract_string(environment.gpu, '$[*].name'),
        json_extract_string(environment.gpu, '$[*]'),
        environment.precision, {", ".join(f"environment.{name}" for name in SOFTWARE)}
    FROM file
"""  # noqa: S608 - made of the constants above
# As `bench.statistics` has it: the process is the unit, and its figure the log of the median of its
# samples.
_ROWS = f"""
    WITH cased AS (
        SELECT number, schema_version < 3 AS old, TRY_CAST(config.threads AS BIGINT) AS threads,
            unnest(cases) AS c
        FROM file
    ), timed AS (
        SELECT number, old, threads, c, unnest(coalesce(c.throughput, [NULL])) AS t FROM cased
    ), sampled AS (
        SELECT number, c.implementation AS implementation, c.device AS device, c.dtype AS dtype,
            t.workload AS workload, t.batch_size AS batch_size,
            CASE WHEN old THEN coalesce(threads, 1) ELSE t.threads END AS threads, t.steps AS steps,
            {", ".join(f"c.model.{name} AS {name}" for name in MODEL)},
            unnest(coalesce(t.samples, [NULL])) AS s
        FROM timed
    ), process AS (
        SELECT * EXCLUDE (s), s.process AS process, median(s.seconds) AS seconds,
            count(s.seconds) = count(*) AND min(s.seconds) > 0.0 AND max(s.seconds) <= 1e30
                AND count(s.process) = count(*) AS sound
        FROM sampled GROUP BY ALL
    )
    SELECT number, bool_and(sound), avg(CASE WHEN sound THEN ln(seconds) END),
        implementation, device, dtype, workload, batch_size, threads, steps, {", ".join(MODEL)}
    FROM process GROUP BY ALL
"""  # noqa: S608 - made of the constants above


class Database:
    """DuckDB in memory; it opens what lies in ``folders``, and nothing else anywhere."""

    def __init__(self, folders: Sequence[str]) -> None:
        import duckdb

        self._connection = duckdb.connect(
            config={
                "threads": min(THREADS, os.cpu_count() or 1),
                "memory_limit": MEMORY,
                "temp_directory": "",  # what does not fit into memory is no result file
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
            }
        )
        # A setting takes no parameter, and a name is not to become a part of a statement.
        self._connection.execute("SET VARIABLE folders = $folders", {"folders": list(folders)})
        self._connection.execute("SET allowed_directories = getvariable('folders')")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def answers(
        self, paths: Sequence[str], largest: int, *, doubtful: bool
    ) -> tuple[list[Row], list[Row]]:
        """What files hold.

        Args:
            paths: of files.
            largest: none of them has more bytes.
            doubtful: whether one may be no JSON, which then has no row.

        Returns:
            A row a JSON value, which a file has one of: the number in its name, whether it has a
            kind, whether it has cases, its schema version, microseconds since 1970, commit, whether
            that is dirty, CPU, cores, caches, the GPUs' names as of schema 2 and as of schema 1,
            precision flags, and the versions of `SOFTWARE`. And a row a case that was timed: the
            file's number, whether all its samples are sound, the mean log seconds, and what names
            it.

        Raises:
            duckdb.Error: one of them cannot be read, or is no JSON.
        """
        if doubtful:
            self._connection.execute(_READ_DOUBTFUL, {"paths": list(paths)})
        else:
            values = {"paths": list(paths), "largest": max(SMALLEST_BUFFER, largest)}
            self._connection.execute(_READ, values)
        self._connection.execute(_TAKE)
        return self.rows(_FILES), self.rows(_ROWS)

    def rows(self, query: str) -> list[Row]:
        """The answer to a query of ours."""
        found: list[Row] = self._connection.execute(query).fetchall()
        return found
