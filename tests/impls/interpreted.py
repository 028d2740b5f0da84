"""`fused_cuda`'s kernels in Triton's interpreter: the same text, on the CPU, by NumPy.

Not collected by itself: the interpreter is chosen when Triton is imported, so that
`tests/impls/test_fused_cuda.py` runs this file in a process of its own. By hand::

    TRITON_INTERPRET=1 python -m pytest tests/impls/interpreted.py
"""

import os

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from bench.config import TOLERANCE
from bench.parity import compare, draw_trial, weight_arrays
from impls import GeneratorConfig, reference
from impls.fused_cuda import (
    FusedCUDA,
    FusedCUDABF16,
    FusedCUDATF32,
    FusedCUDATF32x3,
    Rollout,
    as_arguments,
    form,
)
from impls.kernels import cuda_parts, cuda_products
from impls.manual_cell import ManualCell
from tests.impls.answers import drawn, gradients

assert os.environ.get("TRITON_INTERPRET") == "1", "set TRITON_INTERPRET=1"

ALONE, TOGETHER = 1000, 1  # multiprocessors: one for every sequence, or too few


class OnCPU:
    """The public ones refuse the CPU; where Triton interprets, they need not."""

    @classmethod
    def unsupported(cls, config, device, dtype):
        return super().unsupported(config, torch.device("cuda"), dtype)


class Exact(OnCPU, FusedCUDA):
    """It."""


class Plain(OnCPU, FusedCUDATF32):
    """What multiplies on tensor cores, without their rounding: the rest of the kernel."""

    precision = "ieee"


class TF32x3(OnCPU, FusedCUDATF32x3):
    """It."""


class TF32(OnCPU, FusedCUDATF32):
    """It."""


class BF16(OnCPU, FusedCUDABF16):
    """It."""


@pytest.fixture(autouse=True)
def enough_processors(monkeypatch):
    monkeypatch.setattr("impls.fused_cuda._processors", lambda _: ALONE)


@pytest.fixture(params=[ALONE, TOGETHER], ids=["alone", "together"])
def processors(request, monkeypatch, enough_processors):
    monkeypatch.setattr("impls.fused_cuda._processors", lambda _: request.param)
    return request.param


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """What is not written stays NaN."""
    empty = torch.Tensor.new_empty

    def new_empty(self, *shape, **options):
        fresh = empty(self, *shape, **options)
        return fresh.fill_(float("nan")) if fresh.is_floating_point() else fresh

    monkeypatch.setattr(torch.Tensor, "new_empty", new_empty)


@pytest.fixture(autouse=True)
def tensor_cores(monkeypatch):
    """Products as tensor cores have them, which the interpreter has not.

    It would multiply the bits of bfloat16 and cut what is converted to it. Of tf32 tensor cores may
    ignore the last 13 bits: what is given to them must not have any.
    """
    truncated = InterpreterBuilder.create_fp_trunc

    def numbers(operand):
        if operand.dtype.scalar != tl.bfloat16:
            return operand.data
        return (operand.data.astype(np.uint32) << 16).view(np.float32)

    def dot(self, a, b, d, input_precision, _):
        a, b = numbers(a), numbers(b)
        if input_precision.name == "TF32":
            assert not (a.view(np.uint32) & 0x1FFF).any(), "W is not rounded"
            assert not (b.view(np.uint32) & 0x1FFF).any(), "the states are not rounded"
        return TensorHandle(np.matmul(a, b) + d.data, d.dtype.scalar)

    def trunc(self, number, kind):
        if kind.scalar != tl.bfloat16:
            return truncated(self, number, kind)
        near = torch.tensor(number.data).to(torch.bfloat16).view(torch.int16)
        return TensorHandle(near.numpy().view(np.uint16), tl.bfloat16)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", dot)
    monkeypatch.setattr(InterpreterBuilder, "create_fp_trunc", trunc)


def make(config, dtype=torch.float32, seed=0, kind=Exact):
    model = kind(config).to(dtype)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.weights().values():
            weight.uniform_(-(config.hidden_size**-0.5), config.hidden_size**-0.5)
    return model


def pattern(name, steps):
    rng = np.random.default_rng(7)
    forced = {
        "coins": rng.random(steps) < 0.5, "free": np.arange(steps) < 1, "all": np.ones(steps, bool)
    }[name]  # fmt: skip
    return np.array([True, *forced[1:]])


