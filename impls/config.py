"""What a generator is made of: its sizes and options, free of any framework."""

from dataclasses import dataclass
from typing import Literal

Nonlinearity = Literal["tanh", "relu"]

# Why a bidirectional model runs forced steps alone.
READS_THE_FUTURE = "the backward layer would read steps that the generator has not predicted yet"

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
    """The arguments of ``torch.nn.RNN``: all of them.

    Args:
        input_size: features of one step, I; a prediction has as many.
        hidden_size: units of one layer, H.
        num_layers: stacked layers, L.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether the cells carry ``bias_ih`` and ``bias_hh``; the read-out always has its own.
        dropout: probability, in [0, 1), of zeroing an output between two layers while training.
        bidirectional: whether every layer runs backwards too, beside its run forwards; D is 2 then,
            or else 1. Such a model runs forced steps alone: it reads its own future.
        batch_first: whether inputs and predictions are (B, T, I) instead of (T, B, I).

    Raises:
        ValueError: a size below 1, an unknown nonlinearity, or a dropout outside [0, 1).
    """

    input_size: int = 1
    hidden_size: int = 128
    num_layers: int = 1
    nonlinearity: Nonlinearity = "tanh"
    bias: bool = True
    dropout: float = 0.0
    bidirectional: bool = False
    batch_first: bool = False

    def __post_init__(self) -> None:
        for name in ("input_size", "hidden_size", "num_layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {self.nonlinearity!r}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")

    @property
    def directions(self) -> int:
        """D: 2 where layers run backwards too, or else 1."""
        return 2 if self.bidirectional else 1

    @property
    def state_size(self) -> int:
        """What a layer gives out of each step, D H."""
        return self.directions * self.hidden_size

    @property
    def cells(self) -> tuple[str, ...]:
        """What the names of each cell's weights end in: L D of them, a layer's forwards first."""
        ways = ("", "_reverse")[: self.directions]
        return tuple(f"l{layer}{way}" for layer in range(self.num_layers) for way in ways)

    def layer_input_size(self, layer: int) -> int:
        """Features that ``layer`` (counted from 0) reads: I for the first, D H above it."""
        return self.input_size if layer == 0 else self.state_size

    def state_shape(self, batch_size: int) -> tuple[int, int, int]:
        """(L D, B, H): a layer's directions lie one after the other."""
        return len(self.cells), batch_size, self.hidden_size

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight, in ``nn.RNN``'s names and order, then the read-out."""
        hidden = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for number, cell in enumerate(self.cells):
            layer = number // self.directions
            shapes[f"weight_ih_{cell}"] = (hidden, self.layer_input_size(layer))
            shapes[f"weight_hh_{cell}"] = (hidden, hidden)
            if self.bias:
                shapes[f"bias_ih_{cell}"] = (hidden,)
                shapes[f"bias_hh_{cell}"] = (hidden,)
        shapes["readout.weight"] = (self.input_size, self.state_size)
        shapes["readout.bias"] = (self.input_size,)
        return shapes
