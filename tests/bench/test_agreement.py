"""Our seconds of a call are those of torch.utils.benchmark and of pyperf, measured in turns.

A block of ours, one of each of the others, ours again and so on: what the machine does meets all.
Noise may part them in one attempt; a clock that is wrong parts them in every one.
"""

from statistics import median

import pyperf
import pytest
import torch
from torch.utils.benchmark import Timer

import impls
from bench import measure, workloads
from bench.config import RunConfig
from bench.measure import Cell
from impls import GeneratorConfig
from tasks import TASKS

TURNS, ATTEMPTS, APART = 15, 6, 0.03


def cell(name, batch_size):
    model = impls.create("manual_cell", GeneratorConfig())
    workloads.load_timed_weights(model, seed=1)
    task = TASKS[RunConfig().task]
    workload = workloads.build(name, model, task, batch_size, seed=0)
    return Cell(workload.call, torch.device("cpu"))


def torchs(call, calls):
    """Seconds of one call, by torch.utils.benchmark."""
    timer = Timer("call()", globals={"call": call}, num_threads=1)
    return timer.timeit(calls).mean


def pyperfs(call, calls):
    """Seconds of one call, by pyperf's own loop in a worker's place."""
    pyperf.Runner._created.clear()  # it allows one a program
    runner = pyperf.Runner()
    runner.parse_args(["--worker", f"--loops={calls}", "--values=1", "--warmups=0", "--quiet"])
    [value] = runner.bench_func("call", call).get_values()
    return value


def ratios(subject, other):
    """Their seconds over ours, pair by pair."""
    calls = measure.warm_up(subject).calls_per_sample
    found = []
    for turn in range(TURNS):
        if turn % 2:
            theirs = other(subject.call, calls)
            ours = measure.block(subject, calls)[0] / calls
        else:
            ours = measure.block(subject, calls)[0] / calls
            theirs = other(subject.call, calls)
        found.append(theirs / ours)
    return found


@pytest.mark.parametrize("other", [torchs, pyperfs])
@pytest.mark.parametrize(("name", "batch_size"), [("generate", 1), ("train_step", 32)])
def test_our_seconds_are_theirs(name, batch_size, other, capsys):
    subject = cell(name, batch_size)
    attempts = []
    for _ in range(ATTEMPTS):
        attempts.append(median(ratios(subject, other)))
        if abs(attempts[-1] - 1.0) <= APART:
            return
    pytest.fail(f"{other.__name__} over ours: {attempts}")


def test_a_clock_that_is_wrong_by_a_tenth_would_show(monkeypatch):
    honest = measure.Stopwatch.seconds
    monkeypatch.setattr(measure.Stopwatch, "seconds", lambda self: 1.1 * honest(self))
    found = [median(ratios(cell("generate", 1), torchs)) for _ in range(3)]
    assert median(found) < 1.0 - APART
