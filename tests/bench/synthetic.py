"""Runs of a machine that does not exist: drift, process effects, noise and outliers, all known."""

import math
from dataclasses import replace

import numpy as np

from bench import environment, statistics
from bench.config import PRESETS
from bench.records import load
from bench.schema import Environment, Sample
from bench.selftest import PooledRun, SelfTest, SelfTestConfig


class Machine:
    """Draws log seconds around ``seconds`` a call.

    A run's drift meets everything in it, canary too; a process's luck every arm for itself;
    outliers, one sample in twenty, only ever add.
    """

    def __init__(self, seed, *, drift=0.01, process=0.005, noise=0.01, seconds=0.01):
        self.rng = np.random.default_rng(seed)
        self.drift, self.process, self.noise, self.seconds = drift, process, noise, seconds

    def run(self, preset, *, work=1.0, names=("plain", "control", "canary")):
        """Arm -> process -> log of the median of its samples."""
        sampling = PRESETS[preset]
        base = math.log(self.seconds) + self.rng.normal(0.0, self.drift)
        samples = {name: [] for name in names}
        for process in range(sampling.processes):
            luck = {name: self.rng.normal(0.0, self.process) for name in names}
            for turn in range(sampling.rounds):
                weather = self.rng.normal(0.0, self.noise)
                for name in names:
                    factor = work if name == "slowed" else 1.0
                    log = base + math.log(factor) + luck[name] + weather + self.hiccup()
                    found = Sample(process=process, round=turn, seconds=math.exp(log))
                    samples[name].append(found)
        logs = {name: statistics.by_process(samples[name]) for name in names if name != "control"}
        apart = {
            f"{name}_apart": statistics.apart(samples["plain"], samples[name])
            for name in names
            if name in ("control", "slowed")
        }
        return logs | apart

    def hiccup(self):
        late = self.rng.exponential(0.5) if self.rng.random() < 0.05 else 0.0
        return self.rng.normal(0.0, self.noise) + late


def self_test(machine, runs, pairs, work):
    """A self-test's file, as this machine would have made it."""
    names = ("plain", "control", "canary", "slowed")
    pool = [PooledRun(preset="quick", **machine.run("quick")) for _ in range(runs)]
    pool += [
        PooledRun(preset="default", **machine.run("default", work=work, names=names))
        for _ in range(runs)
    ]
    return SelfTest(
        created_at="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        config=SelfTestConfig(runs=runs, pairs=pairs),
        environment=place(),
        true_ratio=work,
        pool=tuple(pool),
    )


def place(**changes):
    """An environment of no machine."""
    values = {
        "rnn_bench": environment.version(),
        "python": "3.12.0",
        "torch": "2.13.0",
        "numpy": "2.0.0",
        "cuda": None,
        "cudnn": None,
        "os": "Linux 6.0 x86_64",
        "cpu": "A CPU",
        "cores": 2,
        "memory_bytes": 1 << 30,
        "gpu": (),
        "threads": 1,
        "git_commit": "a" * 40,
        "git_dirty": False,
        "precision": {"mkldnn.rnn": "ieee"},
    }
    return Environment(**(values | changes))


def timed(golden, seconds, sizes=(16, 64, 256), batches=(1, 8, 64, 512), processes=3):
    """A file of this many cases; ``seconds(implementation, H, B, process)`` of one call."""
    result = load(golden)
    first = result.cases[0]
    cases = []
    for size in sizes:
        for name in ("torch_rnn", "torch_cell", "manual_cell"):
            rows = []
            for batch in batches:
                samples = tuple(
                    Sample(process=p, round=r, seconds=seconds(name, size, batch, p))
                    for p in range(processes)
                    for r in range(2)
                )
                rows.append(
                    first.throughput[0].model_copy(
                        update={
                            "batch_size": batch,
                            "steps": 100,
                            "samples": samples,
                            "steps_per_second": statistics.rate(samples, 100 * batch),
                        }
                    )
                )
            model = replace(first.model, hidden_size=size)
            changes = {"implementation": name, "model": model, "throughput": tuple(rows)}
            cases.append(first.model_copy(update=changes))
    model = replace(first.model, hidden_size=sizes[0])
    settings = result.config.model_copy(update={"model": model, "more_hidden_sizes": sizes[1:]})
    return result.model_copy(update={"config": settings, "cases": tuple(cases), "controls": ()})


def steady(name, size, batch, process):
    """manual_cell twice as fast as torch_cell, four times as fast as torch_rnn, nearly always."""
    factor = {"torch_rnn": 4.0, "torch_cell": 2.0, "manual_cell": 1.0}[name]
    return factor * size * batch * 1e-6 * (1.0 + 0.001 * process)
