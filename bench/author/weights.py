"""Checks of the constructor and of the weights: their names, shapes and memory."""

import torch
from torch import nn

import impls
from bench.author.check import Group, Outcome
from bench.author.subject import Subject

CHECKS = Group()
# Whoever fails none of these can be given weights.
LOADED = ("weights: names", "weights: shapes", "weights: parameters")


@CHECKS.add("construction")
def _construction(subject: Subject) -> Outcome:
    implementation = impls.load(subject.name)
    with torch.random.fork_rng(devices=[]):
        model = implementation(subject.plain)
    if getattr(model, "config", None) != subject.plain:
        return "config is not the one it was given; __init__ must call super().__init__(config)"
    model.to(device=subject.device, dtype=subject.dtype)
    return None


@CHECKS.add("weights: names", "construction")
def _weight_names(subject: Subject) -> Outcome:
    found = subject.built().weights()
    if not isinstance(found, dict):
        return f"weights() gave a {type(found).__name__}; it must be a dict of names and tensors"
    expected = subject.plain.weight_shapes()
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} is unknown" for name in found if name not in expected]
    return f"{', '.join(wrong)}; they must be {', '.join(expected)}" if wrong else None


@CHECKS.add("weights: order", "weights: names")
def _weight_order(subject: Subject) -> Outcome:
    found, expected = list(subject.built().weights()), list(subject.plain.weight_shapes())
    if found == expected:
        return None
    return f"the order is {', '.join(found)}; it must be {', '.join(expected)}"


@CHECKS.add("weights: shapes", "weights: names")
def _weight_shapes(subject: Subject) -> Outcome:
    found = {name: tuple(weight.shape) for name, weight in subject.built().weights().items()}
    wrong = [
        f"{name} has {found[name]}, must have {shape}"
        for name, shape in subject.plain.weight_shapes().items()
        if found[name] != shape
    ]
    return "; ".join(wrong) or None


@CHECKS.add("weights: parameters", "weights: names")
def _weight_parameters(subject: Subject) -> Outcome:
    model = subject.built()
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
