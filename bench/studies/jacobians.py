r"""How far back a loss is felt: dL_T/dh_t, and what makes it vanish or explode.

L_T is the squared error of the last step alone. Its gradient by the state of an earlier step is a
product of Jacobians, one a step (Hochreiter, 1991; Bengio et al., 1994; Pascanu et al., 2013)::

    dL_T/dh_t = (dh_{t+1}/dh_t)' ... (dh_T/dh_{T-1})' dL_T/dh_T
    dh_{t+1}/dh_t = diag(f'(a_{t+1})) W_hh              where step t+1 was forced
                    diag(f'(a_{t+1})) (W_hh + W_ih V)   where it ran free: it read y_t = V h_t + c

With layers h_t is the states of all of them, as step t+1 finds them. In float64, from the states
of the reference; it shares no code with any implementation.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from impls import GeneratorConfig, reference

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


def gradient_norms(
    config: GeneratorConfig, weights: Weights, inputs: Array, target: Array, forced: list[bool]
) -> Array:
    """The norm of dL_T/dh_t by distance T - t, for each sequence apart.

    Args:
        config: sizes, nonlinearity and bias.
        weights: as ``config.weight_shapes()`` says.
        inputs: (T, B, I); rows where ``forced`` is False are not read.
        target: (B, I), of the last step.
        forced: T bools, the first True.

    Returns:
        (T, B); row d is at distance d, so row 0 is of the last step's own state.
    """
    h0 = np.zeros((config.num_layers, inputs.shape[1], config.hidden_size))
    rollout = reference.forward(config, weights, inputs, forced, h0)
    error = rollout.predictions[-1] - target
    gradient = np.zeros_like(h0)
    gradient[-1] = 2.0 / config.input_size * error @ weights["readout.weight"]
    norms = np.empty((len(forced), inputs.shape[1]))
    for distance, t in enumerate(reversed(range(len(forced)))):
        norms[distance] = np.sqrt(np.square(gradient).sum(axis=(0, 2)))
        gradient = back_one(config, weights, rollout.states[t + 1], gradient, free=not forced[t])
    return norms


def back_one(
    config: GeneratorConfig, weights: Weights, states: Array, gradient: Array, *, free: bool
) -> Array:
    """The gradient by the states that a step began with, from that by those it ended with.

    Args:
        config: sizes and nonlinearity.
        weights: as ``config.weight_shapes()`` says.
        states: (L, B, H), what the step ended with.
        gradient: (L, B, H), by ``states``.
        free: whether the step read the prediction before it.

    Returns:
        (L, B, H); relu's derivative at 0 is taken as 0.
    """
    before = np.empty_like(gradient)
    from_above = np.zeros_like(gradient[0])
    for layer in reversed(range(config.num_layers)):
        h = states[layer]
        slope = 1.0 - h**2 if config.nonlinearity == "tanh" else (h > 0.0).astype(h.dtype)
        da = (gradient[layer] + from_above) * slope
        before[layer] = da @ weights[f"weight_hh_l{layer}"]
        from_above = da @ weights[f"weight_ih_l{layer}"]
    if free:
        before[-1] += from_above @ weights["readout.weight"]
    return before


def closed(weights: Weights) -> Array:
    """W_hh + W_ih V of one layer: what a free step multiplies the state with, but for f'."""
    found: Array = weights["weight_hh_l0"] + weights["weight_ih_l0"] @ weights["readout.weight"]
    return found
