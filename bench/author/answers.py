"""Checks of the numbers: right for any weights, layout, mode and size."""

import numpy as np
import torch

from bench import parity
from bench.author.check import Group, Outcome
from bench.author.outputs import WELL_FORMED
from bench.author.reading import READING
from bench.author.subject import NUDGE, Subject, copied, equal, predicted, recording
from bench.layout import called
from impls.generator import initial_weights

CHECKS = Group()
NUMBERS = "numbers at odd sizes"
# Whoever fails one of these computes other outputs than the reference.
OUTPUTS_OFF = frozenset({NUMBERS, *READING})


@CHECKS.add("weights are live", *WELL_FORMED)
def _live(subject: Subject) -> Outcome:
    """As an optimiser changes them, one by one; then all at once by load_weights."""
    trial, model = subject.trial(), subject.fresh()
    dead = []
    for name, weight in model.weights().items():
        before = copied(subject.call(trial, model))
        with torch.no_grad():
            weight.add_(NUDGE)
        if equal(before, subject.call(trial, model)):
            dead.append(name)
    said = [f"changing {', '.join(dead)} in place changed no output"] if dead else []
    model.load_weights(initial_weights(subject.plain, subject.seed + 1))
    found, exact = subject.call(trial, model), subject.call(trial, subject.fresh(subject.seed + 1))
    if not subject.stateful and not subject.near(found, exact):
        said.append("after load_weights the outputs are not those of the new weights")
    return f"{'; '.join(said)}; keep no copies of the weights" if said else None


@CHECKS.add("inputs of any layout", *WELL_FORMED)
def _layout(subject: Subject) -> Outcome:
    trial = subject.trial()
    inputs, forced, h0 = subject.arguments(trial)
    strided = torch.stack([inputs, inputs], -1)[..., 0]
    rows = h0.transpose(0, 1).contiguous().transpose(0, 1)
    found = predicted(subject.model(), strided, forced, rows)
    if subject.near(found, subject.call(trial)):
        return None
    return "inputs and h0 that are not contiguous gave another answer; call .contiguous() on them"


@CHECKS.add("train() and eval()", *WELL_FORMED)
def _modes(subject: Subject) -> Outcome:
    trial = subject.trial()
    evaluated = subject.call(trial, subject.fresh())
    model = subject.fresh().train()
    with recording(model):
        trained = called(model, *subject.arguments(trial))
    if not model.training:
        return "a call in train() left the model in eval()"
    if not subject.near(trained, evaluated):
        return "train() and eval() differ, though there is no dropout"
    if subject.differentiable and not trained[0].requires_grad:
        return "predictions in train() carry no gradient: nothing may be detached"
    return None


@CHECKS.add(NUMBERS, *WELL_FORMED, *READING)
def _numbers(subject: Subject) -> Outcome:
    wrong = []
    closed_loop = subject.closed_loop
    for trial in parity.trials(subject.plain, subject.seed, subject.dtype, closed_loop=closed_loop):
        model = subject.model()
        found, h_n = subject.call(trial, model)
        exact, _ = parity.expected(model, trial)
        error = np.maximum(
            parity.error_of(found, exact.predictions), parity.error_of(h_n, exact.h_n)
        )
        if not error <= subject.tolerance:
            steps, batch, _ = trial.inputs.shape
            free = steps - sum(trial.forced)
            wrong.append(f"{error:.1e} at T={steps} B={batch}, {free} of the steps free")
    if not wrong:
        return None
    more = f", and {len(wrong) - 3} others" if len(wrong) > 3 else ""
    return f"off by {'; '.join(wrong[:3])}{more}; at most {subject.tolerance:.0e} is rounding"
