"""A study's workers on Ray: trainings share the nodes, and each time has one to itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cluster.needs import Needs
from bench.cluster.worker import OnNode, Order
from bench.errors import BenchError
from bench.remote import Killable
from bench.studies.engine import SESSION
from bench.studies.schema import StudyConfig
from impls import REGISTRY

TRAINING, TIMING = Needs(), Needs(alone=True)


@dataclass(slots=True)
class OnRay:
    """A cluster, as a place for a study's workers.

    Attributes:
        ray: connected to it.
    """

    ray: Any
    _settled: OnNode | None = field(default=None, init=False)

    def started(self, config: StudyConfig, *, alone: bool) -> Killable:
        """A worker; one that times is on the study's own node if that is still there.

        Raises:
            BenchError: the weights that it is to look at cannot be read.
        """
        order = Order(
            config,
            {config.implementation: REGISTRY[config.implementation]},
            SESSION,
            TIMING if alone else TRAINING,
            files={"weights": _read(Path(config.weights))} if config.weights else {},
            beside=self._settled.node if alone and self._settled else None,
        )
        return OnNode(self.ray, order)

    def settle(self, worker: Killable) -> None:
        """Where this one is, what is timed is to be."""
        self._settled = worker if isinstance(worker, OnNode) else None


def _read(weights: Path) -> bytes:
    try:
        return weights.read_bytes()
    except OSError as error:
        raise BenchError(f"--weights {weights}: {error.strerror}") from None
