"""Runs of a machine that does not exist: drift, process effects, noise and outliers, all known."""

import math

import numpy as np

from bench import environment, statistics
from bench.config import PRESETS
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
