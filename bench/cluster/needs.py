"""What a piece of work asks of a node, and the slot that keeps timings apart.

Every node offers one slot, the custom resource `SLOT`. What times takes all of it, anything else a
small share: so no two timings ever share a machine, nor a timing and a training, while trainings
share one as they like.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import BenchError

SLOT = "timing"
SHARE = 0.001
HOW_TO_START = f"ray start --address=HOST:PORT --resources='{{\"{SLOT}\": 1}}'"

# What a node has in all, by Ray's names.
Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one piece of work.

    Attributes:
        threads: CPU threads.
        gpu: whether it takes a GPU, of its own.
        alone: whether it times, and no other work of ours may be on its node.
    """

    threads: int = 1
    gpu: bool = False
    alone: bool = False

    def __str__(self) -> str:
        names = {"CPU": "CPU", "GPU": "GPU", SLOT: f"slot ({SLOT})"}
        return ", ".join(f"{amount:g} {names[name]}" for name, amount in self.resources().items())

    def resources(self) -> dict[str, float]:
        """By Ray's names."""
        needs = {"CPU": float(self.threads), SLOT: 1.0 if self.alone else SHARE}
        return needs | ({"GPU": 1.0} if self.gpu else {})

    def options(self) -> dict[str, Any]:
        """As a task or an actor of Ray's is told of them."""
        needs = self.resources()
        return {
            "num_cpus": needs.pop("CPU"),
            "num_gpus": needs.pop("GPU", 0.0),
            "resources": needs,
        }

    def fit(self, node: Resources) -> bool:
        """Whether a node with nothing to do has it all."""
        return all(node.get(name, 0.0) >= amount for name, amount in self.resources().items())

    def times(self, nodes: Sequence[Resources]) -> int:
        """How many pieces of such work the nodes have room for at once."""
        return sum(
            int(min(node.get(name, 0.0) / amount for name, amount in self.resources().items()))
            for node in nodes
        )


def check_devices(what: str, devices: Sequence[str]) -> None:
    """Whether work asks for a GPU as one can on a cluster: for one, not for that of a number.

    Args:
        what: the work, such as "a cell".
        devices: by the names of the command line.

    Raises:
        BenchError: it names one.
    """
    if named := [device for device in devices if ":" in device]:
        raise BenchError(f"on Ray {what} gets a GPU of its own, cuda; it cannot name {named[0]}")


def check(works: Mapping[str, Needs], nodes: Sequence[Resources]) -> str | None:
    """Whether these nodes can do this work; gives a line about those that get none.

    Args:
        works: what it needs, by names for what is told.
        nodes: of the cluster.

    Raises:
        BenchError: no node offers a slot, one offers several, or no node has what some work needs.
    """
    slots = [node.get(SLOT, 0.0) for node in nodes]
    if not any(slots):
        raise BenchError(
            f"no node of the Ray cluster offers the slot that a cell takes; start one with "
            f"{HOW_TO_START}"
        )
    if (most := max(slots)) != 1.0:
        raise BenchError(
            f"a node of the Ray cluster offers {most:g} slots, which timings would share; start it "
            f"with {HOW_TO_START}"
        )
    for name, needs in works.items():
        if not any(map(needs.fit, nodes)):
            raise BenchError(f"no node of the Ray cluster has what {name} needs: {needs}")
    without = slots.count(0.0)
    if without:
        return (
            f"{without} of {len(slots)} nodes offer no slot and get no cells; one is started "
            f"with {HOW_TO_START}"
        )
    return None
