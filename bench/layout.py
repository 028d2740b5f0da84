"""Time-major data for a generator, however its config lays them out.

The harness thinks in (T, B, I). A batch-first model reads (B, T, I), and answers so: what is turned
here is a view, so that what was laid out for it before, in memory of its own, is what it reads.
"""

from torch import Tensor

from impls import GeneratorConfig
from impls.generator import Generator


def turned(points: Tensor, config: GeneratorConfig) -> Tensor:
    """Between (..., T, B, I) and the model's own layout, a view: there and back."""
    return points.transpose(-3, -2) if config.batch_first else points


def laid_out(points: Tensor, config: GeneratorConfig) -> Tensor:
    """The same (..., T, B, I), in the order in memory that the model reads."""
    return turned(turned(points, config).contiguous(), config)


def called(
    model: Generator, inputs: Tensor, forced: Tensor, h0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What the model answers to (T, B, I): predictions (T, B, I) and h_n."""
    if not model.config.batch_first:
        outcome: tuple[Tensor, Tensor] = model(inputs, forced, h0)
        return outcome
    predictions, h_n = model(turned(inputs, model.config), forced, h0)
    return turned(predictions, model.config), h_n
