"""The result file: golden, round trip, atomic, and refused in one line when it is damaged."""

import json
import random
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import records
from bench.errors import BenchError
from bench.records import dumps, load, save
from bench.schema import Gpu


def test_the_golden_file_reads_and_writes_back_byte_for_byte(golden, tmp_path):
    result = load(golden)
    copy = tmp_path / "copy.json"
    save(result, copy)
    assert copy.read_bytes() == golden.read_bytes()
    assert load(copy) == result


def test_files_from_before_a_process_could_take_more_rounds_are_read(golden, tmp_path):
    data = json.loads(golden.read_text())
    del data["config"]["sampling_seconds"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(data))
    assert load(path).config.sampling_seconds == 0.0  # their rounds were what was asked for


def test_the_field_names_of_schema_5(golden):
    """Whoever reads result files without our code relies on these names."""
    data = json.loads(golden.read_text())
    assert list(data) == [
        "schema_version", "created_at", "config", "environment", "cases", "controls", "canaries",
        "ceilings", "processes", "baselines",
    ]  # fmt: skip
    case = data["cases"][0]
    assert list(case) == [
        "implementation", "device", "dtype", "model", "task", "status", "reason",
        "weights_digest", "parity", "training", "accuracy", "throughput",
    ]  # fmt: skip
    assert {"output_error", "gradient_error", "tolerance", "passed"} <= set(case["parity"])
    assert list(case["training"]) == ["recipe", "seed", "iterations", "seconds", "loss"]
    assert {
        "mse_mean", "mse_median", "mse_p95", "mse_best", "mse_worst", "best_index",
        "worst_index", "mse_per_sequence",
    } <= set(case["accuracy"])  # fmt: skip
    row = case["throughput"][0]
    assert list(row) == [
        "workload", "batch_size", "threads", "steps", "first_call_seconds", "warm_ups", "samples",
        "steps_per_second", "noise", "output_error", "limit", "peak_memory_bytes",
        "joules_per_call", "device_seconds", "device_operations",
    ]  # fmt: skip
    assert list(row["samples"][0]) == ["process", "round", "seconds", "flags"]
    assert list(row["steps_per_second"]) == ["estimate", "low", "high"]
    assert list(row["limit"]) == ["seconds", "bound"]
    assert list(data["controls"][0]) == ["implementation", "device", "hidden_size", "throughput"]
    assert list(data["canaries"][0]) == ["device", "samples"]
    assert list(data["processes"][0]) == [
        "index", "created_at", "rounds", "complete", "seconds", "busy_seconds",
    ]  # fmt: skip
    assert list(data["baselines"]) == ["zero", "repeat", "recurrence"]


def test_the_golden_file_has_everything_that_a_run_writes(golden):
    """What is empty in it is not tested by it."""
    result = load(golden)
    assert [case.status for case in result.cases] == ["ok", "ok", "ok"]
    assert [len(case.throughput) for case in result.cases] == [3, 3, 3]
    assert [(c.implementation, c.device, len(c.throughput)) for c in result.controls] == [
        ("torch_rnn", "cpu", 3)
    ]
    assert [(p.index, p.rounds, p.complete) for p in result.processes] == [
        (0, 2, True),
        (1, 2, True),
    ]
    assert [len(canary.samples) for canary in result.canaries] == [4]
    for case in result.cases:
        for row in case.throughput:
            assert len(row.samples) == 4
            assert len(row.warm_ups) == 2
            assert row.limit
            assert row.noise is not None
            assert row.steps_per_second.low is not None


# Schema 4: waves alone, and recipes by name.


def test_a_file_of_schema_4_still_loads(golden_4):
    old, result = json.loads(golden_4.read_text()), load(golden_4)
    assert (old["schema_version"], result.schema_version) == (4, 5)
    new = json.loads(dumps(result.model_dump(mode="json")))
    for data in (new, old):  # all else is as it was
        data.pop("schema_version")
    without_what_came_with_schema_5(new)
    assert new == old


# Schema 3: wall time alone.


def test_a_file_of_schema_3_still_loads(golden_3):
    old, result = json.loads(golden_3.read_text()), load(golden_3)
    assert (old["schema_version"], result.schema_version) == (3, 5)
    rows = [row for holder in (*result.cases, *result.controls) for row in holder.throughput]
    assert len(rows) == 12
    assert {(row.device_seconds, row.device_operations) for row in rows} == {(None, None)}
    new = json.loads(dumps(result.model_dump(mode="json")))
    for data in (new, old):  # all else is as it was
        data.pop("schema_version")
    without_what_came_with_schema_4(new)
    assert new == old


