"""The weights' gradients, out of what a backward pass through time has left of every step."""

from collections.abc import Iterable

from torch import Tensor

from impls.config import GeneratorConfig


def weight_gradients(
    config: GeneratorConfig,
    d_a: Iterable[Tensor],
    d_y: Tensor,
    before: Iterable[Tensor],
    below: Iterable[Tensor],
    top: Tensor,
) -> list[Tensor]:
    """One product over all steps and sequences for each matrix: the same bits at every call.

    Args:
        config: of the generator.
        d_a: for each layer dL/da (T, B, H).
        d_y: (T, B, I), with what comes back through the feedback.
        before: for each layer its states (T, B, H) before each step.
        below: for each layer what it read (T, B, I), or (T, B, H) above the first.
        top: the last layer's states (T, B, H) after each step.

    Returns:
        In the order of ``config.weight_shapes()``; no two share memory.
    """
    found = []
    for d, h, x in zip(d_a, before, below, strict=True):
        found += [_over_all(d, x), _over_all(d, h)]
        if config.bias:
            total = d.sum((0, 1))
            found += [total, total.clone()]
    return [*found, _over_all(d_y, top), d_y.sum((0, 1))]


def _over_all(d: Tensor, x: Tensor) -> Tensor:
    """The sum of d x^T over steps and sequences: (m, n) of (T, B, m) and (T, B, n)."""
    return d.flatten(0, 1).t() @ x.flatten(0, 1)
