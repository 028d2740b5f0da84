"""Older result files, brought to the fields of today. Pure; what does not fit is left as it is."""

from typing import Any


def upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """A result of an older schema as one of today.

    Whatever is not as its schema has it is left for the validation to name.
    """
    steps = (_from_schema_1, _from_schema_2, _from_schema_3, _from_schema_4)
    for version, step in enumerate(steps, start=1):
        if data.get("schema_version") == version:
            step(data)
            data = data | {"schema_version": version + 1}
    return data


def _from_schema_1(data: dict[str, Any]) -> None:
    """Schema 1 knew one process and no intervals: its range becomes none."""
    config, environment = data.get("config"), data.get("environment")
    if isinstance(config, dict):
        config.setdefault("processes", 1)
    if isinstance(environment, dict) and isinstance(environment.get("gpu"), list):
        environment["gpu"] = [{"name": name} for name in environment["gpu"]]
    for case in _objects(data, "cases"):
        for row in _objects(case, "throughput"):
            _row_from_1(row)


def _from_schema_2(data: dict[str, Any]) -> None:
    """Schema 2 knew one count of threads and one hidden size, those of the whole run."""
    config = data.get("config")
    if not isinstance(config, dict):
        return
    threads = config.get("threads", 1)
    config["threads"] = [threads]
    for row in (*_rows(data), *_objects(data, "ceilings")):
        row["threads"] = threads
    model = config.get("model")
    for control in _objects(data, "controls"):
        control["hidden_size"] = model.get("hidden_size") if isinstance(model, dict) else None


def _from_schema_3(data: dict[str, Any]) -> None:
    """Schema 3 had wall time alone: nobody had asked the device."""
    for row in _rows(data):
        row.update(device_seconds=None, device_operations=None)


def _from_schema_4(data: dict[str, Any]) -> None:
    """Schema 4 knew neither other tasks than waves, nor recipes and weights from files.

    What is new has defaults that say so; there is nothing to change.
    """


def _rows(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The timed rows of all cases and controls."""
    return [
        row
        for holder in (*_objects(data, "cases"), *_objects(data, "controls"))
        for row in _objects(holder, "throughput")
    ]


def _objects(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in the list ``name``, or none where that is no list."""
    found = data.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


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
