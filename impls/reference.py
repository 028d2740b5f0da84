r"""The reference: the float64 NumPy loop that defines "correct". It is never timed.

Forward, for t = 0 .. T-1 and every layer (names as in `impls.generator`)::

    a_t = b_ih + b_hh + W_hh h_{t-1} + W_ih x_t,    h_t = f(a_t),    y_t = V h_t + c

Backward through time (Werbos, 1990), written out from the forward pass and from nothing else::

    dy_t     = dL/dy_t + dx_{t+1}  (the latter only where step t+1 ran free: it read y_t)
    dh_t     = V' dy_t  (top layer)  or  W_ih' da_t of the layer above,  + W_hh' da_{t+1}
    da_t     = dh_t * f'(a_t)
    dW_hh   += da_t h_{t-1}',   dW_ih += da_t x_t',   db_ih, db_hh += da_t

It shares no code with any implementation, so it can be trusted to disagree with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from impls.config import GeneratorConfig

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Rollout:
    """A forward pass, and what its backward pass needs.

    Attributes:
        predictions: (T, B, I).
        h_n: (L, B, H), the states after the last step.
        read: for each layer, what it read: (T, B, I) for the first, (T, B, H) above it.
        states: (T + 1, L, B, H); ``states[0]`` is h0.
    """

    predictions: Array
    h_n: Array
    read: list[Array]
    states: Array


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients of a scalar loss: by weight name, and for inputs (T, B, I) and h0 (L, B, H)."""

    weights: dict[str, Array]
    inputs: Array
    h0: Array


def forward(
    config: GeneratorConfig, weights: Weights, inputs: Array, forced: list[bool], h0: Array
) -> Rollout:
    """Predict every step in float64, without dropout.

    Args:
        config: sizes, nonlinearity and bias.
        weights: as ``config.weight_shapes()`` says.
        inputs: (T, B, I); rows where ``forced`` is False are not read.
        forced: T bools, the first True.
        h0: (L, B, H).
    """
    steps, batch, _ = inputs.shape
    layers, hidden = config.num_layers, config.hidden_size
    predictions = np.empty((steps, batch, config.input_size))
    read = [np.empty((steps, batch, config.layer_input_size(layer))) for layer in range(layers)]
    states = np.empty((steps + 1, layers, batch, hidden))
    states[0] = h0
    for t in range(steps):
        x = inputs[t] if forced[t] else predictions[t - 1]
        for layer in range(layers):
            read[layer][t] = x
            a = x @ weights[f"weight_ih_l{layer}"].T
            a = a + states[t, layer] @ weights[f"weight_hh_l{layer}"].T
            if config.bias:
                a = a + weights[f"bias_ih_l{layer}"] + weights[f"bias_hh_l{layer}"]
            x = np.tanh(a) if config.nonlinearity == "tanh" else np.maximum(a, 0.0)
            states[t + 1, layer] = x
        predictions[t] = x @ weights["readout.weight"].T + weights["readout.bias"]
    return Rollout(predictions, states[steps], read, states)


def backward(
    config: GeneratorConfig,
    weights: Weights,
    forced: list[bool],
    rollout: Rollout,
    d_predictions: Array,
    d_h_n: Array,
) -> Gradients:
    """Gradients of a loss whose derivatives by predictions (T, B, I) and h_n (L, B, H) are given.

    relu's derivative at 0 is taken as 0, as PyTorch does.
    """
    layers = config.num_layers
    gradients = {name: np.zeros(shape) for name, shape in config.weight_shapes().items()}
    d_inputs = np.zeros_like(rollout.read[0])
    d_state = d_h_n.copy()
    d_feedback = np.zeros_like(d_predictions[0])
    for t in reversed(range(len(forced))):
        dy = d_predictions[t] + d_feedback
        gradients["readout.weight"] += dy.T @ rollout.states[t + 1, -1]
        gradients["readout.bias"] += dy.sum(0)
        d_above = dy @ weights["readout.weight"]
        for layer in reversed(range(layers)):
            h = rollout.states[t + 1, layer]
            slope = 1.0 - h**2 if config.nonlinearity == "tanh" else (h > 0.0).astype(h.dtype)
            da = (d_state[layer] + d_above) * slope
            gradients[f"weight_ih_l{layer}"] += da.T @ rollout.read[layer][t]
            gradients[f"weight_hh_l{layer}"] += da.T @ rollout.states[t, layer]
            if config.bias:
                gradients[f"bias_ih_l{layer}"] += da.sum(0)
                gradients[f"bias_hh_l{layer}"] += da.sum(0)
            d_state[layer] = da @ weights[f"weight_hh_l{layer}"]
            d_above = da @ weights[f"weight_ih_l{layer}"]
        # The first layer's input is either a row of `inputs` or the previous prediction.
        d_feedback = np.zeros_like(d_above) if forced[t] else d_above
        if forced[t]:
            d_inputs[t] = d_above
    return Gradients(gradients, d_inputs, d_state)
