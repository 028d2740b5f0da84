"""The exports, read by the tools that they are made for."""

import csv
import json
import math
import statistics
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyperf import BenchmarkSuite
from pytest_benchmark.stats import Stats

from bench import saved
from bench.config import RunConfig
from bench.errors import BenchError
from bench.export import FORMATS, to_csv, to_pyperf, to_pytest_benchmark
from bench.schema import (
    Case,
    Environment,
    Estimate,
    Gpu,
    Parity,
    Process,
    Result,
    Sample,
    Throughput,
    WarmUp,
)
from impls import GeneratorConfig
from tests import test_benchmark

MODEL = GeneratorConfig(hidden_size=16, num_layers=2, nonlinearity="relu")
# Seconds of one call: process -> those of its rounds, of torch_rnn at batch 1.
SECONDS = {0: (0.0100, 0.0104, 0.0101, 0.0102), 2: (0.0110, 0.0112, 0.0300, 0.0111)}
EVERY = SECONDS[0] + SECONDS[2]
CALLS = {0: 7, 2: 5}
# A control sequence, a formula and a path: free text that must not get where it does harm.
HOSTILE = "=cmd|'/C calc'!A0 \x1b[31m\n/home/somebody"


def timed_row(workload, batch_size, factor=1.0, seconds=SECONDS, threads=1):
    samples = [
        Sample(process=process, round=number, seconds=value * factor)
        for process, values in seconds.items()
        for number, value in enumerate(values)
    ]
    if len(samples) > 6:
        samples[6] = samples[6].model_copy(update={"flags": ("outlier", "throttled")})
    several = len(seconds) > 1
    return Throughput(
        workload=workload, batch_size=batch_size, threads=threads, steps=99,
        first_call_seconds=0.5,
        warm_ups=tuple(
            WarmUp(process=process, first_call_seconds=0.5 + process, seconds=1.0, windows=3,
                   agreed=True, calls_per_sample=CALLS.get(process, 1))
            for process in seconds
        ),
        samples=tuple(samples),
        steps_per_second=Estimate(
            estimate=9000.0 / factor,
            low=8000.0 / factor if several else None,
            high=9900.0 / factor if several else None,
        ),
        noise=0.05 if several else None, output_error=2e-7, limit=None,
        peak_memory_bytes=12_345 if batch_size == 1 else None, joules_per_call=None,
        device_seconds=None, device_operations=None,
    )  # fmt: skip


def a_case(implementation, *rows, status="ok", **more):
    parity = Parity(output_error=1e-7, gradient_error=2e-7, tolerance=1e-5, passed=True)
    return Case(
        implementation=implementation, device="cpu", dtype="float32", model=MODEL, task="cosine",
        status=status, throughput=rows, **{"parity": parity, "weights_digest": "ab12"} | more,
    )  # fmt: skip


def a_result(*cases, **more):
    environment = Environment(
        rnn_bench="0.1.0", python="3.11.7", torch="2.13.0", numpy="2.4.6", cuda=None, cudnn=None,
        os="Linux 6.18 x86_64", cpu="Some CPU", cores=4, memory_bytes=2**34, load_average=0.25,
        gpu=(Gpu(name="Some GPU"), Gpu(name="Another")), threads=2, git_commit="c0ffee",
        git_dirty=True, precision={"mkldnn.rnn": "ieee"},
    )  # fmt: skip
    dates = {0: "2026-11-23T11:35:46+00:00", 2: "2026-11-23T11:40:00+00:00"}
    processes = tuple(
        Process(index=index, created_at=date, rounds=4, complete=True, seconds=9.0, busy_seconds=8)
        for index, date in dates.items()
    )
    fields = {"environment": environment, "processes": processes} | more
    return Result(created_at="2026-11-23T11:35:00+00:00", config=RunConfig(), cases=cases, **fields)


@pytest.fixture
def result():
    return a_result(
        a_case("torch_rnn", timed_row("generate", 1), timed_row("train_step", 32, 2.0)),
        a_case("broken", status="failed", reason=HOSTILE, parity=None, weights_digest=None),
        a_case("manual_cell", timed_row("generate", 1, 0.5)),
        a_case("late", timed_row("generate", 1, 3.0), status="failed", reason=HOSTILE),
    )


@pytest.fixture
def lone():
    """The least that there can be: one process with one sample, its warm-up not known."""
    row = timed_row("generate", 1, seconds={0: (0.01,)}).model_copy(update={"warm_ups": ()})
    return a_result(a_case("torch_rnn", row), processes=())


NAMES = [
    "torch_rnn cpu generate 1",
    "torch_rnn cpu train_step 32",
    "manual_cell cpu generate 1",
    "late cpu generate 1",
]


