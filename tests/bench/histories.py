"""Folders of result files whose changes are known, as a machine that does not exist made them."""

import hashlib
import json
import math
from dataclasses import dataclass, field

import numpy as np

BEGIN = np.datetime64("2024-01-01T00:00:00")
CPUS = ("A CPU", "B CPU", "C CPU")
IMPLEMENTATIONS, WORKLOADS = ("manual_cell", "torch_rnn"), ("generate", "train_step")
LIKE_EACH_OTHER = 0.002  # log: how far a file's own processes lie apart


@dataclass
class Story:
    """What happens to one case on one machine: position -> log of new over old seconds there."""

    changes: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.01

    def logs(self, runs, noise):
        """(runs,) log seconds, ``noise`` (runs,) on top."""
        level = np.full(runs, math.log(self.seconds))
        for place, change in self.changes.items():
            level[place:] += change
        return level + noise


def commit_of(number):
    """A hash for every number, the same every time."""
    return hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()


def planted(rng, runs, every, size, *, least=30, margin=20):
    """Changes of ``size`` up or down at random places, one in ``every`` runs or so."""
    places = []
    while len(places) < runs // every:
        place = int(rng.integers(margin, runs - margin))
        if all(abs(place - other) >= least for other in places):
            places.append(place)
    signs = rng.choice((-1.0, 1.0), len(places))
    return {
        place: float(sign * math.log1p(size)) for place, sign in zip(places, signs, strict=True)
    }


def template(golden, cases):
    """A result of today's schema with nothing but times; ``cases``: (implementation, workload)."""
    result = json.loads(golden.read_text())
    first = next(case for case in result["cases"] if case["throughput"])
    row = first["throughput"][0]
    names = dict.fromkeys(name for name, _ in cases)
    result["config"]["implementations"] = list(names)
    result["cases"] = [
        {
            **{name: first[name] for name in ("device", "dtype", "model", "task", "status")},
            "implementation": name,
            "throughput": [
                {**row, "workload": workload, "warm_ups": row["warm_ups"][:1]}
                for implementation, workload in cases
                if implementation == name
            ],
        }
        for name in names
    ]
    for name in ("controls", "canaries", "ceilings", "processes"):
        result[name] = []
    result["baselines"] = None
    return result


def timed(result, logs):
    """``result`` with (case, log seconds of a call) for its rows, in their order."""
    rows = [row for case in result["cases"] for row in case["throughput"]]
    for row, log in zip(rows, logs, strict=True):
        row["samples"] = [
            {"process": process, "round": turn, "seconds": math.exp(log + side * LIKE_EACH_OTHER)}
            for process, side in ((0, -1.0), (1, 1.0))
            for turn in range(2)
        ]
        rate = row["steps"] * row["batch_size"] / math.exp(log)
        row["steps_per_second"] = {"estimate": rate, "low": None, "high": None}
    return result


def write(folder, golden, stories, *, runs, noise=0.02, seed=0, cpus=CPUS[:1], draw=None,
          commit=commit_of, software=None, gap=3600, compact=True):  # fmt: skip
    """One file a run and machine, machines in turn; their names sort by date.

    Args:
        folder: where to.
        golden: a result file of today's schema.
        stories: (CPU, implementation, workload) -> what happens.
        runs: of each machine.
        noise: standard deviation of the log seconds of a file.
        seed: of the noise.
        cpus: the machines.
        draw: (rng, runs) -> noise of standard deviation 1; normal and independent by default.
        commit: number of a run -> its commit.
        software: number of a run -> changes to its environment.
        gap: seconds between two files.
        compact: as few bytes as JSON takes.
    """
    rng = np.random.default_rng(seed)
    draw = draw or (lambda rng, runs: rng.normal(size=runs))
    logs = {key: story.logs(runs, noise * draw(rng, runs)) for key, story in stories.items()}
    cases = list(dict.fromkeys((name, workload) for _, name, workload in stories))
    result = template(golden, cases)
    separators = (",", ":") if compact else None
    for number in range(runs * len(cpus)):
        run, cpu = number // len(cpus), cpus[number % len(cpus)]
        result["created_at"] = f"{BEGIN + np.timedelta64(gap * number, 's')}+00:00"
        result["environment"]["cpu"] = cpu
        result["environment"]["git_commit"] = commit(run)
        result["environment"]["git_dirty"] = False
        if software:
            result["environment"].update(software(run))
        timed(result, [logs[cpu, name, workload][run] for name, workload in cases])
        name = f"{number:06d}.json"
        (folder / name).write_text(json.dumps(result, separators=separators))


def position(file, machines=1):
    """Which of its machine's runs a file is."""
    return int(file.split(".")[0]) // machines
