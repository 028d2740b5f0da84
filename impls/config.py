"""What a generator is made of: its sizes and options, free of any framework."""

from dataclasses import dataclass
from typing import Literal

Nonlinearity = Literal["tanh", "relu"]


# Where the matrices of the recurrence start from; `impls.initial` says how each is drawn.
InitName = Literal[
    "uniform",
    "normal",
    "xavier_uniform",
    "xavier_normal",
    "kaiming_uniform",
    "kaiming_normal",
    "orthogonal",
]


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """The arguments of ``torch.nn.RNN`` that mean something for a generator.

    Args:
        input_size: features of one step, I; a prediction has as many.
        hidden_size: units of one layer, H.
        num_layers: stacked layers, L.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether the cells carry ``bias_ih`` and ``bias_hh``; the read-out always has its own.
        dropout: probability, in [0, 1), of zeroing an output between two layers while training.
        bidirectional: only False: a generator cannot read its own future.

    Raises:
        ValueError: a size below 1, an unknown nonlinearity, a dropout outside [0, 1), or
            ``bidirectional=True``.
    """

    input_size: int = 1
    hidden_size: int = 128
    num_layers: int = 1
    nonlinearity: Nonlinearity = "tanh"
    bias: bool = True
    dropout: float = 0.0
    bidirectional: bool = False

    def __post_init__(self) -> None:
        for name in ("input_size", "hidden_size", "num_layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {self.nonlinearity!r}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")
        if self.bidirectional:
            raise ValueError(
                "bidirectional is not possible: the backward layer would read steps that the "
                "generator has not predicted yet; leave it out"
            )

    def layer_input_size(self, layer: int) -> int:
        """Features that ``layer`` (counted from 0) reads: I for the first, H above it."""
        return self.input_size if layer == 0 else self.hidden_size

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight, in ``nn.RNN``'s names and order, then the read-out."""
        hidden = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            shapes[f"weight_ih_l{layer}"] = (hidden, self.layer_input_size(layer))
            shapes[f"weight_hh_l{layer}"] = (hidden, hidden)
            if self.bias:
                shapes[f"bias_ih_l{layer}"] = (hidden,)
                shapes[f"bias_hh_l{layer}"] = (hidden,)
        shapes["readout.weight"] = (self.input_size, hidden)
        shapes["readout.bias"] = (self.input_size,)
        return shapes
