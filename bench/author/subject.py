"""What the checks look at: one implementation on one device, called with data of its sizes."""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import impls
from bench import parity
from bench.layout import called
from impls import GeneratorConfig
from impls.generator import Generator

Array = NDArray[np.float64]

# One of everything: forced and free in turn, two free steps after each other, a free one before.
PATTERN = (True, True, False, True, False, False, True)
BATCH = 4
NUDGE = 0.25


@dataclass(slots=True)
class Subject:
    """One implementation on one device.

    Attributes:
        name: a key of the registry.
        config: sizes and options; dropout is random, so only its own check has it.
        device: where it runs.
        dtype: of its weights.
        seed: names weights and data.
        threads: that are pinned.
        stateful: it was seen to answer differently after another call, so from then on every call
            gets an instance of its own and one fault makes one finding.
        failed: names of the checks that failed before.
    """

    name: str
    config: GeneratorConfig
    device: torch.device
    dtype: torch.dtype
    seed: int
    threads: int
    stateful: bool = False
    failed: set[str] = field(default_factory=set)
    _model: Generator | None = None

    @property
    def plain(self) -> GeneratorConfig:
        """The config without dropout."""
        return replace(self.config, dropout=0.0)

    @property
    def tolerance(self) -> float:
        """The gate's."""
        return parity.tolerance_of(impls.load(self.name), self.dtype)

    @property
    def differentiable(self) -> bool:
        """Whether it computes gradients at all."""
        return impls.load(self.name).differentiable

    @property
    def closed_loop(self) -> bool:
        """Whether it runs free steps."""
        return parity.runs_free_steps(impls.load(self.name), self.config)

    @property
    def pattern(self) -> tuple[bool, ...]:
        """`PATTERN`, or as many forced steps for one that runs no others."""
        return PATTERN if self.closed_loop else (True,) * len(PATTERN)

    def built(self) -> Generator:
        """As its constructor makes it: its own initial weights, nothing loaded."""
        with torch.random.fork_rng(devices=[]):
            model = impls.load(self.name)(self.plain)
        return model.to(device=self.device, dtype=self.dtype)

    def created(
        self, config: GeneratorConfig, dtype: torch.dtype, seed: int | None = None
    ) -> Generator:
        """A new instance with the weights of a seed, its own where none is given."""
        seed = self.seed if seed is None else seed
        return impls.create(self.name, config, device=self.device, dtype=dtype, seed=seed)

    def fresh(self, seed: int | None = None) -> Generator:
        """A new instance, to be evaluated."""
        return self.created(self.plain, self.dtype, seed).eval()

    def model(self) -> Generator:
        """An instance that others may have called; a new one where that makes a difference."""
        if self._model is None or self.stateful:
            self._model = self.fresh()
        return self._model

    def forget(self) -> None:
        """Let no check meet the instance that an earlier one has found something wrong with."""
        self._model = None

    def trial(self, forced: Sequence[bool] | None = None, batch: int = BATCH) -> parity.Trial:
        """Data of the config's sizes, rounded to the dtype; `pattern` where none is given.

        Rows that are not to be read hold numbers: who reads them fails the check of that alone.
        """
        rng = np.random.default_rng((self.seed, 6))
        chosen = np.array(self.pattern if forced is None else forced)
        drawn = parity.draw_trial(self.plain, rng, chosen, batch, self.dtype)
        return replace(drawn, inputs=filled(drawn, 0.5))

    def arguments(self, trial: parity.Trial) -> tuple[Tensor, Tensor, Tensor]:
        """The trial's inputs, forced and h0."""
        like = torch.empty(0, device=self.device, dtype=self.dtype)
        return parity.arguments(trial, like, self.config)

    def call(self, trial: parity.Trial, model: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Predictions and h_n, in evaluation, without gradients."""
        return predicted(model or self.model(), *self.arguments(trial))

    def close(self, found: Tensor | None, exact: Array) -> bool:
        """Whether the two agree as the gate wants it."""
        return bool(parity.error_of(found, exact) <= self.tolerance)

    def near(self, found: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
        """Whether each agrees with its counterpart."""
        pairs = zip(found, others, strict=True)
        return all(self.close(one, parity.array(other)) for one, other in pairs)


def predicted(
    model: Generator, inputs: Tensor, forced: Tensor, h0: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Predictions (T, B, I) and h_n, without gradients."""
    with torch.inference_mode():
        return called(model, inputs, forced, h0)


def copied(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors as they are now, in memory of their own."""
    return tuple(tensor.detach().clone() for tensor in tensors)


def equal(found: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Bit by bit, NaN being equal to NaN."""
    return all(
        a.shape == b.shape and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)
        for a, b in zip(found, others, strict=True)
    )


def filled(trial: parity.Trial, value: float) -> Array:
    """The trial's inputs, with values of about that size where a row is not to be read."""
    inputs = trial.inputs.copy()
    free = np.flatnonzero(~np.array(trial.forced))
    inputs[free] = value * (1.0 + np.arange(inputs[free].size).reshape(inputs[free].shape))
    return inputs


def recording(model: Generator) -> AbstractContextManager[object]:
    """The mode to call ``model`` in as if to train it.

    Gradients are recorded, but not of one that computes none: its `forward` refuses to be asked.
    """
    return contextlib.nullcontext() if model.differentiable else torch.inference_mode()
