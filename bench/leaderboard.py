"""Who is fastest where, over many result files: a line a machine, workload and batch size.

Each line is one file's: only what took turns in the same rounds can be set against each other.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import records, words
from bench.config import WORKLOADS
from bench.errors import BenchError
from bench.render import Table
from bench.scaling import ScalingRow, scaling_rows
from bench.schema import Environment, Result

FOLDER = Path("results/reference")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a time belongs to.

    Attributes:
        name: of the processor, or of the GPU where the work was done on one.
        cores: of the processor.
        caches: what tells two processors of one name apart.
        device: where the work was done.
    """

    name: str
    cores: int
    caches: tuple[tuple[str, int], ...]
    device: str

    def label(self, *, with_caches: bool) -> str:
        """In words; ``with_caches`` where another machine has the same name."""
        if self.device == "cuda":
            return self.name
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        caches = [f"{name} {words.size(size)}" for name, size in self.caches if name != "L1d"]
        return f"{self.name} ({', '.join([cores, *(caches if with_caches else ())])})"


def labels(machines: Sequence[Machine]) -> dict[Machine, str]:
    """Each machine in words, with its caches where another has the same name."""
    plain = Counter(machine.label(with_caches=False) for machine in dict.fromkeys(machines))
    return {
        machine: machine.label(with_caches=plain[machine.label(with_caches=False)] > 1)
        for machine in machines
    }


@dataclass(frozen=True, slots=True)
class Leader:
    """The fastest at one place.

    Attributes:
        machine: where.
        file: whose samples say so.
        dtype: of weights and states.
        model: hidden size, layers and nonlinearity, in words.
        row: the fastest, the second, and how surely.
    """

    machine: Machine
    file: str
    dtype: str
    model: str
    row: ScalingRow


def load(paths: Sequence[Path]) -> tuple[dict[str, Result], list[str]]:
    """The results in files and folders, and what was left out.

    Args:
        paths: a folder gives all its ``*.json`` that are result files; files of studies and
            self-tests are none, and no trouble.

    Returns:
        Name -> result, and a line for each file that is damaged.

    Raises:
        BenchError: a path does not exist, or a file that was named is no result.
    """
    found: dict[str, Result] = {}
    damaged = []
    for path in paths:
        if not path.is_dir():
            found[str(path)] = records.load(path)
            continue
        for file in sorted(path.glob("*.json")):
            try:
                text = records.read(file)
                result = records.quickly(text)
                if result is None:
                    head = records.from_json(file, text)
                    if isinstance(head, dict) and "kind" in head:
                        continue
                    result = records.parse(file, text, head)
                found[file.name] = result
            except BenchError as error:
                damaged.append(f"left out: {error}")
    return found, damaged


def leaders(results: Mapping[str, Result], hidden_size: int | None) -> list[Leader]:
    """The fastest at every place; of several files that know one, the one with the fastest time.

    Who was timed alone has won nothing.

    Args:
        results: name -> result.
        hidden_size: the only one to look at; None is all.
    """
    best: dict[tuple[object, ...], Leader] = {}
    for name, result in results.items():
        for row in scaling_rows(result, by_device=True):
            if row.second and hidden_size in (None, row.hidden_size):
                leader = Leader(
                    _machine(result.environment, row.device),
                    name,
                    result.config.dtype,
                    _model(result, row.hidden_size),
                    row,
                )
                key = _place(leader)
                known = best.get(key)
                if known is None or row.microseconds_per_step < known.row.microseconds_per_step:
                    best[key] = leader
    return sorted(best.values(), key=_order)


def tables(found: Sequence[Leader]) -> list[Table]:
    """A table a machine."""
    machines: dict[Machine, list[Leader]] = defaultdict(list)
    for leader in found:
        machines[leader.machine].append(leader)
    names = labels(list(machines))
    return [_table(names[machine], theirs) for machine, theirs in machines.items()]


def _table(machine: str, found: Sequence[Leader]) -> Table:
    models = list(dict.fromkeys(map(_model_and_dtype, found)))
    several = len(models) > 1
    return Table(
        title=f"Leaderboard: {machine}" + ("" if several else f", {models[0]}"),
        columns=("workload", *(("model",) if several else ()), "batch", "implementation",
                 "threads", "us/step", "of limit", "second", "ratio", "verdict"),
        sections=tuple(
            tuple(
                _row(leader, (model,) if several else ())
                for leader in found
                if _model_and_dtype(leader) == model
            )
            for model in models
        ),
        notes=(
            "The fastest implementation that passes parity, at its best count of threads. us/step: "
            "microseconds for one step of the whole batch. of limit: the least time that the work "
            "takes on that machine, over the time it took. ratio: how many times as fast as the "
            "second, round by round, with half of its 95% interval; surely: faster than every "
            "other there.",
            f"Each line is one file's: {', '.join(dict.fromkeys(leader.file for leader in found))}."
            " Where several know a place it is that of the fastest time; where one was timed alone "
            "there is no line.",
        ),
    )  # fmt: skip


def _row(leader: Leader, model: tuple[str, ...]) -> tuple[str, ...]:
    row = leader.row
    return (
        row.workload,
        *model,
        f"{row.batch_size:,}",
        row.implementation,
        str(row.threads),
        words.significant(row.microseconds_per_step),
        words.percent(row.share_of_limit),
        row.second or words.NOTHING,
        words.ratio_within(row.ratio, row.low, row.high),
        row.verdict,
    )


def _model_and_dtype(leader: Leader) -> str:
    return f"{leader.model} {leader.dtype}"


def _machine(environment: Environment, device: str) -> Machine:
    name = environment.cpu
    if device == "cuda":
        name = ", ".join(dict.fromkeys(gpu.name for gpu in environment.gpu)) or "GPU"
    caches = tuple(sorted(environment.caches.items())) if device == "cpu" else ()
    return Machine(name, environment.cores if device == "cpu" else 0, caches, device)


def _model(result: Result, hidden_size: int) -> str:
    model = result.config.model
    bias = "" if model.bias else " no bias"
    return f"H={hidden_size} L={model.num_layers} {model.nonlinearity}{bias}"


def _place(leader: Leader) -> tuple[object, ...]:
    row = leader.row
    return leader.machine, row.workload, leader.model, leader.dtype, row.batch_size


def _order(leader: Leader) -> tuple[object, ...]:
    machine, row = leader.machine, leader.row
    where = (machine.device, machine.name, machine.cores, machine.caches)
    return (*where, WORKLOADS.index(row.workload), row.hidden_size, leader.model, leader.dtype,
            row.batch_size)  # fmt: skip
