r"""The reference: the float64 NumPy loop that defines "correct". It is never timed.

Forward, for t = 0 .. T-1 and every layer (names as in `impls.generator`)::

    a_t = b_ih + b_hh + W_hh h_{t-1} + W_ih x_t,    h_t = f(a_t),    y_t = V h_t + c

Backward through time (Werbos, 1990), written out from the forward pass and from nothing else::

    dy_t     = dL/dy_t + dx_{t+1}  (the latter only where step t+1 ran free: it read y_t)
    dh_t     = V' dy_t  (top layer)  or  W_ih' da_t of the layer above,  + W_hh' da_{t+1}
    da_t     = dh_t * f'(a_t)
    dW_hh   += da_t h_{t-1}',   dW_ih += da_t x_t',   db_ih, db_hh += da_t

A bidirectional layer is two such layers, of which the second reads the steps from the last to the
first, and whose states the layer above reads side by side. All its steps are forced, so layers can
be run one after the other.

It shares no code with any implementation, so it can be trusted to disagree with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from impls.config import READS_THE_FUTURE, GeneratorConfig

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Rollout:
    """A forward pass, and what its backward pass needs.

    Attributes:
        predictions: (T, B, I).
        h_n: (L D, B, H), the states after the last step of each direction.
        read: for each layer, what it read: (T, B, I) for the first, (T, B, D H) above it.
        states: (T + 1, L D, B, H); ``states[0]`` is h0. Those of a backward direction are in the
            order in which it reaches them.
    """

    predictions: Array
    h_n: Array
    read: list[Array]
    states: Array


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients of a scalar loss: by weight name, and for inputs (T, B, I) and h0 (L D, B, H)."""

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
        inputs: (T, B, I), whatever ``config.batch_first``; rows where ``forced`` is False are not
            read.
        forced: T bools, the first True; all of them, where the layers are bidirectional.
        h0: (L D, B, H).

    Raises:
        ValueError: a free step of bidirectional layers.
    """
    if config.bidirectional:
        if not all(forced):
            raise ValueError(READS_THE_FUTURE)
        return _both_ways(config, weights, inputs, h0)
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
    """Gradients of a loss whose derivatives by predictions (T, B, I) and h_n (L D, B, H) are given.

    relu's derivative at 0 is taken as 0, as PyTorch does.
    """
    if config.bidirectional:
        return _both_ways_back(config, weights, rollout, d_predictions, d_h_n)
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


def _both_ways(config: GeneratorConfig, weights: Weights, inputs: Array, h0: Array) -> Rollout:
    steps, x, read = len(inputs), inputs, []
    states = np.empty((steps + 1, *h0.shape))
    states[0] = h0
    for first in range(0, len(h0), 2):
        read.append(x)
        for k, given in ((first, x), (first + 1, x[::-1])):
            cell = config.cells[k]
            for t in range(steps):
                a = given[t] @ weights[f"weight_ih_{cell}"].T
                a = a + states[t, k] @ weights[f"weight_hh_{cell}"].T
                if config.bias:
                    a = a + weights[f"bias_ih_{cell}"] + weights[f"bias_hh_{cell}"]
                states[t + 1, k] = np.tanh(a) if config.nonlinearity == "tanh" else np.maximum(a, 0)
        x = np.concatenate([states[1:, first], states[:0:-1, first + 1]], axis=-1)
    predictions = x @ weights["readout.weight"].T + weights["readout.bias"]
    return Rollout(predictions, states[steps], read, states)


def _both_ways_back(
    config: GeneratorConfig, weights: Weights, rollout: Rollout, d_predictions: Array, d_h_n: Array
) -> Gradients:
    gradients = {name: np.zeros(shape) for name, shape in config.weight_shapes().items()}
    d_h0, hidden, states = np.empty_like(d_h_n), config.hidden_size, rollout.states
    top = np.concatenate([states[1:, -2], states[:0:-1, -1]], axis=-1)
    gradients["readout.weight"] += np.einsum("tbi,tbh->ih", d_predictions, top)
    gradients["readout.bias"] += d_predictions.sum((0, 1))
    d_above = d_predictions @ weights["readout.weight"]
    for layer in reversed(range(config.num_layers)):
        x, forth, back = rollout.read[layer], 2 * layer, 2 * layer + 1
        d_forth, d_back = d_above[..., :hidden], d_above[::-1, :, hidden:]
        d_x, d_h0[forth] = _one_way_back(
            config, weights, gradients, forth, x, states[:, forth], d_forth, d_h_n[forth]
        )
        d_x_back, d_h0[back] = _one_way_back(
            config, weights, gradients, back, x[::-1], states[:, back], d_back, d_h_n[back]
        )
        d_above = d_x + d_x_back[::-1]
    return Gradients(gradients, d_above, d_h0)


def _one_way_back(
    config: GeneratorConfig,
    weights: Weights,
    gradients: dict[str, Array],
    k: int,
    read: Array,
    states: Array,
    d_above: Array,
    d_state: Array,
) -> tuple[Array, Array]:
    """Add cell k's share to ``gradients``; those of what it read and of its h0, in its order."""
    cell, d_read = config.cells[k], np.empty_like(read)
    for t in reversed(range(len(read))):
        h = states[t + 1]
        slope = 1.0 - h**2 if config.nonlinearity == "tanh" else (h > 0.0).astype(h.dtype)
        da = (d_state + d_above[t]) * slope
        gradients[f"weight_ih_{cell}"] += da.T @ read[t]
        gradients[f"weight_hh_{cell}"] += da.T @ states[t]
        if config.bias:
            gradients[f"bias_ih_{cell}"] += da.sum(0)
            gradients[f"bias_hh_{cell}"] += da.sum(0)
        d_state = da @ weights[f"weight_hh_{cell}"]
        d_read[t] = da @ weights[f"weight_ih_{cell}"]
    return d_read, d_state