# Parity: (config, steps, batch, forced); one layer up to H = 128 is resident, the rest streamed.
CASES = {
    "H=1": (GeneratorConfig(hidden_size=1), 12, 1, "coins"),
    "H=3, no bias, I=3": (GeneratorConfig(3, 3, bias=False), 7, 5, "coins"),
    "H=16, relu": (GeneratorConfig(2, 16, nonlinearity="relu"), 6, 2, "all"),
    "H=17, I=2": (GeneratorConfig(2, 17), 5, 2, "coins"),
    "H=17, B=17": (GeneratorConfig(hidden_size=17), 1, 17, "free"),
    "H=4, B=33": (GeneratorConfig(hidden_size=4), 2, 33, "coins"),
    "H=100, free": (GeneratorConfig(hidden_size=100), 5, 1, "free"),
    "H=128": (GeneratorConfig(hidden_size=128), 3, 2, "coins"),
    "T=1": (GeneratorConfig(hidden_size=5), 1, 2, "all"),
    "H=130, streamed": (GeneratorConfig(hidden_size=130), 3, 1, "coins"),
    "L=2": (GeneratorConfig(3, 17, num_layers=2), 4, 2, "coins"),
    "L=3, relu, no bias": (GeneratorConfig(2, 5, 3, nonlinearity="relu", bias=False), 7, 3, "free"),
}
# The largest errors of those that use tensor cores, over many trials of up to 60 steps; what the
# rest of their kernel gets without rounding.
ROUNDED = {Plain: TOLERANCE["float32"], TF32x3: TOLERANCE["float32"], TF32: 5e-3, BF16: 4e-2}
ONE = GeneratorConfig(2, 6)
ONE_LAYER = [
    name for name, (config, *_) in CASES.items()
    if config.num_layers == 1 and config.hidden_size <= 128
]  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_outputs_states_and_gradients(case, dtype, processors):
    config, steps, batch, name = CASES[case]
    if processors == TOGETHER and batch == 1:
        pytest.skip("has one form only")
    if dtype == "float64" and batch > 5:
        pytest.skip("takes its time, and shows nothing that float32 and fewer do not")
    rng = np.random.default_rng(len(case))
    trial = draw_trial(config, rng, pattern(name, steps), batch, getattr(torch, dtype))
    model = make(config, getattr(torch, dtype))
    errors = compare(model, model, trial)
    assert errors.output <= TOLERANCE[dtype]
    assert errors.gradient <= TOLERANCE[dtype]


@pytest.mark.parametrize("kind", [Plain, TF32x3, TF32, BF16])
@pytest.mark.parametrize("case", ONE_LAYER)
def test_what_uses_tensor_cores(case, kind):
    config, steps, batch, name = CASES[case]
    if kind.unsupported(config, None, torch.float32):
        pytest.skip("is refused")
    rng = np.random.default_rng(len(case))
    trial = draw_trial(config, rng, pattern(name, steps), batch, torch.float32)
    model = make(config, kind=kind)
    errors = compare(model, model, trial)
    assert errors.output <= ROUNDED[kind]
    assert errors.gradient <= ROUNDED[kind]


def bfloat16(x):
    return x.bfloat16().to(x.dtype)


def tf32(x):
    """The nearest number with 10 bits behind the point."""
    mantissa, exponent = torch.frexp(x)
    return torch.ldexp(torch.round(mantissa * 2**11), exponent - 11)


def rounded_loop(kind, model, inputs, forced, d_predictions):
    """What ``kind`` says that it computes, in float64: predictions, dL/dh0, and dL/dW."""
    weights = {n: w.detach().double() for n, w in model.weights().items()}
    everywhere = bfloat16 if kind is BF16 else torch.clone
    operand = {BF16: bfloat16, TF32: tf32}[kind]
    W, U, V = weights["weight_hh_l0"], weights["weight_ih_l0"], weights["readout.weight"]
    W, U, V = operand(W), everywhere(U), everywhere(V)
    b, c = weights["bias_ih_l0"] + weights["bias_hh_l0"], weights["readout.bias"]
    states, predictions = [torch.zeros(inputs.shape[1], len(W), dtype=torch.float64)], []
    for x, teacher in zip(inputs.double(), forced, strict=True):
        read = x if teacher else predictions[-1]
        a = b + operand(states[-1]) @ W.t() + read @ U.t()
        states.append(everywhere(torch.tanh(a)))
        predictions.append(states[-1] @ V.t() + c)
    dh, fed, d_W = 0.0, 0.0, 0.0
    for t in reversed(range(len(inputs))):
        dy = d_predictions[t].double() + fed
        da = (dh + dy @ V) * (1 - states[t + 1] ** 2)
        d_W = d_W + da.t() @ states[t]
        dh, fed = operand(da) @ W, 0.0 if forced[t] else da @ U
    return torch.stack(predictions), dh, d_W


