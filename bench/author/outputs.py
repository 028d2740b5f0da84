"""Checks of what a call gives: types, shapes, dtype and device."""

from torch import Tensor

from bench import parity
from bench.author.check import Group, Outcome
from bench.author.subject import Subject
from bench.author.weights import LOADED

CHECKS = Group()
SMALL_SHAPES = ((1, 1), (1, 3), (7, 1), (7, 4))
# Whoever fails none of these gives numbers that can be judged.
WELL_FORMED = ("outputs: types", "outputs: shapes", "outputs: dtype", "outputs: device")


@CHECKS.add("outputs: types", *LOADED)
def _output_types(subject: Subject) -> Outcome:
    found = subject.call(subject.trial())
    if not isinstance(found, tuple) or len(found) != 2:
        return f"a call gave a {type(found).__name__}; it must give (predictions, h_n)"
    for what, tensor in zip(("predictions", "h_n"), found, strict=True):
        if type(tensor) is not Tensor:
            kind = type(tensor).__name__
            return f"{what} is a {kind}; it must be a plain torch.Tensor"
    return None


@CHECKS.add("outputs: shapes", "outputs: types")
def _output_shapes(subject: Subject) -> Outcome:
    config, wrong = subject.plain, []
    for steps, batch in SMALL_SHAPES:
        expected = (
            (steps, batch, config.input_size),
            config.state_shape(batch),
        )
        try:
            found = subject.call(subject.trial(subject.pattern[:steps], batch))
        except Exception as error:  # noqa: BLE001 - the other shapes are to be told of too
            wrong.append(f"T={steps} B={batch} raised {parity.one_line(error)}")
            continue
        wrong += [
            f"{what} of T={steps} B={batch} has {tuple(tensor.shape)}, must have {shape}"
            for what, tensor, shape in zip(("predictions", "h_n"), found, expected, strict=True)
            if tuple(tensor.shape) != shape
        ]
    return "; ".join(wrong) or None


@CHECKS.add("outputs: dtype", "outputs: types")
def _output_dtype(subject: Subject) -> Outcome:
    found = [tensor.dtype for tensor in subject.call(subject.trial())]
    wrong = [dtype for dtype in found if dtype != subject.dtype]
    return f"gave {wrong[0]} for weights and inputs of {subject.dtype}" if wrong else None


@CHECKS.add("outputs: device", "outputs: types")
def _output_device(subject: Subject) -> Outcome:
    found = [tensor.device for tensor in subject.call(subject.trial())]
    wrong = [device for device in found if device.type != subject.device.type]
    return f"gave a tensor on {wrong[0]} for inputs on {subject.device}" if wrong else None
