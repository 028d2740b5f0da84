"""What a training's gradients are like, seen while it goes on; imported in a worker alone."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.parity import weight_arrays
from bench.studies.jacobians import Array, closed, gradient_norms
from bench.studies.schema import Values
from bench.studies.study import Tick
from impls.generator import Generator
from tasks import Sequences


class Checkpoints:
    """Looks at a model at some of its training's iterations, and at the gradients of all.

    Args:
        model: to be trained, with the weights that it starts from.
        sequences: that the gradient is followed back through, from their last step.
        paths: name -> which of their steps are forced.
        distances: how far back.
        due: name of a checkpoint -> after how many iterations it is; 0 is at once.
    """

    def __init__(
        self,
        model: Generator,
        sequences: Sequences,
        paths: Mapping[str, list[bool]],
        distances: int,
        due: Mapping[int, int],
    ) -> None:
        self._model, self._sequences, self._paths = model, sequences, paths
        self._distances, self._due, self._done = distances, due, 0
        self._values: Values = {}
        self._norms: list[float] = []
        self._squares = 0.0
        # Before anything is clipped: autograd calls as soon as a gradient is there.
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(self._add)  # type: ignore[no-untyped-call]
        self._look_where_due()

    def ticking(self, tick: Tick) -> Tick:
        """What the training calls after every iteration."""

        def after() -> None:
            self._done += 1
            self._norms.append(self._squares**0.5)
            self._squares = 0.0
            self._look_where_due()
            tick()

        return after

    def values(self) -> Values:
        """What was seen: a curve and a radius of each path at each checkpoint, and the norms."""
        norms = np.array([norm for norm in self._norms if np.isfinite(norm)])
        if not len(norms):
            return self._values
        return self._values | {
            "norm_median": float(np.median(norms)),
            "norm_largest": float(norms.max()),
            "above_one": float((norms > 1.0).mean()),
        }

    def _add(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self._squares += float(parameter.grad.double().square().sum())

    def _look_where_due(self) -> None:
        for name in [name for name, after in self._due.items() if after == self._done]:
            self._look(name)

    def _look(self, name: int) -> None:
        """Keep the curves and radii of now; at each distance the median over the sequences."""
        weights = weight_arrays(self._model)
        if not all(np.isfinite(weight).all() for weight in weights.values()):
            return
        inputs, target = self._sequences.inputs, self._sequences.targets[-1]
        for path, forced in self._paths.items():
            norms = gradient_norms(self._model.config, weights, inputs, target, forced)
            middle = np.median(norms[: self._distances + 1], axis=1)
            matrix = weights["weight_hh_l0"] if all(forced) else closed(weights)
            self._values[f"{path}_{name}"] = tuple(middle.tolist())
            self._values[f"radius_{path}_{name}"] = spectral_radius(matrix)


def spectral_radius(matrix: Array) -> float:
    """The largest magnitude of an eigenvalue."""
    # By torch, which keeps to its one thread; those of NumPy's get into each other's way.
    return float(torch.linalg.eigvals(torch.from_numpy(matrix)).abs().max())
