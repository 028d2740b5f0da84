"""Checks of what a call does to everybody else: to their settings and their screen."""

import contextlib
import io

import torch

from bench import environment
from bench.author.check import Group, Outcome
from bench.author.outputs import WELL_FORMED
from bench.author.settings import RANDOM, settings
from bench.author.subject import Subject, recording
from bench.layout import called

CHECKS = Group()


@CHECKS.add("settings are left alone", *WELL_FORMED, "arguments unchanged")
def _settings_left(subject: Subject) -> Outcome:
    model = subject.fresh()
    given = subject.arguments(subject.trial())
    with recording(model):
        before = settings()
        called(model, *given)
        outputs = called(model.train(), *given)
        if subject.differentiable:
            torch.cat([output.flatten() for output in outputs]).sum().backward()  # type: ignore[no-untyped-call]
        after = settings()  # in here still: leaving puts the grad mode back
    wrong = [
        f"changed {name}" + (f" from {before[name]} to {now}" if name != RANDOM else "")
        for name, now in after.items()
        if now != before[name]
    ]
    if pinned := environment.changed(subject.threads):
        wrong.append(pinned)
    return f"{', '.join(wrong)}; these are everybody's" if wrong else None


@CHECKS.add("prints nothing", *WELL_FORMED)
def _prints_nothing(subject: Subject) -> Outcome:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        subject.call(subject.trial(), subject.fresh())
    lines = said.getvalue().strip().splitlines()
    return f"printed {lines[0][:60]!r}; raise an error, or say nothing" if lines else None
