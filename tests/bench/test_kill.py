"""``kill -9`` at any moment: the file loads, holds what was finished, and ``--resume`` goes on."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil

from bench.records import load

# Ten take a minute; the promise is tested with thirty: RNN_BENCH_KILLS=30.
KILLS = int(os.environ.get("RNN_BENCH_KILLS", "10"))
LONGEST = 7.0  # about as long as such a run takes
OPTIONS = (
    *("--impl", "manual_cell,torch_cell", "--hidden-size", "4", "--iterations", "5"),
    *("--processes", "2", "--rounds", "2", "--batch-size", "1"),
)


def start(path, *options):
    command = [sys.executable, "-m", "bench", "run", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finished(result):
    """What must never be lost again."""
    return {
        (case.key, part)
        for case in result.cases
        for part in ("parity", "training", "accuracy")
        if getattr(case, part) is not None
    } | {
        (case.key, row.key, sample.process, sample.round)
        for case in result.cases
        for row in case.throughput
        for sample in row.samples
    }


def kill_after(process, seconds):
    """Whether it was still running; none of its workers outlives it."""
    workers = []
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        workers = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(workers, timeout=10)
    assert not [worker for worker in workers if worker.is_running()]
    return process.returncode == -signal.SIGKILL


def test_killed_at_random_moments(tmp_path):
    rng = random.Random(0)
    path, kills, completed = tmp_path / "0.json", 0, 0
    while kills < KILLS:
        resume = path.exists()
        known = finished(load(path)) if resume else set()
        options = ("--resume", str(path)) if resume else (*OPTIONS, "--output", str(path))
        if kill_after(start(path, *options), rng.uniform(0.1, LONGEST)):
            kills += 1
        else:
            check_complete(path)
            completed += 1
            path = tmp_path / f"{completed}.json"
        if path.exists():
            assert known <= finished(load(path))
    end = start(path, *(("--resume", str(path)) if path.exists()
                        else (*OPTIONS, "--output", str(path))))  # fmt: skip
    _, errors = end.communicate(timeout=120)
    assert end.returncode == 0, errors
    check_complete(path)


def check_complete(path):
    """The same set of cases, rows, processes and rounds as a run that nobody disturbed."""
    result = load(path)
    assert [case.key for case in result.cases] == [
        ("manual_cell", "cpu", 4),
        ("torch_cell", "cpu", 4),
    ]
    assert {case.status for case in result.cases} == {"ok"}
    complete = [process.index for process in result.processes if process.complete]
    assert len(complete) == 2
    for case in result.cases:
        assert case.accuracy
        assert [row.key for row in case.throughput] == [("generate", 1, 1), ("train_step", 1, 1)]
        for row in case.throughput:
            found = {(sample.process, sample.round) for sample in row.samples}
            assert {(process, turn) for process in complete for turn in range(2)} <= found


def test_nothing_half_written_is_left_behind(tmp_path):
    path = tmp_path / "r.json"
    process = start(path, *OPTIONS, "--output", str(path))
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)
    kill_after(process, 0.0)
    assert load(path).cases
