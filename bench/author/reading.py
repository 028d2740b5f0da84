"""Checks of what is read at each step: forced rows, predictions, h0; and of the last state."""

from dataclasses import replace

import numpy as np
import torch

from bench import parity
from bench.author.check import Group, NotCheckedError, Outcome
from bench.author.outputs import WELL_FORMED
from bench.author.subject import NUDGE, PATTERN, Array, Subject, filled, predicted

CHECKS = Group()
# Whoever fails one of these computes other outputs; what follows from that is not told again.
READING = (
    "free rows are not read",
    "forced rows are read",
    "predictions are fed back",
    "h0 is used",
    "h_n is the last state",
)
_NOT_FED_BACK = "a step that is not forced did not read the prediction of the step before"


@CHECKS.add("free rows are not read", *WELL_FORMED)
def _free_rows(subject: Subject) -> Outcome:
    _needs_free_steps(subject)
    trial = subject.trial()
    one = subject.call(trial)
    other = subject.call(replace(trial, inputs=filled(trial, -2.0)))
    if not subject.near(one, other):
        return (
            "another value in a row that is not forced changed the outputs; there the previous "
            "prediction must be read"
        )
    missing = replace(trial, inputs=filled(trial, np.nan))
    if not all(torch.isfinite(tensor).all() for tensor in subject.call(missing)):
        return (
            "NaN in a row that is not forced reached the outputs: select rows, do not multiply "
            "them by zero"
        )
    return None


@CHECKS.add("forced rows are read", *WELL_FORMED)
def _forced_rows(subject: Subject) -> Outcome:
    trial = subject.trial()
    base, _ = subject.call(trial)
    ignored, early = [], []
    for t in np.flatnonzero(trial.forced):
        inputs = trial.inputs.copy()
        inputs[t] += NUDGE
        found, _ = subject.call(replace(trial, inputs=inputs))
        if torch.equal(found[t], base[t]):
            ignored.append(str(t))
        forwards = not subject.config.bidirectional
        if t and forwards and not subject.close(found[:t], parity.array(base[:t])):
            early.append(str(t))
    said = []
    if ignored:
        said.append(f"the forced row of step {', '.join(ignored)} is not read")
    if early:
        said.append(f"the row of step {', '.join(early)} changed predictions before it")
    return "; ".join(said) or None


@CHECKS.add("predictions are fed back", *WELL_FORMED)
def _feedback(subject: Subject) -> Outcome:
    """Against the reference, which reads at each step what this implementation should have read."""
    _needs_free_steps(subject)
    trial = subject.trial()
    model = subject.model()
    inputs = trial.inputs
    predictions = parity.array(subject.call(trial, model)[0])
    free = np.flatnonzero(~np.array(trial.forced))
    readings: dict[str, Array] = {
        "": predictions[free - 1],
        "zeros": np.zeros_like(predictions[free - 1]),
        "the row of inputs": inputs[free],
        "the row of inputs before it": inputs[free - 1],
        "the last but one prediction": predictions[free - 2],
    }
    for what, read in readings.items():
        taken = inputs.copy()
        taken[free] = read
        as_read = replace(trial, inputs=taken, forced=[True] * len(trial.forced))
        exact, _ = parity.expected(model, as_read)
        if parity.tensor_error(predictions, exact.predictions) <= subject.tolerance:
            return f"{_NOT_FED_BACK}; it read {what}" if what else None
    if _off_when_forced(subject):
        raise NotCheckedError("predictions are off where every step is forced, too")
    return _NOT_FED_BACK


@CHECKS.add("h0 is used", *WELL_FORMED)
def _h0_is_used(subject: Subject) -> Outcome:
    trial = subject.trial()
    base, wrong = subject.call(trial), []
    for number, cell in enumerate(subject.plain.cells):
        other = trial.h0.copy()
        other[number] += NUDGE
        if torch.equal(subject.call(replace(trial, h0=other))[0], base[0]):
            wrong.append(f"h0 of {_layer(cell)} does not change the predictions")
    inputs, forced, _ = subject.arguments(trial)
    none = predicted(subject.model(), inputs, forced, None)
    zeros = subject.call(replace(trial, h0=np.zeros_like(trial.h0)))
    if not subject.near(none, zeros):
        wrong.append("h0=None is not the same as zeros")
    return "; ".join(wrong) or None


@CHECKS.add("h_n is the last state", *WELL_FORMED)
def _h_n(subject: Subject) -> Outcome:
    """After all forced steps, so that no feedback is judged here; the reference's, by layer."""
    trial = subject.trial([True] * len(PATTERN))
    model = subject.model()
    _, h_n = subject.call(trial, model)
    exact, _ = parity.expected(model, trial)
    wrong = [
        f"{_layer(cell)} is off by {error:.1e}"
        for k, cell in enumerate(subject.plain.cells)
        if not (error := parity.error_of(h_n[k], exact.h_n[k])) <= subject.tolerance
    ]
    if not wrong:
        return None
    if _off_when_forced(subject):
        raise NotCheckedError("the predictions are off, too")
    before = subject.close(h_n, exact.states[-2])
    hint = "it is the state before the last step" if before else "it must be h after step T-1"
    return f"{', '.join(wrong)}; {hint}"


def _layer(cell: str) -> str:
    """``l0_reverse`` in words."""
    number, _, way = cell.removeprefix("l").partition("_")
    return f"layer {number}{', backwards,' if way else ''}"


def _needs_free_steps(subject: Subject) -> None:
    if not subject.closed_loop:
        if subject.config.bidirectional:
            raise NotCheckedError("bidirectional layers run no free steps")
        raise NotCheckedError("it runs no free steps, and says so")


def _off_when_forced(subject: Subject) -> bool:
    """Whether the predictions are wrong even where there is no feedback."""
    trial, model = subject.trial([True] * len(PATTERN)), subject.fresh()
    exact, _ = parity.expected(model, trial)
    return not subject.close(subject.call(trial, model)[0], exact.predictions)
