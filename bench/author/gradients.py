"""Checks of the gradients, of every weight and argument, by name.

None of them makes sense where an implementation computes none.
"""

import numpy as np
from torch import Tensor

from bench import parity
from bench.author.answers import OUTPUTS_OFF
from bench.author.check import Group, NotCheckedError, Outcome
from bench.author.outputs import WELL_FORMED
from bench.author.subject import PATTERN, Array, Subject
from bench.layout import called
from bench.messages import Finding
from impls.generator import Generator

CHECKS = Group()
_OFF = "off by"


@CHECKS.add("gradients", *WELL_FORMED, "arguments unchanged")
def _gradients(subject: Subject) -> Outcome:
    """One finding a tensor; each is that of a loss over predictions and h_n."""
    _needs_gradients(subject)
    trial = subject.trial()
    model = subject.fresh().train()
    found = _backward(subject, model, trial)
    _, exact = parity.expected(model, trial)
    expected = {**exact.weights, "inputs": exact.inputs, "h0": exact.h0}
    findings = [_of_gradient(subject, name, found[name], right) for name, right in expected.items()]
    if any(each.text.startswith(_OFF) for each in findings) and _right_when_forced(subject):
        findings.append(
            Finding(
                "gradient through the feedback",
                "FAIL",
                "where every step is forced all gradients are right: a prediction that is fed "
                "back must not be detached",
            )
        )
    return findings


def _right_when_forced(subject: Subject) -> bool:
    trial, model = subject.trial([True] * len(PATTERN)), subject.fresh().train()
    found = _backward(subject, model, trial)
    _, exact = parity.expected(model, trial)
    return all(subject.close(found[name], right) for name, right in exact.weights.items())


def _of_gradient(subject: Subject, name: str, found: Tensor | None, right: Array) -> Finding:
    name = f"gradient of {name}"
    if subject.close(found, right):
        return Finding(name, "ok")
    if found is None:
        return Finding(name, "FAIL", "there is none: .grad stayed None; it was detached on the way")
    if not found.any():
        largest = np.abs(right).max()
        return Finding(name, "FAIL", f"all zeros, where the largest must be {largest:.1e}")
    if subject.failed & OUTPUTS_OFF:
        return Finding(name, "not checked", "the outputs are off, and so must the gradient be")
    error = parity.error_of(found, right)
    return Finding(name, "FAIL", f"{_OFF} {error:.1e}; at most {subject.tolerance:.0e} is rounding")


@CHECKS.add("gradients of each output", *WELL_FORMED, "arguments unchanged")
def _gradients_apart(subject: Subject) -> Outcome:
    """Gradients are linear: those of the two outputs' losses must add up, right or not."""
    _needs_gradients(subject)
    trial = subject.trial()
    both, predictions, h_n = (
        _backward(subject, subject.fresh().train(), trial, only=only)
        for only in (None, "predictions", "h_n")
    )
    wrong = [
        name
        for name in both
        if not subject.close(_sum(predictions[name], h_n[name]), _values(both[name]))
    ]
    if not wrong:
        return None
    return (
        f"gradients of {', '.join(wrong)}: that of a loss of predictions and that of one of h_n do "
        "not add up to that of their sum; either output may be left out of a loss"
    )


@CHECKS.add("gradients accumulate", *WELL_FORMED, "arguments unchanged")
def _accumulate(subject: Subject) -> Outcome:
    """As in training: only the weights ask for gradients."""
    _needs_gradients(subject)
    if subject.stateful:
        raise NotCheckedError("it answers differently at every call")
    trial, model = subject.trial(), subject.fresh().train()
    _backward(subject, model, trial, to_arguments=False)
    once = {name: _values(weight.grad).copy() for name, weight in model.weights().items()}
    _backward(subject, model, trial, to_arguments=False)
    wrong = [
        name
        for name, weight in model.weights().items()
        if not subject.close(weight.grad, 2.0 * once[name])
    ]
    if not wrong:
        return None
    return (
        f"a second backward pass did not double the gradient of {', '.join(wrong)}; autograd adds "
        "to .grad by itself, so do not write to it"
    )


def _values(gradient: Tensor | None) -> Array:
    """A gradient that did not arrive counts as zero."""
    return np.zeros(()) if gradient is None else parity.array(gradient)


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return one + other if one is not None and other is not None else one if other is None else other


def _needs_gradients(subject: Subject) -> None:
    if not subject.differentiable:
        raise NotCheckedError("it computes no gradients, and says so")


def _backward(
    subject: Subject,
    model: Generator,
    trial: parity.Trial,
    *,
    only: str | None = None,
    to_arguments: bool = True,
) -> dict[str, Tensor | None]:
    """Gradients by weight name, and of inputs and h0; of a loss of the outputs or ``only`` one."""
    inputs, forced, h0 = subject.arguments(trial)
    inputs.requires_grad_(to_arguments)
    h0.requires_grad_(to_arguments)
    predictions, h_n = called(model, inputs, forced, h0)
    losses = {
        "predictions": (predictions * parity.copy_of(trial.d_predictions, inputs)).sum(),
        "h_n": (h_n * parity.copy_of(trial.d_h_n, inputs)).sum(),
    }
    loss = losses[only] if only else losses["predictions"] + losses["h_n"]
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: weight.grad for name, weight in model.weights().items()}
    return {**found, "inputs": inputs.grad, "h0": h0.grad}
