"""Muon (Jordan, 2024), for matrices: momentum whose step is brought close to an orthogonal matrix.

    m   <- 0.95 m + 0.05 g,    u = 0.05 g + 0.95 m          (Nesterov's look ahead)
    X_0 = u / |u|,             X <- a X + (b A + c A A) X,  A = X X^T,   five times
    W   <- W - rate X

The iteration (Newton's and Schulz's, with the coefficients of Jordan's post) drives every singular
value of X to about 1, so that the spectral norm of a step is about ``rate``, whatever the gradient.

``torch.optim.Muon`` is the same in bfloat16, which a GPU multiplies fast and many a CPU does not:
there the five iterations would take longer than the forward and the backward pass that they are
for. This one multiplies in the weights' own dtype.
"""

from collections.abc import Callable, Iterable
from typing import overload

import torch
from torch import Tensor

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
LEAST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """Muon for square matrices, without weight decay.

    Args:
        parameters: (H, H) each.
        lr: the spectral norm of a step, about.

    Raises:
        ValueError: a parameter is not square.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})
        for parameter in self._parameters():
            if parameter.ndim != 2 or parameter.shape[0] != parameter.shape[1]:
                raise ValueError(f"Muon steps square matrices, not {tuple(parameter.shape)}")

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every matrix that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"])
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"].lerp_(gradient, 1.0 - MOMENTUM)
        parameter.add_(orthogonalised(gradient.lerp(momentum, MOMENTUM)), alpha=-rate)

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


def orthogonalised(matrix: Tensor) -> Tensor:
    """(H, H) with the singular vectors of ``matrix``, and singular values from about 0.7 to 1.2.

    Those that were less than a thousandth of the norm stay smaller; zeros stay zeros.
    """
    a, b, c = COEFFICIENTS
    X: Tensor = matrix / matrix.norm().clamp(min=LEAST_NORM)
    for _ in range(ITERATIONS):
        A = X @ X.T
        X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X
