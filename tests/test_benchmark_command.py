"""``pytest --benchmark-only`` as a user runs it: what it times, saves, compares and refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FAST = ["--benchmark-max-time=0.01", "--benchmark-min-rounds=1", "--benchmark-warmup=off"]
TRAINED = ["torch_rnn", "manual_cell"]  # cheap ones: this is about the command
ONE = ["-k", f"train_step-1 and ({' or '.join(TRAINED)})"]
PAIR = ["tests/test_benchmark.py", *ONE]


def pytest_run(*arguments, **environment):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, check=False
    )


def test_saving_and_comparing(tmp_path):
    storage = f"--benchmark-storage={tmp_path}"
    first = pytest_run("--benchmark-only", *FAST, *ONE, storage, "--benchmark-save=one")
    assert first.returncode == 0, first.stdout
    assert f"{len(TRAINED)} passed" in first.stdout
    [saved] = tmp_path.glob("*/*_one.json")
    benchmarks = json.loads(saved.read_text())["benchmarks"]
    assert len(benchmarks) == len(TRAINED)
    for benchmark in benchmarks:
        info = benchmark["extra_info"]
        assert (info["steps"], info["batch_size"], info["threads"]) == (99, 1, 1)
        assert info["steps_per_second"] == 99 / benchmark["stats"]["median"]
        assert 0 < info["output_error"] < 1e-5
    second = pytest_run("--benchmark-only", *FAST, *PAIR, storage, "--benchmark-compare")
    assert second.returncode == 0, second.stdout
    assert "2 passed" in second.stdout
    assert "0001_one" in second.stdout
    tool = subprocess.run(
        [Path(sys.executable).with_name("pytest-benchmark"), storage.replace("--benchmark-", "--"),
         "compare"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tool.returncode == 0, tool.stderr
    assert "train_step-1-cpu-manual_cell" in tool.stdout


def test_a_plain_pytest_times_nothing():
    listed = pytest_run("--collect-only", "tests/test_benchmark.py")
    assert "deselected" in listed.stdout
    assert "test_throughput" not in listed.stdout


def test_what_is_wrong_is_not_timed(tmp_path):
    """The gate is in the fixture, which --benchmark-only runs too."""
    plugin = tmp_path / "break_manual_cell.py"
    plugin.write_text(
        "from impls import REGISTRY, Entry\n"
        "REGISTRY['manual_cell'] = Entry('tests.liars.detached_feedback:Liar', 'cheats')\n"
    )
    done = pytest_run(
        "--benchmark-only", *FAST, *PAIR, "-p", "break_manual_cell", PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 1
    assert "manual_cell on cpu is not timed: parity: gradient error" in done.stdout
    assert "1 passed" in done.stdout