def written(result, name, path):
    path.write_text(FORMATS[name].text(result), encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path):
    """Run a tool; gives its standard output: it must succeed and complain about nothing."""

    def run_it(*command):
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr.strip() in ("", "Generated csv: out.csv")
        return done.stdout

    return run_it


@pytest.fixture
def compare(run):
    """``pytest-benchmark compare``."""
    return partial(run, Path(sys.executable).with_name("pytest-benchmark"), "compare")


@pytest.fixture
def pyperf(run):
    return partial(run, sys.executable, "-m", "pyperf")


@pytest.fixture
def two_files(result, tmp_path):
    """A format's name -> a file of it, and one in which torch_rnn takes a quarter longer."""
    slower = a_result(a_case("torch_rnn", timed_row("generate", 1, 1.25)))

    def write(name):
        written(result, name, tmp_path / "one")
        written(slower, name, tmp_path / "two")
        return "one", "two"

    return write


class TestPytestBenchmark:
    def test_compare_shows_our_numbers(self, two_files, compare, tmp_path):
        shown = compare(*two_files("pytest-benchmark"), "--csv=out.csv")
        assert "benchmark 'generate, batch 1, cpu': 4 tests" in shown
        assert "benchmark 'train_step, batch 32, cpu': 1 tests" in shown
        with (tmp_path / "out.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if "torch_rnn" in row["name"]]
        middle = statistics.median(EVERY)
        assert [row["param:cell"] for row in rows] == ["['generate', 1]"] * 2 + [
            "['train_step', 32]"
        ]
        medians = [float(row["median"]) for row in rows]
        assert medians == pytest.approx([middle, middle * 1.25, middle * 2])

    def test_the_same_row_of_two_files_lines_up(self, two_files, compare):
        shown = compare("--between=median", "-k", "torch_rnn", *two_files("pytest-benchmark"))
        [line] = [line for line in shown.splitlines() if "generate-1-cpu-torch_rnn" in line]
        assert "+25.0%" in line

    # Whole numbers too, for they lie close to the fences now and then.
    @given(st.lists(st.floats(1e-9, 1e9) | st.integers(1, 30).map(float), min_size=1, max_size=40))
    @example([10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 22.2])
    def test_every_figure_is_the_one_that_pytest_benchmark_finds(self, seconds):
        row = timed_row("generate", 1, seconds={0: tuple(seconds)})
        [found] = to_pytest_benchmark(a_result(a_case("x", row)))["benchmarks"]
        theirs = Stats()
        for value in seconds:
            theirs.update(value)
        assert found["stats"] == theirs.as_dict() | {"data": seconds, "iterations": 7}

    def test_names_are_those_of_our_own_benchmarks(self, result):
        """Pytest joins the parameters in the order of the marks, the innermost first."""
        marks = [mark.args for mark in test_benchmark.test_throughput.pytestmark]
        assert [name for name, _ in marks] == ["cell", "device", "implementation"]
        late = to_pytest_benchmark(result)["benchmarks"][2]
        assert late["name"] == "test_throughput[generate-1-cpu-manual_cell]"
        assert late["fullname"] == f"tests/test_benchmark.py::{late['name']}"

    def test_what_a_row_says_of_itself(self, result):
        whole = to_pytest_benchmark(result)
        first, *_, late = whole["benchmarks"]
        assert first["extra_info"] == {
            "implementation": "torch_rnn", "device": "cpu", "dtype": "float32",
            "model": asdict(MODEL), "task": "cosine", "status": "ok", "workload": "generate",
            "batch_size": 1, "steps": 99, "steps_per_second": 9000.0, "output_error": 2e-7,
            "threads": 1, "tolerance": 1e-5, "weights_digest": "ab12",
        }  # fmt: skip
        assert first["stats"]["iterations"] == min(CALLS.values())
        assert late["extra_info"]["status"] == "failed"
        assert whole["machine_info"]["node"] == ""
        assert whole["machine_info"]["cpu"] == {"brand_raw": "Some CPU", "count": 4}
        assert whole["commit_info"]["id"] == "c0ffee"
        assert whole["commit_info"]["dirty"] is True

    def test_we_read_it_back(self, result, tmp_path):
        path = written(result, "pytest-benchmark", tmp_path / "one.json")
        text = path.read_text(encoding="utf-8")
        assert saved.looks_like(json.loads(text))
        file = saved.parse(path, text)
        assert (file.cpu, file.cores) == ("Some CPU", 4)
        assert [benchmark.stats.rounds for benchmark in file.benchmarks] == [8] * 4
        assert file.benchmarks[0].stats.data == EVERY


class TestPyperf:
    def test_pyperf_loads_it_and_would_write_it_again(self, result, tmp_path):
        """Writing checks what reading alone does not: that all runs of a benchmark agree."""
        path = written(result, "pyperf", tmp_path / "one.json")
        suite = BenchmarkSuite.load(str(path))
        assert suite.get_benchmark_names() == NAMES
        suite.dump(str(tmp_path / "again.json"))
        again = BenchmarkSuite.load(str(tmp_path / "again.json"))
        for name in NAMES:
            mine, theirs = suite.get_benchmark(name), again.get_benchmark(name)
            assert mine.get_values() == theirs.get_values()
            assert mine.get_metadata() == theirs.get_metadata()

    def test_runs_are_processes_and_values_are_rounds(self, result):
        suite = BenchmarkSuite.loads(FORMATS["pyperf"].text(result))
        one, two = suite.get_benchmark(NAMES[0]).get_runs()
        assert one.values == SECONDS[0]
        assert two.values == SECONDS[2]
        assert one.warmups == ((1, 0.5),)
        assert two.warmups == ((1, 2.5),)
        assert (one.get_loops(), two.get_loops()) == (7, 5)
        assert one.get_inner_loops() == 1
        assert suite.get_benchmark(NAMES[0]).get_unit() == "second"

    def test_runs_and_values_come_in_the_order_in_which_they_were_taken(self):
        row = timed_row("generate", 1, seconds={8: SECONDS[2], 1: SECONDS[0]})
        mixed = row.model_copy(update={"samples": row.samples[::-1]})
        [benchmark] = to_pyperf(a_result(a_case("x", mixed)))["benchmarks"]
        values = [run["values"] for run in benchmark["runs"]]
        assert values == [list(SECONDS[0]), list(SECONDS[2])]

    def test_metadata(self, result):
        suite = BenchmarkSuite.loads(FORMATS["pyperf"].text(result))
        shared = suite.get_metadata()
        assert shared["cpu_model_name"] == "Some CPU"
        assert shared["cpu_count"] == 4
        assert shared["gpu"] == "Some GPU, Another"
        assert shared["python_version"] == "3.11.7"
        assert shared["load_avg_1min"] == 0.25
        assert "hostname" not in shared
        found = suite.get_benchmark(NAMES[1]).get_metadata()
        assert (found["batch_size"], found["model_hidden_size"]) == (32, 16)
        assert suite.get_benchmark("late cpu generate 1").get_metadata()["status"] == "failed"

    def test_compare_to(self, two_files, pyperf):
        shown = pyperf("compare_to", "--verbose", *two_files("pyperf"))
        mean = statistics.mean(EVERY) * 1e3
        assert f"{mean:.1f} ms" in shown
        assert f"{mean * 1.25:.1f} ms" in shown
        assert "1.25x slower" in shown
        assert f"Ignored benchmarks (3) of one: {', '.join(sorted(NAMES[1:]))}" in shown

    def test_stats(self, result, pyperf, tmp_path):
        shown = pyperf("stats", written(result, "pyperf", tmp_path / "one.json"))
        assert shown.count("Number of run with values: 2") == 4
        assert shown.count("Number of calibration run: 0") == 4
        assert "Number of value per run: 4\n" in shown
        assert "Number of warmup per run: 1\n" in shown
        assert "Loop iterations per value: 6.0 (average)" in shown
        assert "Start date: 2026-11-23 11:35:46" in shown
        assert "Minimum:         10.0 ms" in shown
        assert "Maximum:         30.0 ms" in shown

    def test_show_and_check(self, result, pyperf, tmp_path):
        path = written(result, "pyperf", tmp_path / "one.json")
        shown = pyperf("show", "--metadata", path)
        assert all(name in shown for name in NAMES)
        assert "cpu_model_name: Some CPU" in shown
        percent = 100 * statistics.stdev(EVERY) / statistics.mean(EVERY)
        assert f"is {percent:.0f}% of the mean (13.0 ms)" in pyperf("check", path)

    @pytest.mark.parametrize("command", ["show", "stats", "check"])
    def test_one_sample_of_one_process(self, command, lone, pyperf, tmp_path):
        path = written(lone, "pyperf", tmp_path / "lone.json")
        shown = pyperf(command, path)
        assert "10.0 ms" in shown or command == "check"

    @pytest.mark.parametrize("date", ["yesterday", "", "2026-13-01T00:00:00+00:00", "2026-01-01"])
    def test_a_date_that_pyperf_would_stop_at_is_left_out(self, date, result):
        process = result.processes[0].model_copy(update={"created_at": date})
        suite = BenchmarkSuite.loads(
            FORMATS["pyperf"].text(result.model_copy(update={"processes": (process,)}))
        )
        assert suite.get_dates() is None

    def test_text_that_pyperf_would_refuse(self, result):
        """It takes no empty and no broken line; a terminal would obey a control sequence."""
        update = {"cpu": HOSTILE, "os": " \n", "git_commit": None, "load_average": None}
        environment = result.environment.model_copy(update=update)
        text = FORMATS["pyperf"].text(result.model_copy(update={"environment": environment}))
        shared = BenchmarkSuite.loads(text).get_metadata()
        assert shared["cpu_model_name"] == HOSTILE.replace("\x1b", "").replace("\n", " ")
        assert not {"platform", "commit_id", "load_avg_1min"} & set(shared)


class TestCsv:
    def test_pandas_reads_the_same_numbers(self, result, tmp_path):
        import pandas  # heavy

        path = written(result, "csv", tmp_path / "one.csv")
        frame = pandas.read_csv(path)
        assert len(frame) == 4 * 8
        group = frame[(frame.implementation == "torch_rnn") & (frame.workload == "generate")]
        assert list(group.seconds) == pytest.approx(EVERY, rel=1e-14)
        assert list(group.process) == [0] * 4 + [2] * 4
        assert list(group["round"]) == [0, 1, 2, 3] * 2
        assert set(group.steps_per_second) == {9000.0}
        assert set(group.steps_per_second_low) == {8000.0}
        assert set(group.peak_memory_bytes) == {12_345}
        assert set(frame[frame.batch_size == 32].peak_memory_bytes.isna()) == {True}
        assert list(group["flags"].dropna()) == ["outlier throttled"]
        assert set(frame[frame.implementation == "late"].status) == {"failed"}
        assert "broken" not in set(frame.implementation)

    def test_a_field_that_is_not_known_is_empty(self, lone):
        assert to_csv(lone) == (
            "implementation,device,dtype,task,hidden_size,num_layers,nonlinearity,workload,"
            "batch_size,threads,steps,process,round,seconds,flags,status,steps_per_second,"
            "steps_per_second_low,steps_per_second_high,output_error,peak_memory_bytes,"
            "device_seconds,device_operations,bound_by_host\n"
            "torch_rnn,cpu,float32,cosine,16,2,relu,generate,1,1,99,0,0,0.01,,ok,9000.0,,,2e-07,12345"
            ",,,\n"
        )

    def test_what_the_device_did_and_who_waits_for_the_cpu(self, tmp_path):
        import pandas  # heavy

        # A call takes 99 steps x 1 or 32 sequences over the rate: 11 ms and 352 ms.
        rows = [
            timed_row("generate", batch_size).model_copy(
                update={"device_seconds": 0.01, "device_operations": 5000 + batch_size}
            )
            for batch_size in (1, 32)
        ]
        path = written(a_result(a_case("x", *rows)), "csv", tmp_path / "gpu.csv")
        frame = pandas.read_csv(path).groupby("batch_size").first()
        assert list(frame.device_seconds) == [0.01, 0.01]
        assert list(frame.device_operations) == [5001, 5032]
        assert list(frame.bound_by_host) == [False, True]


@pytest.mark.parametrize("name", FORMATS)
class TestAll:
    def test_no_reason_gets_out(self, name, result):
        text = FORMATS[name].text(result)
        assert "calc" not in text
        assert "\x1b" not in text
        assert "somebody" not in text

    def test_nothing_timed_is_one_clear_line(self, name):
        with pytest.raises(BenchError, match=r"^this result has no timed rows to export$"):
            FORMATS[name].text(a_result(a_case("broken", status="failed", reason="why")))
        with pytest.raises(BenchError, match="no timed rows"):
            FORMATS[name].text(a_result())

    def test_two_rows_of_one_name_are_refused(self, name):
        twice = a_case("x", timed_row("generate", 1), timed_row("generate", 1, 2.0))
        with pytest.raises(BenchError, match="has two rows 'x cpu generate 1'") as caught:
            FORMATS[name].text(a_result(twice))
        assert "\n" not in str(caught.value)

    def test_the_slightest_time_that_a_file_may_hold(self, name):
        row = timed_row("generate", 1, seconds={0: (math.ulp(0.0),)})
        assert FORMATS[name].text(a_result(a_case("x", row)))

    def test_the_same_result_gives_the_same_text(self, name, result):
        again = Result.model_validate_json(result.model_dump_json())
        assert FORMATS[name].text(again) == FORMATS[name].text(result)


def test_exports_beside_a_result_overwrite_neither_it_nor_each_other():
    names = {str(Path("run.json").with_suffix(form.suffix)) for form in FORMATS.values()}
    assert len(names | {"run.json"}) == len(FORMATS) + 1
