r"""Runs of steps as calls of ONNX's ``RNN`` operator in ONNX Runtime, on the CPU; inference only.

    h_t = tanh(b + W h_{t-1} + U x_t)                           where forced
    h_t = tanh((b + U c) + (W + U V) h_{t-1})                   where free
    y_t = V h_t + c

with the fold of `impls.folding`, so that a run of forced steps is one call and so is a run of free
ones, whose inputs are zeros.

What sets it apart: the loop over the steps is in ONNX Runtime's own C++, so an engine that models
are deployed with stands beside PyTorch. The weights are inputs of the graph, not constants in it:
no session can hold stale ones, and this operator packs no constants, so that it is no slower. One
graph does for all lengths, batch and input sizes.

Where it loses: it computes no gradients, takes one layer and float32 alone, and each run of steps
is a call, about 20 microseconds. The operator gives out the states of all its steps, which is why
large batches go through it piece by piece.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor

from impls.folding import folded_weights, runs, unfoldable
from impls.generator import GeneratorConfig, OwnWeights

# States that one call may give out, in numbers: 1 MiB, which the caches hold.
MOST_STATES = 1 << 18
OPSET, IR_VERSION = 14, 7  # as old as this form of RNN is, so that old runtimes read it too


class OnnxRuntime(OwnWeights):
    """One call of ``RNN`` for every run of forced or of free-running steps."""

    differentiable = False

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        if device.type != "cpu":
            return f"runs ONNX Runtime on the CPU, not on {device.type}"
        if dtype != torch.float32:
            return "ONNX Runtime's RNN takes float32 alone"
        return unfoldable(config)

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        _, B, I = inputs.shape  # noqa: E741
        H = self.config.hidden_size
        session = _session(self.config.nonlinearity, H, torch.get_num_threads())
        most = max(1, MOST_STATES // (B * H))
        w, nothing = self.weights(), inputs.new_zeros(H)
        biases = [w.get(name, nothing) for name in ("bias_ih_l0", "bias_hh_l0")]
        weights = {True: _weights(w, w["weight_hh_l0"], *biases)}
        if not all(forced):
            weights[False] = _weights(w, *folded_weights(w), nothing)
        given, zeros = _array(inputs), _array(inputs.new_zeros(min(most, len(forced)), B, I))
        h, predictions = _array(h0), []
        for start, end, teacher in runs(forced):
            for first in range(start, end, most):
                last = min(end, first + most)
                x = given[first:last] if teacher else zeros[: last - first]
                y, h = session.run(None, {"x": x, "h0": h, **weights[teacher]})
                predictions.append(torch.from_numpy(y))
        return torch.cat(predictions), torch.from_numpy(h)


def _weights(
    w: Mapping[str, Tensor], recurrence: Tensor, bias: Tensor, other_bias: Tensor
) -> dict[str, NDArray[Any]]:
    """The graph's inputs beside x and h0."""
    tensors = {
        "U": w["weight_ih_l0"].unsqueeze(0),
        "W": recurrence.unsqueeze(0),
        "b": torch.cat([bias, other_bias]).unsqueeze(0),
        "Vt": w["readout.weight"].t(),
        "c": w["readout.bias"],
    }
    return {name: _array(tensor) for name, tensor in tensors.items()}


@lru_cache(maxsize=16)
def _session(nonlinearity: str, hidden_size: int, threads: int) -> onnxruntime.InferenceSession:
    """A session holds no weights: all models of this size share it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Its threads wait busily within a call, but not after it, at the cost of whoever runs then.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3  # errors: an implementation prints nothing
    return onnxruntime.InferenceSession(
        _graph(nonlinearity, hidden_size), options, providers=["CPUExecutionProvider"]
    )


def _graph(nonlinearity: str, hidden_size: int) -> bytes:
    """(x, h0, U, W, b, Vt, c) -> (y, h_n): a layer and its read-out."""
    H = hidden_size
    activation = {"tanh": "Tanh", "relu": "Relu"}[nonlinearity]
    shapes: dict[str, list[int | str]] = {
        "x": ["T", "B", "I"],
        "h0": [1, "B", H],
        "U": [1, H, "I"],
        "W": [1, H, H],
        "b": [1, 2 * H],
        "Vt": [H, "I"],
        "c": ["I"],
        "y": ["T", "B", "I"],
        "h_n": [1, "B", H],
    }
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    nodes = [
        helper.make_node(
            "RNN",
            ["x", "U", "W", "b", "", "h0"],
            ["states", "h_n"],
            hidden_size=H,
            activations=[activation],
        ),
        helper.make_node("Squeeze", ["states", "direction"], ["h"]),
        helper.make_node("MatMul", ["h", "Vt"], ["Vh"]),
        helper.make_node("Add", ["Vh", "c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "generator",
        [values[name] for name in ("x", "h0", "U", "W", "b", "Vt", "c")],
        [values[name] for name in ("y", "h_n")],
        [helper.make_tensor("direction", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    serialised: bytes = model.SerializeToString()
    return serialised


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().contiguous().numpy()