def without_what_came_with_schema_4(data):
    """Take out what schema 3 had not."""
    without_what_came_with_schema_5(data)
    for holder in (*data["cases"], *data["controls"]):
        for row in holder["throughput"]:
            del row["device_seconds"], row["device_operations"]
    for case in data["cases"]:
        assert case["parity"].pop("precision") is None
        assert case["parity"].pop("closed_loop") is True
    assert [data["config"].pop(name) for name in ("init", "init_gain")] == [None, 1.0]


def without_what_came_with_schema_5(data):
    """Take out what schema 4 had not."""
    for accuracy in filter(None, (case["accuracy"] for case in data["cases"])):
        assert [accuracy.pop(name) for name in ("forced_steps", "answers")] == [None, None]
        assert [accuracy[end].pop("inputs") for end in ("best", "worst")] == [None, None]
    assert [data["config"].pop(name) for name in ("own_recipe", "weights")] == [None, None]
    for model in (data["config"]["model"], *(case["model"] for case in data["cases"])):
        assert model.pop("batch_first") is False


def test_what_a_device_did_is_written_and_read(golden, tmp_path):
    def profiled(data):
        data["cases"][0]["throughput"][1].update(device_seconds=0.25, device_operations=5123)

    result = load(changed(tmp_path / "gpu.json", golden, profiled))
    save(result, tmp_path / "copy.json")
    row = load(tmp_path / "copy.json").cases[0].throughput[1]
    assert (row.device_seconds, row.device_operations) == (0.25, 5123)


# Schema 2: one count of threads for the whole run.


def test_a_file_of_schema_2_still_loads(golden_2, golden, tmp_path):
    old, result = json.loads(golden_2.read_text()), load(golden_2)
    assert (old["schema_version"], old["config"]["threads"]) == (2, 1)
    assert (result.schema_version, result.config.threads) == (5, (1,))
    rows = [row for holder in (*result.cases, *result.controls) for row in holder.throughput]
    assert len(rows) == 12
    assert {row.threads for row in rows} == {found.threads for found in result.ceilings} == {1}
    new = json.loads(dumps(result.model_dump(mode="json")))
    for data in (new, old):  # all else is as it was
        data.pop("schema_version")
        data["config"].pop("threads")
    without_what_came_with_schema_4(new)
    for holder in (*new["cases"], *new["controls"]):
        for row in holder["throughput"]:
            row.pop("threads")
    for found in new["ceilings"]:
        found.pop("threads")
    assert [new["config"].pop(name) for name in ("more_hidden_sizes", "steps")] == [[], None]
    assert [control.pop("hidden_size") for control in new["controls"]] == [4]
    assert new == old


def test_the_threads_of_schema_2_are_those_of_every_row(golden_2, tmp_path):
    def two(data):
        data["config"]["threads"] = 2

    result = load(changed(tmp_path / "two.json", golden_2, two))
    assert result.config.threads == (2,)
    rows = [row for holder in (*result.cases, *result.controls) for row in holder.throughput]
    assert {row.threads for row in rows} == {found.threads for found in result.ceilings} == {2}


@pytest.mark.parametrize("value", ["x", None, [1], 0, 10**400])
def test_damaged_threads_of_schema_2_are_named(value, golden_2, tmp_path):
    path = changed(tmp_path / "bad.json", golden_2, lambda d: d["config"].update(threads=value))
    with pytest.raises(BenchError, match=r"field config\.threads\.0"):
        load(path)


# Schema 1: one process, a range in place of an interval.


def test_a_file_of_schema_1_still_loads(golden_1, tmp_path):
    old, result = json.loads(golden_1.read_text()), load(golden_1)
    assert old["schema_version"] == 1
    assert (result.schema_version, result.config.processes) == (5, 1)
    assert result.processes == result.controls == result.canaries == result.ceilings == ()
    assert [case.implementation for case in result.cases] == old["config"]["implementations"]
    for case, old_case in zip(result.cases, old["cases"], strict=True):
        assert case.accuracy.mse_mean == old_case["accuracy"]["mse_mean"]
        for row, old_row in zip(case.throughput, old_case["throughput"], strict=True):
            _same_row(row, old_row)
    copy = tmp_path / "copy.json"
    save(result, copy)
    assert load(copy) == result