@pytest.mark.parametrize("kind", [TF32, BF16])
def test_they_round_what_they_say_and_nothing_else(kind):
    """To what float32 leaves: few numbers, lest one lie so that this rounds it another way."""
    model = make(GeneratorConfig(2, 5), kind=kind)
    inputs, forced = drawn(3, 2)
    d_predictions, h0 = torch.ones(3, 2, 2), torch.zeros(1, 2, 5, requires_grad=True)
    predictions, _ = model(inputs, forced, h0)
    (predictions * d_predictions).sum().backward()
    found = predictions, h0.grad[0], model.weights()["weight_hh_l0"].grad
    for ours, theirs in zip(
        found, rounded_loop(kind, model, inputs, forced, d_predictions), strict=True
    ):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-6, atol=2e-6)


def test_sixteen_sequences_a_program_are_two_of_eight(monkeypatch):
    model = make(GeneratorConfig(2, 20), kind=TF32)
    inputs, forced = drawn(4, 19)
    found = []
    for count in (ALONE, TOGETHER):
        monkeypatch.setattr("impls.fused_cuda._processors", lambda _, count=count: count)
        assert form(model.config, 19, torch.float32, count, "tf32").sequences == 8 * len(found) + 8
        found.append(gradients(model, inputs, forced))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@triton.jit
def _tf32_of(x, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    tl.store(out + n, cuda_products.tf32(tl.load(x + n)))


def test_tf32_is_the_nearest_number_and_leaves_what_is_none():
    bits = np.random.default_rng(1).integers(0, 1 << 32, 1 << 15, dtype=np.uint32)
    special = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000, 0xFF800000, 0], np.uint32)
    x = np.concatenate([bits[: -special.size], special]).view(np.float32)
    out = torch.empty(x.size)
    _tf32_of[(1,)](torch.from_numpy(x), out, BLOCK=x.size)
    found, number = out.numpy(), np.isfinite(x) & (np.abs(x) < 3e38)
    assert np.array_equal(np.isnan(found), np.isnan(x))
    assert np.array_equal(found[np.isinf(x)], x[np.isinf(x)])
    assert not (found[number].view(np.uint32) & 0x1FFF).any()
    unit = np.spacing(np.abs(x[number])).astype(np.float64) * 2.0**13
    assert (np.abs(found[number].astype(np.float64) - x[number]) <= unit / 2).all()


@pytest.mark.parametrize("layers", [1, 2])
def test_each_form_gives_a_sequence_the_same_bits(layers, monkeypatch):
    """Alone, among others, in a program of four: the sum of one number is the same sum."""
    model = make(GeneratorConfig(1, 9, layers))
    inputs, forced = drawn(4, 6, size=1)
    found = []
    for count in (ALONE, TOGETHER):
        monkeypatch.setattr("impls.fused_cuda._processors", lambda _, count=count: count)
        found.append(gradients(model, inputs, forced))
    assert all(map(torch.equal, *found))
    monkeypatch.setattr("impls.fused_cuda._processors", lambda _: ALONE)
    alone = model(inputs[:, 5:].contiguous(), forced)[0]
    assert torch.equal(alone, found[0][0][:, 5:])


def test_without_gradients_nothing_else_comes_out(processors):
    """No states are kept: the streamed kernel turns two of them over."""
    two = GeneratorConfig(2, 6, num_layers=2)
    for kind, config in ((Exact, GeneratorConfig(hidden_size=6)), (Exact, two), (BF16, ONE)):
        model = make(config, kind=kind)
        inputs, forced = drawn(5, 2, size=config.input_size)
        kept = model(inputs, forced)
        with torch.no_grad():
            assert all(map(torch.equal, model(inputs, forced), kept))


@pytest.mark.parametrize("kind", [Exact, TF32])
def test_inputs_of_any_layout_and_what_was_given_stays(kind, processors):
    model, (inputs, forced) = make(GeneratorConfig(2, 5), kind=kind), drawn(4, 3)
    other = inputs.transpose(0, 1).contiguous().transpose(0, 1)
    copies = [t.clone() for t in (other, *model.weights().values())]
    found = gradients(model, other, forced)
    assert all(map(torch.equal, found, gradients(model, inputs, forced)))
    assert all(map(torch.equal, (other, *model.weights().values()), copies))


