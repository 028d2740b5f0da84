"""Files that pytest-benchmark saved, of any project: read, and refused in one line."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.records import from_json, read
from bench.saved import looks_like, parse

PATH = Path("saved.json")


def a_benchmark(**more):
    return {
        "group": None,
        "name": "test_add",
        "fullname": "tests/test_sums.py::test_add",
        "params": None,
        "param": None,
        "extra_info": {"steps": 3},
        "options": {"timer": "perf_counter"},
        "stats": {"min": 0.01, "max": 0.03, "median": 0.02, "rounds": 5, "iterations": 1},
        **more,
    }


def a_file(*benchmarks, **more):
    cpu = {"brand_raw": "Some CPU", "count": 8, "flags": ["sse"]}
    return {
        "machine_info": {"node": "there", "cpu": cpu},
        "commit_info": {"id": "c0ffee"},
        "benchmarks": list(benchmarks) or [a_benchmark()],
        "datetime": "2026-11-23T15:25:40.735612+00:00",
        "version": "5.3.1",
        **more,
    }


def parsed(content):
    return parse(PATH, json.dumps(content))


def test_what_is_read():
    file = parsed(a_file())
    assert (file.cpu, file.cores) == ("Some CPU", 8)
    assert (file.version, file.datetime) == ("5.3.1", "2026-11-23T15:25:40.735612+00:00")
    [benchmark] = file.benchmarks
    assert (benchmark.name, benchmark.fullname) == ("test_add", "tests/test_sums.py::test_add")
    assert (benchmark.stats.median, benchmark.stats.rounds) == (0.02, 5)
    assert benchmark.stats.data is None
    assert benchmark.extra_info == {"steps": 3}
    assert (benchmark.params, benchmark.param, benchmark.group) == (None, None, None)


def test_all_that_pytest_benchmark_may_leave_out():
    bare = {"name": "a", "fullname": "b", "stats": {"median": 1, "rounds": 1}}
    file = parsed(a_file(bare, machine_info={}))
    assert (file.cpu, file.cores) == (None, None)
    [benchmark] = file.benchmarks
    assert benchmark.stats.median == 1.0
    assert benchmark.extra_info == {}


def test_the_cpu_of_a_file_from_before_py_cpuinfo_6():
    file = parsed(a_file(machine_info={"cpu": {"brand": "Old CPU"}}))
    assert (file.cpu, file.cores) == ("Old CPU", None)


def test_params_and_data():
    more = {"params": {"size": [1, 2], "kind": None}, "param": "1-2", "group": "g"}
    stats = {"median": 0.2, "rounds": 2, "data": [0.1, 0.3]}
    [benchmark] = parsed(a_file(a_benchmark(stats=stats, **more))).benchmarks
    assert (benchmark.params, benchmark.param, benchmark.group) == tuple(more.values())
    assert benchmark.stats.data == (0.1, 0.3)


@pytest.mark.parametrize("name", ["", "a b\n\x1b[31m", "é" * 1000, "[bold]"])
def test_a_name_may_be_any_text(name):
    [benchmark] = parsed(a_file(a_benchmark(name=name, fullname=name))).benchmarks
    assert (benchmark.name, benchmark.fullname) == (name, name)


@pytest.mark.parametrize("keep_data", [False, True])
def test_a_file_that_pytest_benchmark_saves_here(keep_data, tmp_path):
    """With the CPU left out, which py-cpuinfo takes a second to find out."""
    (tmp_path / "conftest.py").write_text(
        "def pytest_benchmark_generate_machine_info(config):\n"
        "    return {'node': 'x', 'cpu': {'brand_raw': 'That CPU', 'count': 3}}\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('size', [7])\n"
        "def test_sum(benchmark, size):\n"
        "    benchmark.extra_info['size'] = size\n"
        "    benchmark.pedantic(sum, args=([1] * size,), rounds=4)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "--benchmark-storage=store",
               "--benchmark-save=it", *["--benchmark-save-data"] * keep_data]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout
    [path] = tmp_path.glob("store/*/*_it.json")
    text = read(path)
    head = from_json(path, text)
    assert looks_like(head)
    file = parse(path, text)
    assert (file.cpu, file.cores) == ("That CPU", 3)
    [benchmark] = file.benchmarks
    assert benchmark.fullname == "test_it.py::test_sum[7]"
    assert benchmark.params == benchmark.extra_info == {"size": 7}
    assert benchmark.stats.rounds == 4
    assert (benchmark.stats.data is not None) == keep_data


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (a_file(), True),
        ({"benchmarks": [], "machine_info": {}}, True),
        ({"benchmarks": {}, "machine_info": {}}, False),
        ({"version": "1.0", "benchmarks": [{"runs": []}], "metadata": {}}, False),  # pyperf's
        ({"schema_version": 2, "cases": []}, False),
        ({"machine_info": {}}, False),
        ([a_file()], False),
        (None, False),
    ],
)
def test_looks_like(head, answer):
    assert looks_like(head) is answer


def stats(**more):
    return a_file(a_benchmark(stats={"median": 0.02, "rounds": 5, **more}))


DAMAGED = {
    "zero": (stats(median=0.0), r"field benchmarks\.0\.stats\.median: .*greater than 0, got 0\.0"),
    "negative": (stats(median=-1.0), r"stats\.median: .*greater than 0"),
    "infinite": (stats(median=float("inf")), r"stats\.median: .*finite"),
    "not a number": (stats(median=float("nan")), r"stats\.median: "),
    "huge": (stats(median=1e31), r"stats\.median: .*less than or equal to 1"),
    "text": (stats(median="0.02"), r"stats\.median: .*valid number, got '0\.02'"),
    "truth": (stats(median=True), r"stats\.median: .*valid number"),
    "no rounds": (stats(rounds=0), r"stats\.rounds: "),
    "half a round": (stats(rounds=1.5), r"stats\.rounds: .*valid integer"),
    "endless rounds": (stats(rounds=10**400), r"stats\.rounds: "),
    "no data": (stats(data=[]), r"stats\.data: .*at least 1 item"),
    "bad data": (stats(data=[0.1, -0.1]), r"benchmarks\.0\.stats\.data\.1: .*greater than 0"),
    "no stats": (a_file(a_benchmark(stats=None)), r"benchmarks\.0\.stats: "),
    "no median": (a_file(a_benchmark(stats={"rounds": 1})), r"stats\.median: Field required"),
    "second one": (a_file(a_benchmark(), a_benchmark(name=3)), r"benchmarks\.1\.name: "),
    "long name": (a_file(a_benchmark(name="x" * 1001)), r"benchmarks\.0\.name: .*at most 1000"),
    "long fullname": (a_file(a_benchmark(fullname="x" * 1001)), r"fullname: .*at most 1000"),
    "extra": (a_file(a_benchmark(extra_info=[1])), r"benchmarks\.0\.extra_info: "),
    "params": (a_file(a_benchmark(params="n=3")), r"benchmarks\.0\.params: "),
    "no benchmark": (a_file(benchmarks=[]), r"field benchmarks: .*at least 1 item"),
    "machine": (a_file(machine_info=None), r"field machine_info: "),
    "cpu": (a_file(machine_info={"cpu": "fast"}), r"field machine_info\.cpu: .*got 'fast'"),
    "brand": (a_file(machine_info={"cpu": {"brand_raw": 3}}), r"machine_info\.cpu\.brand_raw: "),
    "cores": (a_file(machine_info={"cpu": {"count": 0}}), r"machine_info\.cpu\.count: "),
    "version": (a_file(version=5), r"field version: .*got 5"),
    "date": (a_file(datetime=None), r"field datetime: .*got None"),
    "list": ([], r"saved\.json is not a result file: "),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_fields_are_named_in_one_line(name):
    content, message = DAMAGED[name]
    with pytest.raises(BenchError, match=message) as caught:
        parsed(content)
    assert str(caught.value).startswith("saved.json")
    assert "\n" not in str(caught.value)


def test_cut_short_or_flipped_it_is_one_line_or_a_file():
    original, rng, refused = json.dumps(a_file()), random.Random(0), 0
    for _ in range(500):
        damaged = list(original)
        damaged[rng.randrange(len(damaged))] = chr(rng.randrange(1, 0x250))
        for text in ("".join(damaged), original[: rng.randrange(len(original))]):
            try:
                parse(PATH, text)
            except BenchError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > 500
