"""A training that leaps is taken back to where it was before.

A rate that is high enough to get anywhere now and then throws a recurrence out of what it has
learned, and most of a training passes until it is back. Chowdhery et al. (2022, section 5.1) went
back to weights from before such a leap of the loss and on with other data; so does this, by itself.
"""

import copy
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from impls.generator import Generator

WINDOW = 50  # iterations: of the median that a loss is held against, and between two copies


@dataclass(frozen=True, slots=True)
class _Copy:
    """Weights, the optimisers' states, and how many losses were usual until then."""

    weights: dict[str, Tensor]
    optimisers: list[dict[str, Any]]
    usual: int


class Rewinding:
    """Keeps copies of a training, and takes it back to one.

    Args:
        model: that is trained.
        optimisers: that train it.
        factor: a loss of so many times the median of the last `WINDOW` usual ones is a leap; None
            for never.
    """

    def __init__(
        self, model: Generator, optimisers: Sequence[torch.optim.Optimizer], factor: float | None
    ) -> None:
        self._model, self._optimisers, self._factor = model, optimisers, factor
        self._usual: list[float] = []
        self._older: _Copy | None = None
        self._newer: _Copy | None = None

    def leapt(self, loss: float) -> bool:
        """Whether ``loss``, of weights not yet changed by it, is to be undone."""
        if self._factor is None or self._older is None:
            return False
        return loss > self._factor * statistics.median(self._usual[-WINDOW:])

    def keep(self, loss: float) -> None:
        """Count a usual loss after its step; now and then copy everything."""
        if self._factor is None:
            return
        self._usual.append(loss)
        if len(self._usual) % WINDOW == 0:
            # Not to the newest: what threw the training out began before it showed.
            self._older = self._newer or self._now()
            self._newer = self._now()

    def rewind(self) -> None:
        """Back to weights and states of `WINDOW` to twice as many iterations ago."""
        if self._older is None:
            raise RuntimeError("nothing was kept")
        self._model.load_weights(self._older.weights)
        for optimiser, state in zip(self._optimisers, self._older.optimisers, strict=True):
            optimiser.load_state_dict(copy.deepcopy(state))
        self._usual = self._usual[: self._older.usual]
        self._newer = self._older

    def _now(self) -> _Copy:
        weights = {name: weight.detach().clone() for name, weight in self._model.weights().items()}
        states = [copy.deepcopy(optimiser.state_dict()) for optimiser in self._optimisers]
        return _Copy(weights, states, len(self._usual))
