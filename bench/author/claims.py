"""Checks of `unsupported`: what it claims to support is right, what it refuses has a reason."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import impls
from bench import parity
from bench.author.answers import OUTPUTS_OFF
from bench.author.check import Group, NotCheckedError, Outcome
from bench.author.outputs import WELL_FORMED
from bench.author.subject import BATCH, Subject, predicted, recording
from bench.layout import called
from bench.messages import Finding
from impls import GeneratorConfig
from impls.generator import Generator

CHECKS = Group()


def _claims(subject: Subject, config: GeneratorConfig, dtype: torch.dtype) -> Outcome:
    """What `unsupported` answers; and where it claims to support a case, whether that is right."""
    implementation = impls.load(subject.name)
    answer = implementation.unsupported(config, subject.device, dtype)
    if answer is not None and (not isinstance(answer, str) or not answer.strip()):
        return f"unsupported() gave {answer!r}; it must give None, or the reason in words"
    if answer is not None:
        return [Finding("", "ok", f"refused: {answer}")]
    model = subject.created(config, dtype).eval()
    rng = np.random.default_rng((subject.seed, 6))
    forced = np.array(subject.pattern) | config.bidirectional
    trial = parity.draw_trial(config, rng, forced, BATCH, dtype)
    like = torch.empty(0, device=subject.device, dtype=dtype)
    found = predicted(model, *parity.arguments(trial, like, config))
    exact, _ = parity.expected(model, trial)
    tolerance = parity.tolerance_of(implementation, dtype)
    if found[0].dtype != dtype:
        return f"unsupported() gave None, but the predictions are {found[0].dtype}, not {dtype}"
    if (error := parity.error_of(found[0], exact.predictions)) <= tolerance:
        return _dropped(model, trial, like) if config.dropout else None
    if subject.failed & OUTPUTS_OFF:
        raise NotCheckedError("the outputs are off without it, too")
    return (
        f"unsupported() gave None, but it is off by {error:.1e}, where {tolerance:.0e} is "
        "rounding; compute it, or refuse it with a reason"
    )


def _dropped(model: Generator, trial: parity.Trial, like: Tensor) -> Outcome:
    given = parity.arguments(trial, like, model.config)
    with recording(model.train()):
        one, other = (called(model, *given)[0] for _ in range(2))
    if torch.equal(one, other):
        return "unsupported() gave None, but in train() nothing is dropped; drop, or refuse it"
    return None


def _claim(name: str, **changes: Any) -> None:
    """Register the check of a claim about a config with ``changes``."""

    def run(subject: Subject) -> Outcome:
        return _claims(subject, replace(subject.plain, **changes), subject.dtype)

    CHECKS.add(f"claims: {name}", *WELL_FORMED)(run)


_claim("2 layers", num_layers=2)
_claim("3 features", input_size=3)
_claim("tanh", nonlinearity="tanh")
_claim("relu", nonlinearity="relu")
_claim("no biases", bias=False)
_claim("dropout", num_layers=2, dropout=0.5)
_claim("bidirectional", num_layers=2, bidirectional=True)


@CHECKS.add("claims: the other dtype", *WELL_FORMED)
def _other_dtype(subject: Subject) -> Outcome:
    other = torch.float64 if subject.dtype == torch.float32 else torch.float32
    return _claims(subject, subject.plain, other)


@CHECKS.add("claims: reasons in words")
def _refuses(subject: Subject) -> Outcome:
    """Devices and dtypes that need not be here to be asked about."""
    implementation = impls.load(subject.name)
    wrong = []
    for device in ("cpu", "cuda", "meta"):
        for dtype in (torch.float32, torch.float64, torch.float16):
            answer = implementation.unsupported(subject.plain, torch.device(device), dtype)
            must_refuse = device == "meta" or dtype == torch.float16
            if answer is None and not must_refuse:
                continue
            if not isinstance(answer, str) or not answer.strip():
                wrong.append(f"{answer!r} for {str(dtype).removeprefix('torch.')} on {device}")
    if not wrong:
        return None
    return (
        f"unsupported() gave {', '.join(wrong)}; it must give None for what it can do and the "
        "reason in words for what it cannot, which the inherited one does for dtypes and devices"
    )