def test_dropout_is_the_plain_loops(processors):
    config = GeneratorConfig(2, 6, num_layers=3, dropout=0.4)
    model, plain = make(config, torch.float64), ManualCell(config).double()
    plain.load_weights(model.weights())
    inputs, forced = drawn(3, 2, dtype=torch.float64)
    found = []
    for each in (model, plain):
        torch.manual_seed(3)
        found.append(gradients(each.train(), inputs, forced))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_a_second_derivative_is_refused():
    model, (inputs, forced) = make(GeneratorConfig(2, 3)), drawn(3, 2)
    [first] = torch.autograd.grad(
        (model(inputs, forced)[0] ** 2).sum(), [model.weights()["weight_hh_l0"]], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("leaf", ["inputs", "h0"])
def test_gradients_of_one_thing_alone(leaf, processors):
    model = make(GeneratorConfig(1, 2), torch.float64).requires_grad_(False)
    inputs, forced = drawn(3, 2, 1, dtype=torch.float64)
    given = {"inputs": inputs, "h0": torch.full((1, 2, 2), 0.1, dtype=torch.float64)}

    def call(leaf_value):
        values = given | {leaf: leaf_value}
        return model(values["inputs"], forced, values["h0"])

    assert torch.autograd.gradcheck(call, [given[leaf].clone().requires_grad_()])


def test_a_long_rollout_step_by_step_from_shared_states():
    """What two right answers feed back tells them apart; one step from the same state does not."""
    config = GeneratorConfig(hidden_size=10)
    model = make(config)
    weights = weight_arrays(model)
    # Beyond the first step, what is read is what was said: the state is carried, not the input.
    x, h = torch.ones(1, 1, 1), torch.zeros(1, 1, 10)
    worst = 0.0
    with torch.no_grad():
        for _ in range(60):
            two, forced = torch.cat([x, torch.full_like(x, np.nan)]), [True, False]
            found, after = model(two, torch.tensor(forced), h)
            true = reference.forward(
                config, weights, two.double().numpy(), forced, h.double().numpy()
            )
            worst = max(
                worst,
                np.abs(found.numpy() - true.predictions).max(),
                np.abs(after.numpy() - true.h_n).max(),
            )
            x, h = found[1:], after
    assert worst <= 5e-7


# The flags.


def test_flags_as_arguments_are_the_flags():
    forced = (np.random.default_rng(1).random(100) < 0.5).tolist()
    flags = as_arguments(forced, torch.device("cpu"))
    assert flags.dtype == torch.int8
    assert flags.tolist() == [int(flag) for flag in forced]


# tanh.


@triton.jit
def _tanh_of(x, out, size, BLOCK: tl.constexpr):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + n, cuda_parts.tanh(tl.load(x + n, mask=n < size)), mask=n < size)


def ours(x):
    given, out = torch.from_numpy(x), torch.empty(x.shape, dtype=torch.from_numpy(x).dtype)
    _tanh_of[(triton.cdiv(x.size, 1 << 15),)](given, out, x.size, BLOCK=1 << 15)
    return out.numpy()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_tanh_is_within_four_units_in_the_last_place(sign):
    x = np.arange(0, 0x7F800001, 1001, dtype=np.int64).astype(np.int32).view(np.float32)
    steep = np.arange(*np.array([2.0**-12, 9.1], np.float32).view(np.int32), 401, dtype=np.int32)
    x = np.concatenate([x, steep.view(np.float32)])
    true = np.tanh(x.astype(np.float64))
    unit = np.spacing(true.astype(np.float32)).astype(np.float64)
    found = sign * ours(np.float32(sign) * x).astype(np.float64)
    assert (np.abs(found - true) / unit).max() <= 4.0
    # Without the fused multiply-add of a GPU the quotient may end one unit above 1.
    assert found.max() <= np.nextafter(np.float32(1.0), np.float32(2.0))


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")  # on the side not taken
def test_tanh_of_what_is_no_number():
    for dtype in (np.float32, np.float64):
        x = np.array([np.inf, -np.inf, np.nan, 0.0, 3e38, -1e-30], dtype)
        np.testing.assert_allclose(ours(x), np.tanh(x), rtol=2 * np.finfo(dtype).eps, atol=0)


def test_tanh_in_float64():
    x = np.concatenate([np.linspace(-20.0, 20.0, 40001), np.geomspace(1e-300, 0.3, 20000)])
    np.testing.assert_allclose(ours(x), np.tanh(x), rtol=1.5e-15, atol=0)


# Autograd's class and the plan.


def test_rollout_is_what_the_implementation_calls():
    model, (inputs, forced) = make(GeneratorConfig(2, 5)), drawn(4, 3)
    cut = form(model.config, 3, torch.float32, ALONE)
    found = Rollout.apply(
        model.config, cut, forced.tolist(), inputs.new_empty(0), False, inputs,
        inputs.new_zeros(1, 3, 5), *model.weights().values(),
    )  # fmt: skip
    assert all(map(torch.equal, found, model(inputs, forced)))
