"""Where the weights of the recurrence start from.

Each name is a function of ``torch.nn.init`` and draws the input and recurrent matrices of every
layer; ``orthogonal`` the recurrent ones alone, for no other is square. Biases and the read-out keep
what they have. A start is drawn in float64 on the CPU from a generator of its own: a seed names the
same weights for every implementation, on every device.

The spectral radius of an n x n matrix with independent entries of standard deviation s is about
s sqrt(n) (Girko's circular law), so for the recurrent matrix ``uniform`` starts at 0.58, ``normal``
and Xavier's at 1, Kaiming's above; an orthogonal one at 1 exactly, and with every singular value
too, so that it neither shrinks nor grows a state (Saxe et al., 2014).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from impls.config import InitName

Draw = Callable[..., Any]


def _uniform(weight: Tensor, gain: float, generator: torch.Generator) -> None:
    """U(-1/sqrt(H), 1/sqrt(H)), as nn.RNN has it, times the gain."""
    bound = gain * len(weight) ** -0.5
    nn.init.uniform_(weight, -bound, bound, generator=generator)


def _normal(weight: Tensor, gain: float, generator: torch.Generator) -> None:
    """N(0, 1/H), times the gain."""
    nn.init.normal_(weight, std=gain * len(weight) ** -0.5, generator=generator)


def _kaiming(draw: Draw, weight: Tensor, gain: float, generator: torch.Generator) -> None:
    """He et al. (2015), whose own gain for relu is sqrt(2), times the gain."""
    draw(weight, nonlinearity="relu", generator=generator)
    weight.mul_(gain)


INITS: dict[InitName, Draw] = {
    "uniform": _uniform,
    "normal": _normal,
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": partial(_kaiming, nn.init.kaiming_uniform_),
    "kaiming_normal": partial(_kaiming, nn.init.kaiming_normal_),
    "orthogonal": nn.init.orthogonal_,
}


def started(
    weights: Mapping[str, Tensor], init: InitName, seed: int, gain: float = 1.0
) -> dict[str, Tensor]:
    """``weights`` with the matrices of the recurrence drawn anew.

    Args:
        weights: by the contract's names; nothing is changed in place.
        init: a key of `INITS`.
        seed: names the draw.
        gain: what every draw is multiplied with.

    Raises:
        KeyError: no such ``init``.
    """
    draw, generator = INITS[init], torch.Generator().manual_seed(seed)
    kinds = ("weight_hh",) if init == "orthogonal" else ("weight_ih", "weight_hh")
    found = dict(weights)
    for name, weight in weights.items():
        if name.startswith(kinds):
            drawn = torch.empty(weight.shape, dtype=torch.float64)
            draw(drawn, gain=gain, generator=generator)
            found[name] = drawn
    return found
