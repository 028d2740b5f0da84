"""A study's workers on Ray: trainings share the nodes, and each time has one to itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cluster.needs import Needs
from bench.cluster.worker import OnNode, Order
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
    _first: OnNode | None = field(default=None, init=False)

    def started(self, config: StudyConfig, *, alone: bool) -> Killable:
        """A worker; one that times is on the first one's node if that is still there."""
        weights = Path(config.weights) if config.weights else None
        order = Order(
            config,
            {config.implementation: REGISTRY[config.implementation]},
            SESSION,
            TIMING if alone else TRAINING,
            files={"weights": weights.read_bytes()} if weights else {},
            beside=self._first.node if alone and self._first else None,
        )
        worker = OnNode(self.ray, order)
        self._first = self._first or worker
        return worker
