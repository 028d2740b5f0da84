"""What an implementation's author must know: every promise of the contract, looked at by itself.

The gate (`bench.parity`) stops at the first thing that is wrong; here each check has a name, says
what was wrong and what would be right, and leaves the others alone. A check is a function of a
`Subject` that gives None when all is well, or else what is to be said.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import impls
from bench import environment, parity
from bench.config import TOLERANCE
from bench.messages import Finding
from impls import GeneratorConfig
from impls.generator import Generator, initial_weights

Array = NDArray[np.float64]
Outcome = str | Sequence[Finding] | None

# One of everything: forced and free in turn, two free steps after each other, a free one before.
PATTERN = (True, True, False, True, False, False, True)
BATCH = 4
SMALL_SHAPES = ((1, 1), (1, 3), (7, 1), (7, 4))
NUDGE = 0.25
LONGEST_WORDS = 160


class NotCheckedError(Exception):
    """A check makes no sense here; the message says why."""


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
        return TOLERANCE[str(self.dtype).removeprefix("torch.")]

    @property
    def differentiable(self) -> bool:
        """Whether it computes gradients at all."""
        return impls.load(self.name).differentiable

    def fresh(self, seed: int | None = None) -> Generator:
        """A new instance, to be evaluated."""
        return _created(self, self.plain, self.dtype, self.seed if seed is None else seed).eval()

    def model(self) -> Generator:
        """An instance that others may have called; a new one where that makes a difference."""
        if self._model is None or self.stateful:
            self._model = self.fresh()
        return self._model

    def forget(self) -> None:
        """Let no check meet the instance that an earlier one has found something wrong with."""
        self._model = None

    def trial(self, forced: Sequence[bool] = PATTERN, batch: int = BATCH) -> parity.Trial:
        """Data of the config's sizes, rounded to the dtype.

        Rows that are not to be read hold numbers: who reads them fails the check of that alone.
        """
        rng = np.random.default_rng((self.seed, 6))
        drawn = parity.draw_trial(self.plain, rng, np.array(forced), batch, self.dtype)
        return replace(drawn, inputs=_filled(drawn, 0.5))

    def arguments(self, trial: parity.Trial) -> tuple[Tensor, Tensor, Tensor]:
        """The trial's inputs, forced and h0."""
        return parity.arguments(trial, torch.empty(0, device=self.device, dtype=self.dtype))

    def call(self, trial: parity.Trial, model: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Predictions and h_n, in evaluation, without gradients."""
        return _predicted(model or self.model(), *self.arguments(trial))

    def close(self, found: Tensor | None, exact: Array) -> bool:
        """Whether the two agree as the gate wants it."""
        return bool(parity.error_of(found, exact) <= self.tolerance)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at; ``needs``: without these it makes no sense."""

    run: Callable[[Subject], Outcome]
    needs: tuple[str, ...]


CHECKS: dict[str, Check] = {}


def check(name: str, *needs: str) -> Callable[[Callable[[Subject], Outcome]], None]:
    """Register a check, after those that it needs."""

    def add(run: Callable[[Subject], Outcome]) -> None:
        CHECKS[name] = Check(run, needs)

    return add


def planned() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The names of all checks, each with those that it needs."""
    return tuple((name, each.needs) for name, each in CHECKS.items())


def look(subject: Subject, name: str) -> tuple[Finding, ...]:
    """Run one check; what it raises is its finding."""
    try:
        with _settings_kept():
            outcome = CHECKS[name].run(subject)
    except NotCheckedError as reason:
        return (Finding(name, "not checked", str(reason)),)
    except Exception as error:  # noqa: BLE001 - whatever an implementation raises is its result
        outcome = f"raised {parity.one_line(error)[:LONGEST_WORDS]}"
    if outcome is None:
        return (Finding(name, "ok"),)
    if isinstance(outcome, str):
        found: tuple[Finding, ...] = (Finding(name, "FAIL", outcome),)
    else:
        found = tuple(replace(each, name=each.name or name) for each in outcome)
    if any(each.verdict == "FAIL" for each in found):
        subject.failed.add(name)
        subject.forget()
    return found


# Construction and weights.


@check("construction")
def _construction(subject: Subject) -> Outcome:
    implementation = impls.load(subject.name)
    with torch.random.fork_rng(devices=[]):
        model = implementation(subject.plain)
    if getattr(model, "config", None) != subject.plain:
        return "config is not the one it was given; __init__ must call super().__init__(config)"
    model.to(device=subject.device, dtype=subject.dtype)
    return None


@check("weights: names", "construction")
def _weight_names(subject: Subject) -> Outcome:
    found = _built(subject).weights()
    if not isinstance(found, dict):
        return f"weights() gave a {type(found).__name__}; it must be a dict of names and tensors"
    expected = subject.plain.weight_shapes()
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} is unknown" for name in found if name not in expected]
    return f"{', '.join(wrong)}; they must be {', '.join(expected)}" if wrong else None


@check("weights: order", "weights: names")
def _weight_order(subject: Subject) -> Outcome:
    found, expected = list(_built(subject).weights()), list(subject.plain.weight_shapes())
    if found == expected:
        return None
    return f"the order is {', '.join(found)}; it must be {', '.join(expected)}"


@check("weights: shapes", "weights: names")
def _weight_shapes(subject: Subject) -> Outcome:
    found = {name: tuple(weight.shape) for name, weight in _built(subject).weights().items()}
    wrong = [
        f"{name} has {found[name]}, must have {shape}"
        for name, shape in subject.plain.weight_shapes().items()
        if found[name] != shape
    ]
    return "; ".join(wrong) or None


@check("weights: parameters", "weights: names")
def _weight_parameters(subject: Subject) -> Outcome:
    model = _built(subject)
    weights, again = model.weights(), model.weights()
    known = {id(parameter) for parameter in model.parameters()}
    for name, weight in weights.items():
        if weight.data_ptr() != again[name].data_ptr():
            return f"{name} lies elsewhere at every call of weights(): give out no copies"
        if not isinstance(weight, nn.Parameter) or id(weight) not in known:
            return f"{name} is not among parameters(), so no optimiser would train it"
        if (weight.dtype, weight.device.type) != (subject.dtype, subject.device.type):
            found = f"{weight.dtype} on {weight.device}"
            return f"{name} is {found} after .to({subject.dtype}, {subject.device})"
    shared = len(weights) - len({weight.data_ptr() for weight in weights.values()})
    return f"{shared} of the weights share memory with others" if shared else None


_LOADED = ("weights: names", "weights: shapes", "weights: parameters")


# Outputs.


@check("outputs: types", *_LOADED)
def _output_types(subject: Subject) -> Outcome:
    found = subject.call(subject.trial())
    if not isinstance(found, tuple) or len(found) != 2:
        return f"a call gave a {type(found).__name__}; it must give (predictions, h_n)"
    for what, tensor in zip(("predictions", "h_n"), found, strict=True):
        if type(tensor) is not Tensor:
            kind = type(tensor).__name__
            return f"{what} is a {kind}; it must be a plain torch.Tensor"
    return None


@check("outputs: shapes", "outputs: types")
def _output_shapes(subject: Subject) -> Outcome:
    config, wrong = subject.plain, []
    for steps, batch in SMALL_SHAPES:
        expected = (
            (steps, batch, config.input_size),
            (config.num_layers, batch, config.hidden_size),
        )
        try:
            found = subject.call(subject.trial(PATTERN[:steps], batch))
        except Exception as error:  # noqa: BLE001 - the other shapes are to be told of too
            wrong.append(f"T={steps} B={batch} raised {parity.one_line(error)}")
            continue
        wrong += [
            f"{what} of T={steps} B={batch} has {tuple(tensor.shape)}, must have {shape}"
            for what, tensor, shape in zip(("predictions", "h_n"), found, expected, strict=True)
            if tuple(tensor.shape) != shape
        ]
    return "; ".join(wrong) or None


@check("outputs: dtype", "outputs: types")
def _output_dtype(subject: Subject) -> Outcome:
    found = [tensor.dtype for tensor in subject.call(subject.trial())]
    wrong = [dtype for dtype in found if dtype != subject.dtype]
    return f"gave {wrong[0]} for weights and inputs of {subject.dtype}" if wrong else None


@check("outputs: device", "outputs: types")
def _output_device(subject: Subject) -> Outcome:
    found = [tensor.device for tensor in subject.call(subject.trial())]
    wrong = [device for device in found if device.type != subject.device.type]
    return f"gave a tensor on {wrong[0]} for inputs on {subject.device}" if wrong else None


_WELL_FORMED = ("outputs: types", "outputs: shapes", "outputs: dtype", "outputs: device")


# Between calls. First of all that compare two: one that keeps state must not fail the others.


@check("calls: the same twice", *_WELL_FORMED)
def _same_twice(subject: Subject) -> Outcome:
    trial, model = subject.trial(), subject.fresh()
    first = _copied(subject.call(trial, model))
    return _stateful(subject, first, subject.call(trial, model), "the same call twice")


@check("calls: others in between", *_WELL_FORMED)
def _calls_between(subject: Subject) -> Outcome:
    trial, model = subject.trial(), subject.fresh()
    inputs, forced, h0 = subject.arguments(trial)
    first = _copied(subject.call(trial, model))
    _predicted(model, 0.5 * inputs, forced, 1.0 - h0)
    return _stateful(subject, first, subject.call(trial, model), "a call on other data in between")


@check("calls: another batch size in between", *_WELL_FORMED)
def _batches_between(subject: Subject) -> Outcome:
    trial, model = subject.trial(), subject.fresh()
    first = _copied(subject.call(trial, model))
    for batch in (BATCH + 2, 1):
        subject.call(subject.trial(batch=batch), model)
    return _stateful(subject, first, subject.call(trial, model), "other batch sizes in between")


@check(
    "calls: other data in the same memory",
    *_WELL_FORMED,
    "calls: the same twice",
    "calls: others in between",
)
def _same_memory(subject: Subject) -> Outcome:
    model, (inputs, forced, h0) = subject.fresh(), subject.arguments(subject.trial())
    _predicted(model, inputs, forced, h0)
    inputs.mul_(0.5)
    h0.mul_(-1.0)
    exact = _predicted(subject.fresh(), inputs.clone(), forced, h0.clone())
    found = _predicted(model, inputs, forced, h0)
    if all(_near(subject, a, b) for a, b in zip(found, exact, strict=True)):
        return None
    subject.stateful = True
    return (
        "the answer to inputs changed in place was that to what lay there before; look at the "
        "values, not at addresses"
    )


@check("calls: earlier outputs stay", *_WELL_FORMED)
def _outputs_stay(subject: Subject) -> Outcome:
    model, (inputs, forced, h0) = subject.fresh(), subject.arguments(subject.trial())
    first = _predicted(model, inputs, forced, h0)
    copies = _copied(first)
    _predicted(model, 0.5 * inputs, forced, 1.0 - h0)
    if _equal(first, copies):
        return None
    return "a call overwrote what an earlier one had given out; every call needs memory of its own"


@check("arguments unchanged", *_WELL_FORMED)
def _arguments_unchanged(subject: Subject) -> Outcome:
    wrong = []
    for training in (False, True):
        given = subject.arguments(subject.trial())
        before = _copied(given)
        model = subject.fresh().train(training)
        with torch.inference_mode(not training):
            outputs = model(*given)
        if training and subject.differentiable:
            with contextlib.suppress(RuntimeError):  # autograd notices, and does not say whose
                sum(output.sum() for output in outputs).backward()
        names = zip(("inputs", "forced", "h0"), given, before, strict=True)
        # The version counts writes, also those that leave the values as they are.
        wrong += [name for name, now, then in names if now._version or not _equal((now,), (then,))]
    if not wrong:
        return None
    return f"changed in place: {', '.join(dict.fromkeys(wrong))}; work on a copy"


# What is read.


@check("free rows are not read", *_WELL_FORMED)
def _free_rows(subject: Subject) -> Outcome:
    trial = subject.trial()
    one = subject.call(trial)
    other = subject.call(replace(trial, inputs=_filled(trial, -2.0)))
    if not all(_near(subject, a, b) for a, b in zip(one, other, strict=True)):
        return (
            "another value in a row that is not forced changed the outputs; there the previous "
            "prediction must be read"
        )
    missing = replace(trial, inputs=_filled(trial, np.nan))
    if not all(torch.isfinite(tensor).all() for tensor in subject.call(missing)):
        return (
            "NaN in a row that is not forced reached the outputs: select rows, do not multiply "
            "them by zero"
        )
    return None


@check("forced rows are read", *_WELL_FORMED)
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
        if t and not _near(subject, found[:t], base[:t]):
            early.append(str(t))
    said = []
    if ignored:
        said.append(f"the forced row of step {', '.join(ignored)} is not read")
    if early:
        said.append(f"the row of step {', '.join(early)} changed predictions before it")
    return "; ".join(said) or None


@check("predictions are fed back", *_WELL_FORMED)
def _feedback(subject: Subject) -> Outcome:
    """Against the reference, which reads at each step what this implementation should have read."""
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


_NOT_FED_BACK = "a step that is not forced did not read the prediction of the step before"


# States.


@check("h0 is used", *_WELL_FORMED)
def _h0_is_used(subject: Subject) -> Outcome:
    trial = subject.trial()
    base, wrong = subject.call(trial), []
    for layer in range(subject.plain.num_layers):
        other = trial.h0.copy()
        other[layer] += NUDGE
        if torch.equal(subject.call(replace(trial, h0=other))[0], base[0]):
            wrong.append(f"h0 of layer {layer} does not change the predictions")
    inputs, forced, _ = subject.arguments(trial)
    none = _predicted(subject.model(), inputs, forced, None)
    zeros = subject.call(replace(trial, h0=np.zeros_like(trial.h0)))
    if not all(_near(subject, a, b) for a, b in zip(none, zeros, strict=True)):
        wrong.append("h0=None is not the same as zeros")
    return "; ".join(wrong) or None


@check("h_n is the last state", *_WELL_FORMED)
def _h_n(subject: Subject) -> Outcome:
    """After all forced steps, so that no feedback is judged here; the reference's, by layer."""
    trial = subject.trial([True] * len(PATTERN))
    model = subject.model()
    _, h_n = subject.call(trial, model)
    exact, _ = parity.expected(model, trial)
    wrong = [
        f"layer {layer} is off by {error:.1e}"
        for layer in range(subject.plain.num_layers)
        if not (error := parity.error_of(h_n[layer], exact.h_n[layer])) <= subject.tolerance
    ]
    if not wrong:
        return None
    if _off_when_forced(subject):
        raise NotCheckedError("the predictions are off, too")
    before = subject.close(h_n, exact.states[-2])
    hint = "it is the state before the last step" if before else "it must be h after step T-1"
    return f"{', '.join(wrong)}; {hint}"


@check("weights are live", *_WELL_FORMED)
def _live(subject: Subject) -> Outcome:
    """As an optimiser changes them, one by one; then all at once by load_weights."""
    trial, model = subject.trial(), subject.fresh()
    dead = []
    for name, weight in model.weights().items():
        before = _copied(subject.call(trial, model))
        with torch.no_grad():
            weight.add_(NUDGE)
        if _equal(before, subject.call(trial, model)):
            dead.append(name)
    said = [f"changing {', '.join(dead)} in place changed no output"] if dead else []
    model.load_weights(initial_weights(subject.plain, subject.seed + 1))
    found, exact = subject.call(trial, model), subject.call(trial, subject.fresh(subject.seed + 1))
    if not subject.stateful and not all(
        _near(subject, a, b) for a, b in zip(found, exact, strict=True)
    ):
        said.append("after load_weights the outputs are not those of the new weights")
    return f"{'; '.join(said)}; keep no copies of the weights" if said else None


@check("inputs of any layout", *_WELL_FORMED)
def _layout(subject: Subject) -> Outcome:
    trial = subject.trial()
    inputs, forced, h0 = subject.arguments(trial)
    strided = torch.stack([inputs, inputs], -1)[..., 0]
    rows = h0.transpose(0, 1).contiguous().transpose(0, 1)
    found = _predicted(subject.model(), strided, forced, rows)
    if all(_near(subject, a, b) for a, b in zip(found, subject.call(trial), strict=True)):
        return None
    return "inputs and h0 that are not contiguous gave another answer; call .contiguous() on them"


@check("train() and eval()", *_WELL_FORMED)
def _modes(subject: Subject) -> Outcome:
    trial = subject.trial()
    evaluated = subject.call(trial, subject.fresh())
    model = subject.fresh().train()
    trained = model(*subject.arguments(trial))
    if not model.training:
        return "a call in train() left the model in eval()"
    if not all(_near(subject, a, b) for a, b in zip(trained, evaluated, strict=True)):
        return "train() and eval() differ, though there is no dropout"
    if subject.differentiable and not trained[0].requires_grad:
        return "predictions in train() carry no gradient: nothing may be detached"
    return None


# Whoever fails one of these computes other outputs; what follows from that is not told again.
_READING = (
    "free rows are not read",
    "forced rows are read",
    "predictions are fed back",
    "h0 is used",
    "h_n is the last state",
)
_NUMBERS = "numbers at odd sizes"


@check(_NUMBERS, *_WELL_FORMED, *_READING)
def _numbers(subject: Subject) -> Outcome:
    wrong = []
    for trial in parity.trials(subject.plain, subject.seed, subject.dtype):
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


# Gradients. All of them end here where an implementation computes none.


@check("gradients", *_WELL_FORMED, "arguments unchanged")
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


_OFF = "off by"


def _of_gradient(subject: Subject, name: str, found: Tensor | None, right: Array) -> Finding:
    name = f"gradient of {name}"
    if subject.close(found, right):
        return Finding(name, "ok")
    if found is None:
        return Finding(name, "FAIL", "there is none: .grad stayed None; it was detached on the way")
    if not found.any():
        largest = np.abs(right).max()
        return Finding(name, "FAIL", f"all zeros, where the largest must be {largest:.1e}")
    if subject.failed & {_NUMBERS, *_READING}:
        return Finding(name, "not checked", "the outputs are off, and so must the gradient be")
    error = parity.error_of(found, right)
    return Finding(name, "FAIL", f"{_OFF} {error:.1e}; at most {subject.tolerance:.0e} is rounding")


@check("gradients of each output", *_WELL_FORMED, "arguments unchanged")
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


@check("gradients accumulate", *_WELL_FORMED, "arguments unchanged")
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


# What it claims.


def _claims(subject: Subject, config: GeneratorConfig, dtype: torch.dtype) -> Outcome:
    """What `unsupported` answers; and where it claims to support a case, whether that is right."""
    implementation = impls.load(subject.name)
    answer = implementation.unsupported(config, subject.device, dtype)
    if answer is not None and (not isinstance(answer, str) or not answer.strip()):
        return f"unsupported() gave {answer!r}; it must give None, or the reason in words"
    if answer is not None:
        return [Finding("", "ok", f"refused: {answer}")]
    model = _created(subject, config, dtype, subject.seed).eval()
    rng = np.random.default_rng((subject.seed, 6))
    trial = parity.draw_trial(config, rng, np.array(PATTERN), BATCH, dtype)
    like = torch.empty(0, device=subject.device, dtype=dtype)
    found = _predicted(model, *parity.arguments(trial, like))
    exact, _ = parity.expected(model, trial)
    tolerance = TOLERANCE[str(dtype).removeprefix("torch.")]
    if found[0].dtype != dtype:
        return f"unsupported() gave None, but the predictions are {found[0].dtype}, not {dtype}"
    if (error := parity.error_of(found[0], exact.predictions)) <= tolerance:
        return _dropped(model, trial, like) if config.dropout else None
    if subject.failed & {_NUMBERS, *_READING}:
        raise NotCheckedError("the outputs are off without it, too")
    return (
        f"unsupported() gave None, but it is off by {error:.1e}, where {tolerance:.0e} is "
        "rounding; compute it, or refuse it with a reason"
    )


def _dropped(model: Generator, trial: parity.Trial, like: Tensor) -> Outcome:
    given = parity.arguments(trial, like)
    one, other = (model.train()(*given)[0] for _ in range(2))
    if torch.equal(one, other):
        return "unsupported() gave None, but in train() nothing is dropped; drop, or refuse it"
    return None


def _claim(name: str, **changes: Any) -> None:
    """Register the check of a claim about a config with ``changes``."""

    def run(subject: Subject) -> Outcome:
        return _claims(subject, replace(subject.plain, **changes), subject.dtype)

    check(f"claims: {name}", *_WELL_FORMED)(run)


_claim("2 layers", num_layers=2)
_claim("3 features", input_size=3)
_claim("tanh", nonlinearity="tanh")
_claim("relu", nonlinearity="relu")
_claim("no biases", bias=False)
_claim("dropout", num_layers=2, dropout=0.5)


@check("claims: the other dtype", *_WELL_FORMED)
def _other_dtype(subject: Subject) -> Outcome:
    other = torch.float64 if subject.dtype == torch.float32 else torch.float32
    return _claims(subject, subject.plain, other)


@check("claims: reasons in words")
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


# Beside the point of a call.


@check("settings are left alone", *_WELL_FORMED, "arguments unchanged")
def _settings_left(subject: Subject) -> Outcome:
    before = _settings()
    model = subject.fresh()
    given = subject.arguments(subject.trial())
    model(*given)
    outputs = model.train()(*given)
    if subject.differentiable:
        sum(output.sum() for output in outputs).backward()
    wrong = [
        f"changed {name}" + (f" from {before[name]} to {now}" if name != _RANDOM else "")
        for name, now in _settings().items()
        if now != before[name]
    ]
    if pinned := environment.changed(subject.threads):
        wrong.append(pinned)
    return f"{', '.join(wrong)}; these are everybody's" if wrong else None


@check("prints nothing", *_WELL_FORMED)
def _prints_nothing(subject: Subject) -> Outcome:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        subject.call(subject.trial(), subject.fresh())
    lines = said.getvalue().strip().splitlines()
    return f"printed {lines[0][:60]!r}; raise an error, or say nothing" if lines else None


_RANDOM = "the global random numbers"


def _settings() -> dict[str, Any]:
    """What one call can change for all that come after it."""
    return {
        "the default dtype": torch.get_default_dtype(),
        "the default device": torch.get_default_device(),
        "the grad mode": torch.is_grad_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        _RANDOM: bytes(torch.get_rng_state().numpy()),
    }


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Have the settings afterwards as they were before, so that a check meets only its own."""
    before, random = _settings(), torch.get_rng_state()
    try:
        yield
    finally:
        if _settings() != before:
            torch.set_default_dtype(before["the default dtype"])
            torch.set_default_device(None)
            torch.set_grad_enabled(before["the grad mode"])
            torch.autograd.set_detect_anomaly(before["anomaly detection"])
            torch.use_deterministic_algorithms(before["deterministic algorithms"])
            torch.backends.cudnn.benchmark = before["cudnn.benchmark"]
            torch.set_rng_state(random)


def _built(subject: Subject) -> Generator:
    """As its constructor makes it: its own initial weights, nothing loaded."""
    with torch.random.fork_rng(devices=[]):
        model = impls.load(subject.name)(subject.plain)
    return model.to(device=subject.device, dtype=subject.dtype)


def _created(subject: Subject, config: GeneratorConfig, dtype: torch.dtype, seed: int) -> Generator:
    return impls.create(subject.name, config, device=subject.device, dtype=dtype, seed=seed)


def _predicted(
    model: Generator, inputs: Tensor, forced: Tensor, h0: Tensor | None
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        outputs: tuple[Tensor, Tensor] = model(inputs, forced, h0)
    return outputs


def _copied(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().clone() for tensor in tensors)


def _equal(found: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Bit by bit, NaN being equal to NaN."""
    return all(
        a.shape == b.shape and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)
        for a, b in zip(found, others, strict=True)
    )