def _same_row(row, old):
    """A row of schema 1: its samples and estimate as they were, its range no interval."""
    assert row.steps_per_second.model_dump() == {
        "estimate": old["steps_per_second"]["estimate"], "low": None, "high": None,
    }  # fmt: skip
    assert (row.noise, row.limit, row.joules_per_call) == (None, None, None)
    assert (row.device_seconds, row.device_operations) == (None, None)
    assert [(s.round, s.seconds) for s in row.samples] == [
        (s["round"], s["seconds"]) for s in old["samples"]
    ]
    assert all((s.process, s.flags) == (0, ()) for s in row.samples)
    [warm_up] = row.warm_ups
    assert warm_up.process == 0
    assert warm_up.first_call_seconds == row.first_call_seconds == old["first_call_seconds"]
    assert warm_up.calls_per_sample == old["calls_per_sample"]


def test_the_gpus_of_schema_1_were_names(golden_1, tmp_path):
    def two(data):
        data["environment"]["gpu"] = ["NVIDIA H100", "NVIDIA T4"]

    result = load(changed(tmp_path / "gpu.json", golden_1, two))
    assert result.environment.gpu == (Gpu(name="NVIDIA H100"), Gpu(name="NVIDIA T4"))
    assert result.environment.gpu[0].power_watts is None


def without_config(data):
    data.pop("config")


def config_of_text(data):
    data.update(config="x")


def no_environment(data):
    data.update(environment=None)


def a_row_of_text(data):
    data["cases"][0]["throughput"][1] = "fast"


def no_first_call(data):
    data["cases"][0]["throughput"][1].pop("first_call_seconds")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (without_config, "config"),
        (config_of_text, "config"),
        (no_environment, "environment"),
        (a_row_of_text, r"cases\.0\.throughput\.1"),
        (no_first_call, r"cases\.0\.throughput\.1\..*first_call_seconds"),
    ],
)
def test_a_damaged_file_of_schema_1_is_refused(change, field, golden_1, tmp_path):
    with pytest.raises(BenchError, match=rf"field {field}"):
        load(changed(tmp_path / "bad.json", golden_1, change))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(JSON)
def test_dumps_is_json(value):
    assert json.loads(dumps(value)) == value


def test_dumps_keeps_numbers_and_small_objects_on_one_line():
    assert dumps({"a": [1, 2.5], "b": [{"c": 1, "d": []}, {"c": 1, "d": ["x"]}]}) == (
        '{\n "a": [1, 2.5],\n "b": [\n  {"c": 1, "d": []},\n'
        '  {\n   "c": 1,\n   "d": ["x"]\n  }\n ]\n}'
    )


def test_no_infinity_is_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"x": float("inf")})


