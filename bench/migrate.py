"""Older result files, brought to the fields of today. Pure; what does not fit is left as it is."""

from typing import Any

from bench.schema import SCHEMA_VERSION


def from_schema_1(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 knew one process and no intervals: its range becomes none.

    Whatever is not as schema 1 has it is left for the validation to name.
    """
    config, environment = data.get("config"), data.get("environment")
    if isinstance(config, dict):
        config.setdefault("processes", 1)
    if isinstance(environment, dict) and isinstance(environment.get("gpu"), list):
        environment["gpu"] = [{"name": name} for name in environment["gpu"]]
    cases = data.get("cases")
    for case in cases if isinstance(cases, list) else []:
        rows = case.get("throughput") if isinstance(case, dict) else None
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                _row_from_1(row)
    return data | {"schema_version": SCHEMA_VERSION}


def _row_from_1(row: dict[str, Any]) -> None:
    rate = row.get("steps_per_second")
    warm_up = {
        "process": 0,
        "first_call_seconds": row.get("first_call_seconds"),
        "seconds": 0.0,
        "windows": 1,
        "agreed": True,
        "calls_per_sample": row.pop("calls_per_sample", None),
    }
    row.update(
        warm_ups=[warm_up],
        steps_per_second=rate | {"low": None, "high": None} if isinstance(rate, dict) else rate,
        noise=None,
        limit=None,
        joules_per_call=None,
    )
