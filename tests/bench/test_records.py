"""The result file: golden, round trip, atomic, and refused in one line when it is damaged."""

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import records
from bench.errors import BenchError
from bench.records import dumps, load, save


def test_the_golden_file_reads_and_writes_back_byte_for_byte(golden, tmp_path):
    result = load(golden)
    copy = tmp_path / "copy.json"
    save(result, copy)
    assert copy.read_bytes() == golden.read_bytes()
    assert load(copy) == result


def test_the_field_names_of_schema_1(golden):
    """Whoever reads result files without our code relies on these names."""
    data = json.loads(golden.read_text())
    assert list(data) == [
        "schema_version", "created_at", "config", "environment", "cases", "baselines",
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
    assert {
        "workload", "batch_size", "steps", "first_call_seconds", "samples", "steps_per_second",
        "noise", "peak_memory_bytes",
    } <= set(row)  # fmt: skip
    assert list(row["samples"][0]) == ["process", "round", "seconds"]
    assert list(row["steps_per_second"]) == ["estimate", "low", "high"]
    assert list(data["baselines"]) == ["zero", "repeat", "recurrence"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(JSON)
def test_dumps_is_json(value):
    assert json.loads(dumps(value)) == value


def test_dumps_keeps_numbers_on_one_line():
    assert dumps({"a": [1, 2.5], "b": [{"c": []}]}) == (
        '{\n "a": [1, 2.5],\n "b": [\n  {\n   "c": []\n  }\n ]\n}'
    )


def test_no_infinity_is_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"x": float("inf")})


def changed(path, golden, edit):
    data = json.loads(golden.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    return path


EDITS = {
    "wrong type": (
        lambda d: d["cases"][0]["accuracy"].update(mse_mean="low"),
        r"field cases\.0\.accuracy\.mse_mean: .*valid number.*got 'low'",
    ),
    "number as text": (
        lambda d: d["cases"][1]["training"].update(seconds="3.5"),
        r"field cases\.1\.training\.seconds: .*got '3.5'",
    ),
    "missing field": (
        lambda d: d["cases"][2].pop("implementation"),
        r"field cases\.2\.implementation: Field required",
    ),
    "unknown field": (lambda d: d.update(extra=1), "field extra: Extra inputs"),
    "infinite": (
        lambda d: d["cases"][0]["throughput"][0]["steps_per_second"].update(estimate=float("inf")),
        r"field cases\.0\.throughput\.0\.steps_per_second\.estimate: .*finite",
    ),
    "a model that cannot be": (
        lambda d: d["cases"][0]["model"].update(hidden_size=0),
        r"field cases\.0\.model.*hidden_size must be a whole number of at least 1",
    ),
    "rate of zero": (
        lambda d: d["cases"][0]["throughput"][0]["steps_per_second"].update(estimate=0.0),
        r"steps_per_second\.estimate: Input should be greater than 0",
    ),
    "range out of order": (
        lambda d: d["cases"][0]["throughput"][0]["steps_per_second"].update(low=1e29),
        r"steps_per_second: .*low, estimate and high must not fall",
    ),
    "no samples": (
        lambda d: d["cases"][0]["throughput"][0].update(samples=[]),
        r"throughput\.0\.samples: Tuple should have at least 1 item",
    ),
    "batch below 1": (
        lambda d: d["cases"][0]["throughput"][0].update(batch_size=-3),
        r"batch_size: Input should be greater than or equal to 1",
    ),
    "huge batch": (
        lambda d: d["cases"][0]["throughput"][0].update(batch_size=10**400),
        r"batch_size: Input should be",
    ),
    "no loss": (lambda d: d["cases"][0]["training"].update(loss=[]), r"training\.loss: "),
    "curves of two lengths": (
        lambda d: d["cases"][0]["accuracy"]["best"]["target"].pop(),
        r"accuracy\.best: .*as many steps",
    ),
    "baselines of two lengths": (
        lambda d: d["baselines"]["zero"]["mse_per_step"].pop(),
        r"baselines: .*as many steps",
    ),
    "a name that could be a path": (
        lambda d: d["cases"][0].update(implementation="../x"),
        r"cases\.0\.implementation: String should match",
    ),
    "a name that a terminal obeys": (
        lambda d: d["cases"][0].update(implementation="\u001b[31mx"),
        r"cases\.0\.implementation: String should match",
    ),
    "nothing to predict": (
        lambda d: d["config"]["evaluation"].update(points=2),
        r"config\.evaluation: .*warm_up must leave steps to predict",
    ),
    "newer schema": (
        lambda d: d.update(schema_version=2),
        "schema version 2, newer than the 1 that this rnn-bench reads; upgrade",
    ),
    "older schema": (lambda d: d.update(schema_version=0), "field schema_version: "),
    "no schema": (lambda d: d.pop("schema_version"), "not a result file: it has no schema_version"),
    "odd schema": (lambda d: d.update(schema_version="1"), "field schema_version: "),
}


@pytest.mark.parametrize("edit", EDITS)
def test_damaged_fields_are_named(edit, golden, tmp_path):
    change, message = EDITS[edit]
    path = changed(tmp_path / "bad.json", golden, change)
    with pytest.raises(BenchError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


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


def test_missing_folder_and_too_large(tmp_path, golden, monkeypatch):
    with pytest.raises(BenchError, match="there is no result file"):
        load(tmp_path / "none.json")
    with pytest.raises(BenchError, match="is a folder; name a result file in it"):
        load(tmp_path)
    monkeypatch.setattr(records, "LARGEST_FILE_BYTES", 1_000_000 // 1000)
    with pytest.raises(BenchError, match="is larger than"):
        load(golden)


def test_truncated_anywhere_it_is_one_line(golden, tmp_path):
    text = golden.read_text()
    path = tmp_path / "cut.json"
    for length in random.Random(0).sample(range(1, len(text.rstrip()) - 1), 60):
        path.write_text(text[:length])
        with pytest.raises(BenchError) as caught:
            load(path)
        assert "\n" not in str(caught.value)


def test_flipped_bytes_never_give_another_exception(golden, tmp_path):
    rng, original = random.Random(1), golden.read_bytes()
    path = tmp_path / "flipped.json"
    for _ in range(200):
        damaged = bytearray(original)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            load(path)
        except BenchError as error:
            assert re.match(r"\A[^\n]+\Z", str(error))


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