def changed(path, golden, edit):
    data = json.loads(golden.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    return path


REMOVED = object()
ROW = "cases.0.throughput.0"
# What is put where, and what is said of it.
EDITS = {
    "wrong type": ("cases.0.accuracy.mse_mean", "low", "valid number.*got 'low'"),
    "number as text": ("cases.1.training.seconds", "3.5", "got '3.5'"),
    "missing field": ("cases.2.implementation", REMOVED, "Field required"),
    "unknown field": ("extra", 1, "Extra inputs"),
    "no loss": ("cases.0.training.loss", [], "at least 1 item"),
    "a name that could be a path": ("cases.0.implementation", "../x", "should match"),
    "a name that a terminal obeys": ("cases.0.implementation", "\u001b[31mx", "should match"),
    "infinite": (f"{ROW}.steps_per_second.estimate", float("inf"), "finite"),
    "rate of zero": (f"{ROW}.steps_per_second.estimate", 0.0, "greater than 0"),
    "no samples": (f"{ROW}.samples", [], "Tuple should have at least 1 item"),
    "batch below 1": (f"{ROW}.batch_size", -3, "greater than or equal to 1"),
    "huge batch": (f"{ROW}.batch_size", 10**400, "Input should be"),
    "an unknown flag": (f"{ROW}.samples.1.flags.0", "slow", "'outlier' or 'throttled', got 'slow'"),
    "flags as text": (f"{ROW}.samples.1.flags", "outlier", "valid array"),
    "a process below 0": (f"{ROW}.samples.0.process", -1, "greater than or equal to 0"),
    "a round in part": (f"{ROW}.samples.0.round", 0.5, "valid integer"),
    "no time at all": (f"{ROW}.samples.0.seconds", 0, "greater than 0"),
    "warm-ups as an object": (f"{ROW}.warm_ups", {}, "valid array"),
    "a warm-up that is unsure": (f"{ROW}.warm_ups.1.agreed", "yes", "valid boolean, got 'yes'"),
    "no windows": (f"{ROW}.warm_ups.0.windows", 0, "greater than or equal to 1"),
    "noise without end": (f"{ROW}.noise", float("inf"), "finite"),
    "an error that is no number": (f"{ROW}.output_error", float("nan"), "finite"),
    "no threads at all": ("config.threads", [], "at least 1 item"),
    "a row on no thread": (f"{ROW}.threads", 0, "greater than or equal to 1"),
    "a row on nobody knows how many": (f"{ROW}.threads", REMOVED, "Field required"),
    "ceilings of text": ("ceilings.0.threads", "1", "valid integer"),
    "less than no energy": (f"{ROW}.joules_per_call", -1e-9, "greater than or equal to 0"),
    "a device that was busy for no number": (f"{ROW}.device_seconds", float("nan"), "finite"),
    "less than no time on a device": (f"{ROW}.device_seconds", -1e-9, "greater than or equal to 0"),
    "half a kernel": (f"{ROW}.device_operations", 0.5, "valid integer"),
    "a device that nobody asked": (f"{ROW}.device_seconds", REMOVED, "Field required"),
    "an unknown bound": (f"{ROW}.limit.bound", "luck", "'arithmetic', 'memory' or 'latency'"),
    "a limit without end": (f"{ROW}.limit.seconds", float("inf"), "finite"),
    "a limit that is left out": (f"{ROW}.limit", REMOVED, "Field required"),
    "a control of no size": ("controls.0.hidden_size", 0, "greater than or equal to 1"),
    "sizes as text": ("config.more_hidden_sizes", "16", "valid array"),
    "one step": ("config.steps", 1, "greater than or equal to 2"),
    "a control without a device": ("controls.0.device", REMOVED, "Field required"),
    "a control like a path": ("controls.0.implementation", "../../x", "should match"),
    "a canary that never sang": ("canaries.0.samples", [], "at least 1 item"),
    "a ceiling of zero": ("ceilings.0.flops_per_second", 0.0, "greater than 0"),
    "a ceiling without end": ("ceilings.0.bytes_per_second", float("inf"), "finite"),
    "a step that is no number": ("ceilings.0.step_seconds", float("nan"), "finite"),
    "processes as a number": ("processes", 2, "valid array"),
    "a process that is a number": ("processes.1", 3, "object"),
    "a process that may be complete": ("processes.0.complete", None, "valid boolean, got None"),
    "rounds in part": ("processes.0.rounds", 1.5, "valid integer"),
    "a process without end": ("processes.1.busy_seconds", float("inf"), "finite"),
    "a run of no processes": ("config.processes", 0, "greater than or equal to 1"),
    "a cache of no size": ("environment.caches.L2", 0, "greater than or equal to 1"),
    "a gpu of schema 1": ("environment.gpu", ["NVIDIA T4"], "object"),
    "older schema": ("schema_version", 0, "Input should be 5"),
    "odd schema": ("schema_version", "1", "must be a whole number, got '1'"),
    "true for a version": ("schema_version", True, "must be a whole number, got True"),
}


def edit(data, name):
    """Make the edit ``name``; an index that a list does not have yet is its next."""
    path, value, _ = EDITS[name]
    *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in above:
        data = data[part]
    if value is REMOVED:
        del data[last]
    elif last == 0 and data == []:
        data.append(value)
    else:
        data[last] = value


@pytest.mark.parametrize("name", EDITS)
def test_damaged_fields_are_named(name, golden, tmp_path):
    path = changed(tmp_path / "bad.json", golden, lambda data: edit(data, name))
    field, _, message = EDITS[name]
    with pytest.raises(BenchError, match=rf"field {re.escape(field)}\S*: .*{message}") as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


# What only shows when several fields are seen together.
MISFITS = {
    "a model that cannot be": (
        lambda d: d["cases"][0]["model"].update(hidden_size=0),
        r"field cases\.0\.model.*hidden_size must be a whole number of at least 1",
    ),
    "range out of order": (
        lambda d: d["cases"][0]["throughput"][0]["steps_per_second"].update(low=1e29),
        r"steps_per_second: .*low, estimate and high must not fall",
    ),
    "half an interval": (
        lambda d: d["cases"][0]["throughput"][0]["steps_per_second"].update(low=None),
        r"steps_per_second: .*both be numbers, or both null",
    ),
    "curves of two lengths": (
        lambda d: d["cases"][0]["accuracy"]["best"]["target"].pop(),
        r"accuracy\.best: .*as many steps",
    ),
    "baselines of two lengths": (
        lambda d: d["baselines"]["zero"]["mse_per_step"].pop(),
        r"baselines: .*as many steps",
    ),
    "nothing to predict": (
        lambda d: d["config"]["evaluation"].update(points=2),
        r"config\.evaluation: .*warm_up must leave steps to predict",
    ),
    "newer schema": (
        lambda d: d.update(schema_version=6),
        "schema version 6, newer than the 5 that this rnn-bench reads; upgrade",
    ),
    "a huge version": (lambda d: d.update(schema_version=10**400), "newer than the 5"),
    "no schema": (lambda d: d.pop("schema_version"), "not a result file: it has no schema_version"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_does_not_fit_together_is_refused(misfit, golden, tmp_path):
    change, message = MISFITS[misfit]
    path = changed(tmp_path / "bad.json", golden, change)
    with pytest.raises(BenchError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; a result file holds JSON"),
        (b"  \n", "is empty"),
        (b"hello", "is not JSON, or was cut short"),
        (b"[1, 2]", "is not a result file"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
        (b"[" * 100_000, "is not JSON, or was cut short"),
    ],
)
def test_files_that_are_no_results(content, message, tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=message):
        load(path)


def test_missing_and_folder(tmp_path):
    with pytest.raises(BenchError, match="there is no result file"):
        load(tmp_path / "none.json")
    with pytest.raises(BenchError, match="is a folder; name a result file in it"):
        load(tmp_path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(BenchError, match=r"huge\.json is larger than 100 MB"):
        load(path)


def test_an_unknown_field_cannot_break_the_line(golden, tmp_path):
    path = changed(tmp_path / "bad.json", golden, lambda d: d.update({"a\nb\u001b[31m": 1}))
    with pytest.raises(BenchError) as caught:
        load(path)
    assert str(caught.value).isprintable()


# A thousand files damaged at random: refused in one line that names the file, or right.


def cut(text, rng):
    return text[: rng.randrange(len(text.rstrip()))]


def flipped(text, rng):
    damaged = bytearray(text.encode())
    for _ in range(3):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def place(data, rng):
    """A container in ``data`` at a random depth, and a key in it."""
    while True:
        keys = list(data) if isinstance(data, dict) else range(len(data))
        key = rng.choice(keys)
        inner = data[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            return data, key
        data = inner


def removed(text, rng):
    data = json.loads(text)
    container, key = place(data, rng)
    del container[key]
    return json.dumps(data)


def swapped(text, rng):
    data = json.loads(text)
    container, key = place(data, rng)
    container[key] = rng.choice([None, True, "x", -1, 0, 2.5, 10**400, [], {}, [[]], {"a": 1}])
    return json.dumps(data)


def not_finite(text, rng):
    numbers = list(re.finditer(r"(?<=[:,\[ ])-?\d+(\.\d+)?(e[-+]?\d+)?(?=[,\]}\n])", text))
    number = rng.choice(numbers)
    value = rng.choice(["Infinity", "-Infinity", "NaN", "1e400", "-1e400"])
    return text[: number.start()] + value + text[number.end() :]


DAMAGES = (cut, flipped, removed, swapped, not_finite)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_at_random_it_is_refused_in_one_line_or_right(damage, golden, golden_1, tmp_path):
    rng, path, refused = random.Random(1), tmp_path / "damaged.json", 0
    texts = [golden.read_text(), golden_1.read_text()]
    for number in range(200):
        damaged = damage(texts[number % 2], rng)
        path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
        try:
            dumps(load(path).model_dump(mode="json"))
        except BenchError as error:
            refused += 1
            assert str(error).isprintable()
            assert str(error).startswith(str(path)), error
    # Schema 1 had a noise and a range that nobody reads any more: they may be damaged.
    assert refused >= {cut: 200, not_finite: 190}.get(damage, 100)


# The JSON Schema, for those who read result files without our code.


def validator():
    schema = records.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_json_schema_allows_the_golden_file(golden):
    validator().validate(json.loads(golden.read_text()))


# NaN compares with no bound, and is no JSON in the first place.
@pytest.mark.parametrize("name", [name for name in EDITS if "no number" not in name])
def test_the_json_schema_refuses_a_damaged_file(name, golden):
    data = json.loads(golden.read_text())
    edit(data, name)
    assert not validator().is_valid(data)


def test_saving_is_all_or_nothing(golden, tmp_path, monkeypatch):
    result, path = load(golden), tmp_path / "r.json"
    save(result, path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(result.model_copy(update={"created_at": "later"}), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_file_can_be_read_by_others(golden, tmp_path):
    path = tmp_path / "r.json"
    save(load(golden), path)
    assert path.stat().st_mode & 0o777 == 0o644
