"""Checks of what stays between calls, where nothing may, and of what a call does to its arguments.

They come first of all that compare two calls: one that keeps state must not fail the others.
"""

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.author.check import Group, Outcome
from bench.author.outputs import WELL_FORMED
from bench.author.subject import BATCH, Subject, copied, equal, predicted, recording
from bench.layout import called

CHECKS = Group()


@CHECKS.add("calls: the same twice", *WELL_FORMED)
def _same_twice(subject: Subject) -> Outcome:
    trial, model = subject.trial(), subject.fresh()
    first = copied(subject.call(trial, model))
    return _stateful(subject, first, subject.call(trial, model), "the same call twice")


@CHECKS.add("calls: others in between", *WELL_FORMED)
def _calls_between(subject: Subject) -> Outcome:
    trial, model = subject.trial(), subject.fresh()
    inputs, forced, h0 = subject.arguments(trial)
    first = copied(subject.call(trial, model))
    predicted(model, 0.5 * inputs, forced, 1.0 - h0)
    return _stateful(subject, first, subject.call(trial, model), "a call on other data in between")


@CHECKS.add("calls: another batch size in between", *WELL_FORMED)
def _batches_between(subject: Subject) -> Outcome:
    trial, model = subject.trial(), subject.fresh()
    first = copied(subject.call(trial, model))
    for batch in (BATCH + 2, 1):
        subject.call(subject.trial(batch=batch), model)
    return _stateful(subject, first, subject.call(trial, model), "other batch sizes in between")


@CHECKS.add(
    "calls: other data in the same memory",
    *WELL_FORMED,
    "calls: the same twice",
    "calls: others in between",
)
def _same_memory(subject: Subject) -> Outcome:
    model, (inputs, forced, h0) = subject.fresh(), subject.arguments(subject.trial())
    predicted(model, inputs, forced, h0)
    inputs.mul_(0.5)
    h0.mul_(-1.0)
    exact = predicted(subject.fresh(), inputs.clone(), forced, h0.clone())
    found = predicted(model, inputs, forced, h0)
    if subject.near(found, exact):
        return None
    subject.stateful = True
    return (
        "the answer to inputs changed in place was that to what lay there before; look at the "
        "values, not at addresses"
    )


@CHECKS.add("calls: earlier outputs stay", *WELL_FORMED)
def _outputs_stay(subject: Subject) -> Outcome:
    model, (inputs, forced, h0) = subject.fresh(), subject.arguments(subject.trial())
    first = predicted(model, inputs, forced, h0)
    copies = copied(first)
    predicted(model, 0.5 * inputs, forced, 1.0 - h0)
    if equal(first, copies):
        return None
    return "a call overwrote what an earlier one had given out; every call needs memory of its own"


@CHECKS.add("arguments unchanged", *WELL_FORMED)
def _arguments_unchanged(subject: Subject) -> Outcome:
    wrong = []
    for training in (False, True):
        given = subject.arguments(subject.trial())
        before = copied(given)
        model = subject.fresh().train(training)
        with recording(model) if training else torch.inference_mode():
            outputs = called(model, *given)
        if training and subject.differentiable:
            with contextlib.suppress(RuntimeError):  # autograd notices, and does not say whose
                torch.cat([each.flatten() for each in outputs]).sum().backward()  # type: ignore[no-untyped-call]
        names = zip(("inputs", "forced", "h0"), given, before, strict=True)
        # The version counts writes, also those that leave the values as they are.
        wrong += [name for name, now, then in names if now._version or not equal((now,), (then,))]
    if not wrong:
        return None
    return f"changed in place: {', '.join(dict.fromkeys(wrong))}; work on a copy"


def _stateful(
    subject: Subject, first: Sequence[Tensor], second: Sequence[Tensor], what: str
) -> str | None:
    if equal(first, second):
        return None
    subject.stateful = True
    largest = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
    return f"{what}: the second answer differs by {largest:.1e}; keep nothing between calls"