def _near(subject: Subject, found: Tensor, other: Tensor) -> bool:
    return subject.close(found, parity.array(other))


def _filled(trial: parity.Trial, value: float) -> Array:
    """The trial's inputs, with values of about that size where a row is not to be read."""
    inputs = trial.inputs.copy()
    free = np.flatnonzero(~np.array(trial.forced))
    inputs[free] = value * (1.0 + np.arange(inputs[free].size).reshape(inputs[free].shape))
    return inputs


def _off_when_forced(subject: Subject) -> bool:
    """Whether the predictions are wrong even where there is no feedback."""
    trial, model = subject.trial([True] * len(PATTERN)), subject.fresh()
    exact, _ = parity.expected(model, trial)
    return not subject.close(subject.call(trial, model)[0], exact.predictions)


def _stateful(
    subject: Subject, first: Sequence[Tensor], second: Sequence[Tensor], what: str
) -> str | None:
    if _equal(first, second):
        return None
    subject.stateful = True
    largest = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
    return f"{what}: the second answer differs by {largest:.1e}; keep nothing between calls"


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
    predictions, h_n = model(inputs, forced, h0)
    losses = {
        "predictions": (predictions * parity.copy_of(trial.d_predictions, inputs)).sum(),
        "h_n": (h_n * parity.copy_of(trial.d_h_n, inputs)).sum(),
    }
    loss = losses[only] if only else losses["predictions"] + losses["h_n"]
    loss.backward()
    found = {name: weight.grad for name, weight in model.weights().items()}
    return {**found, "inputs": inputs.grad, "h0": h0.grad}
