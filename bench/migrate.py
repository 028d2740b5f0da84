"""Older result files, brought to the fields of today. Pure; what does not fit is left as it is."""

from typing import Any

from bench.schema import SCHEMA_VERSION


def from_schema_1(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 knew one process and no intervals: its range becomes none.

    Whatever is not as schema 1 has it is left for the validation to name.
    """
    config, environment = _part(data, "config"), _part(data, "environment")
    config.setdefault("processes", 1)
    if isinstance(environment.get("gpu"), list):
        environment["gpu"] = [{"name": name} for name in environment["gpu"]]
    cases = data.get("cases")
    for case in cases if isinstance(cases, list) else []:
        rows = case.get("throughput") if isinstance(case, dict) else None
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                _row_from_1(row)
    return data | {"schema_version": SCHEMA_VERSION, "config": config, "environment": environment}


def _row_from_1(row: dict[str, Any]) -> None:
    rate = _part(row, "steps_per_second")
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
        steps_per_second=rate | {"low": None, "high": None},
        noise=None,
        limit=None,
        joules_per_call=None,
    )


def _part(data: dict[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name)
    return found if isinstance(found, dict) else {}
