"""What implementations share that run a whole run of steps in one call: runs, and the fold.

Between two forced steps the feedback is linear: with x_t = y_{t-1} = V h_{t-1} + c,

    a_t = b + W h_{t-1} + U x_t = (b + U c) + (W + U V) h_{t-1}

so that free-running steps are an RNN without input, whose recurrent matrix is W + U V and whose
bias is b + U c. The fold costs 2 H^2 I operations.

What changes in rounding: a free step rounds W + U V once instead of V h + c and U x at each step.
Each is off by about one unit in the last place, and in different directions, so after hundreds of
free steps two right answers differ as those of two machines do.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor

from impls.config import GeneratorConfig


def unfoldable(config: GeneratorConfig) -> str | None:
    """Why the fold does not do for ``config``, or None where it does."""
    if config.num_layers > 1:  # the lowest reads what the highest said
        return f"folds the feedback of one layer, not of {config.num_layers}"
    return None


def folded_weights(weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """W + U V (H, H) and b + U c (H,) of a generator with one layer, both biases in b."""
    U, V, c = weights["weight_ih_l0"], weights["readout.weight"], weights["readout.bias"]
    bias = U @ c
    if "bias_ih_l0" in weights:
        bias = bias + weights["bias_ih_l0"] + weights["bias_hh_l0"]
    return weights["weight_hh_l0"] + U @ V, bias


def runs(forced: list[bool]) -> Iterator[tuple[int, int, bool]]:
    """(first step, one beyond the last, whether they are forced), as long as they are alike."""
    start = 0
    for t in range(1, len(forced) + 1):
        if t == len(forced) or forced[t] != forced[start]:
            yield start, t, forced[start]
            start = t
