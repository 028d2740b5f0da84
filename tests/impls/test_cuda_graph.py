"""The CUDA graph's manners without a GPU: a graph is what runs the same work on the same buffers.

In place of CUDA stands a recorder whose replay runs the recorded callable again. What only a GPU
can show, that recording and replaying are such a thing, is marked ``gpu``.
"""

import copy
import gc
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import impls
from bench import environment
from bench.config import TOLERANCE
from bench.parity import compare, draw_trial
from impls import GeneratorConfig, cuda_graph
from impls.cuda_graph import MOST_GRAPHS, CudaGraph
from impls.generator import initial_weights
from tests.impls.answers import drawn, gradients
from tests.impls.fitting import CPU
from tests.impls.test_parity import CONFIGS, FORCED
from tests.impls.waits import no_waits

CUDA = torch.device("cuda")
CONFIG = GeneratorConfig(input_size=2, hidden_size=6, num_layers=2)


class Recorder:
    """CUDA's side, on the CPU: counts what it records and what is replayed."""

    recorded, replayed = 0, 0

    def __init__(self, device):
        pass

    def record(self, work):
        Recorder.recorded += 1
        work()

        def replay():
            Recorder.replayed += 1
            work()

        return replay

    def turn(self):
        return nullcontext()


@pytest.fixture(autouse=True)
def recorder(request, monkeypatch):
    if not request.node.get_closest_marker("gpu"):
        monkeypatch.setattr(cuda_graph, "_cuda", Recorder)
        monkeypatch.setattr(Recorder, "recorded", 0)
        monkeypatch.setattr(Recorder, "replayed", 0)
    return Recorder


def make(config=CONFIG, dtype=torch.float64, seed=0):
    model = CudaGraph(config).to(dtype)
    model.load_weights(initial_weights(config, seed))
    return model


def manual(model):
    """The hand-written loop under autograd, with the same weights."""
    like = next(model.parameters())
    other = impls.create("manual_cell", model.config, dtype=like.dtype, device=like.device)
    other.load_weights(model.weights())
    return other


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE)
@given(CONFIGS, FORCED, st.integers(1, 9), st.integers(0, 2**31), st.integers(0, 2**31))
@settings(max_examples=60)
def test_outputs_states_and_gradients(dtype, config, forced, batch, weights_seed, data_seed):
    dtype = getattr(torch, dtype)
    trial = draw_trial(config, np.random.default_rng(data_seed), forced, batch, dtype)
    model = make(config, dtype, weights_seed)
    errors = compare(model, model, trial)
    assert errors.output <= TOLERANCE[str(dtype).removeprefix("torch.")]
    assert errors.gradient <= TOLERANCE[str(dtype).removeprefix("torch.")]


def test_another_pattern_is_no_new_graph_and_the_same_one_no_copy(recorder):
    model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
    other = forced.clone()
    other[4] = ~other[4]
    for pattern in (forced, other, forced, forced):
        assert_same(gradients(model, inputs, pattern), gradients(manual(model), inputs, pattern))
    assert recorder.recorded == 2  # forward and backward
    assert recorder.replayed == 2 * 4
    with torch.inference_mode():
        model(inputs, forced)
        model(inputs, other)
    assert recorder.recorded == 3


@pytest.mark.parametrize("steps", [4, 5, 11, 12])
@pytest.mark.parametrize("free_from", [1, 3, 12])
def test_a_long_call_is_some_replays_of_short_graphs(steps, free_from, recorder, monkeypatch):
    """Pieces of four steps, and what is left."""
    monkeypatch.setattr(cuda_graph, "MOST_STEPS", 4)
    model, (inputs, _) = make(), drawn(steps, 3, dtype=torch.float64)
    forced = torch.arange(steps) < free_from
    inputs[~forced] = torch.nan
    assert_same(gradients(model, inputs, forced), gradients(manual(model), inputs, forced))
    before = recorder.recorded
    with torch.inference_mode():
        assert_same(model(inputs, forced), manual(model)(inputs, forced))
    assert recorder.recorded - before == 1 + (steps > 4 and steps % 4 > 0)


def test_buffers_that_were_made_in_inference_mode_serve_outside_of_it(recorder):
    model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
    with torch.inference_mode():
        first = model(inputs, forced)
    with torch.no_grad():
        second = model(inputs.clone(), forced)
    assert recorder.recorded == 1
    assert all(map(torch.equal, first, second))


def test_free_rows_of_nan_reach_nothing():
    model, (inputs, forced) = make(), drawn(12, 3, dtype=torch.float64)
    clean = inputs.clone().requires_grad_()
    inputs[~forced] = torch.nan
    inputs.requires_grad_()
    loss = [model(x, forced)[0].square().sum() for x in (inputs, clean)]
    [found, expected] = [
        torch.autograd.grad(one, (x, *model.weights().values()))
        for one, x in zip(loss, (inputs, clean), strict=True)
    ]
    assert all(map(torch.equal, found, expected))
    assert not found[0][~forced].any()


def test_what_is_given_out_is_a_copy():
    model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
    for call in (gradients, lambda *given: torch.no_grad()(model)(*given[1:])):
        first = call(model, inputs, forced)
        kept = [tensor.clone() for tensor in first]
        second = call(model, 2 * inputs, forced)
        assert all(map(torch.equal, first, kept))
        assert not torch.equal(first[0], second[0])
        first[0].detach().zero_()
        assert_same(call(model, inputs, forced), kept)


def test_two_forward_passes_before_the_first_ones_backward(recorder):
    model = make()
    inputs, forced = drawn(9, 3, dtype=torch.float64)
    others, pattern = drawn(9, 3, dtype=torch.float64, seed=1)
    expected = [gradients(manual(model), *one)[2:] for one in ((inputs, forced), (others, pattern))]

    def loss(predictions, h_n):
        return (predictions**2).sum() + h_n.sum()

    weights = [*model.weights().values()]
    first, second = loss(*model(inputs, forced)), loss(*model(others, pattern))
    before = recorder.replayed
    assert_same(torch.autograd.grad(first, weights, retain_graph=True), expected[0])
    assert recorder.replayed == before + 2  # its forward pass again, and its backward pass
    assert_same(torch.autograd.grad(first, weights), expected[0])
    assert recorder.replayed == before + 3  # whose states they are is known
    assert_same(torch.autograd.grad(second, weights), expected[1])
    assert recorder.recorded == 2


def test_changed_weights_or_inputs_are_told_before_the_backward_pass():
    for change in ("weights", "inputs"):
        model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
        loss = model(inputs, forced)[0].sum()
        with torch.no_grad():
            (model.weights()["weight_hh_l0"] if change == "weights" else inputs).mul_(0.5)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_a_second_derivative_is_refused():
    model, (inputs, forced) = make(), drawn(3, 2, dtype=torch.float64)
    [found] = torch.autograd.grad(
        model(inputs, forced)[0].square().sum(), model.weights()["weight_hh_l0"], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        found.sum().backward()


@pytest.mark.parametrize("frozen", [False, True])
def test_only_the_gradients_that_are_wanted(frozen):
    model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
    model.requires_grad_(not frozen)
    other = manual(model).requires_grad_(not frozen)
    h0 = torch.full((2, 3, 6), 0.2, dtype=torch.float64, requires_grad=True)
    for one in (model, other):
        (one(inputs, forced, h0)[0] ** 2).sum().backward()
        one.found, h0.grad = h0.grad.clone(), None
    assert_same([model.found], [other.found])
    assert all((weight.grad is None) == frozen for weight in model.parameters())
    [recorded] = model._kept._found.values()
    assert [found is not None for found in recorded._loop.gradients[:2]] == [False, True]


def test_weights_are_live_where_they_lie_and_where_they_move(recorder):
    model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
    gradients(model, inputs, forced)
    model.load_weights(initial_weights(CONFIG, seed=9))
    assert_same(gradients(model, inputs, forced), gradients(manual(model), inputs, forced))
    assert recorder.recorded == 2
    model.load_state_dict({k: 2 * v for k, v in model.state_dict().items()}, assign=True)
    assert_same(gradients(model, inputs, forced), gradients(manual(model), inputs, forced))
    assert recorder.recorded == 4


def test_another_precision_of_products_is_another_graph(recorder):
    model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
    with environment.pinned(1):
        gradients(model, inputs, forced)
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        gradients(model, inputs, forced)
    assert recorder.recorded == 4


def test_another_dtype():
    model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
    gradients(model, inputs, forced)
    model.float()
    for found, expected in zip(
        gradients(model, inputs.float(), forced),
        gradients(manual(model), inputs.float(), forced),
        strict=True,
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert_same(gradients(model.double(), inputs, forced), gradients(manual(model), inputs, forced))


def test_the_graph_used_longest_ago_goes_first(recorder):
    model = make()
    sets = [drawn(steps, 1, dtype=torch.float64) for steps in range(1, MOST_GRAPHS + 2)]
    with torch.no_grad():
        for one in sets[:-1]:
            model(*one)
        model(*sets[0])
        assert recorder.recorded == MOST_GRAPHS
        model(*sets[-1])  # in the place of the second
        model(*sets[0])
        assert recorder.recorded == MOST_GRAPHS + 1
        model(*sets[1])
        assert recorder.recorded == MOST_GRAPHS + 2
    assert len(model._kept._found) == MOST_GRAPHS


def test_a_backward_pass_outlives_its_graphs_place():
    model, (inputs, forced) = make(), drawn(20, 3, dtype=torch.float64)
    expected = gradients(manual(model), inputs, forced)[2:]
    predictions, h_n = model(inputs, forced)
    for steps in range(1, MOST_GRAPHS + 1):
        gradients(model, *drawn(steps, 1, dtype=torch.float64))
    found = torch.autograd.grad((predictions**2).sum() + h_n.sum(), [*model.weights().values()])
    assert_same(found, expected)


def test_memory_goes_with_the_instance_and_with_the_call():
    model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
    inputs.requires_grad_()
    gc.disable()
    try:
        predictions, h_n = model(inputs, forced)
        call = weakref.ref(predictions.grad_fn)
        [recorded] = map(weakref.ref, model._kept._found.values())
        del predictions, h_n
        assert call() is None
        del model
        assert recorded() is None
    finally:
        gc.enable()


def test_a_copy_of_the_model_records_for_itself():
    model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
    expected = gradients(model, inputs, forced)
    twin = copy.deepcopy(model)
    assert not twin._kept._found
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert_same(gradients(twin, inputs, forced), expected)


def test_a_recording_that_fails_is_told_and_nothing_is_kept(monkeypatch):
    def record(self, work):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    model, (inputs, forced) = make(), drawn(9, 3, dtype=torch.float64)
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "record", record)
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            model(inputs, forced)
    assert not model._kept._found
    assert_same(gradients(model, inputs, forced), gradients(manual(model), inputs, forced))


@pytest.mark.parametrize(
    ("config", "place", "reason"),
    [
        ({}, CPU, "records CUDA graphs, which cpu has not"),
        (
            {"num_layers": 2, "dropout": 0.1},
            CUDA,
            "draws no random numbers: dropout between layers needs others at every call",
        ),
        ({"dropout": 0.1}, CUDA, None),
        ({"num_layers": 3, "nonlinearity": "relu", "bias": False, "input_size": 3}, CUDA, None),
    ],
)
def test_what_it_refuses(config, place, reason):
    assert CudaGraph.unsupported(GeneratorConfig(**config), place, torch.float32) == reason


# On a GPU: the same, with graphs that are graphs.


def on_cuda(steps=50, batch=5):
    inputs, forced = drawn(steps, batch, dtype=torch.float64)
    return make().cuda(), inputs.cuda(), forced


@pytest.mark.gpu
def test_replays_give_what_the_loop_gives_for_every_pattern():
    model, *_ = on_cuda()
    for seed in range(4):
        others, pattern = drawn(50, 5, dtype=torch.float64, seed=seed)
        found = gradients(model, others.cuda(), pattern)
        assert_same(found, gradients(manual(model), others.cuda(), pattern))
        with torch.inference_mode():
            # No bits: cuBLAS chooses its kernels by addresses too, and the states lie elsewhere.
            assert_same(model(others.cuda(), pattern)[:1], found[:1])
    assert len(model._kept._found) == 2


@pytest.mark.gpu
def test_a_call_waits_for_nothing():
    model, inputs, forced = on_cuda()
    gradients(model, inputs, forced)
    other = forced.clone()
    other[7] = ~other[7]
    with no_waits():
        for pattern in (other, forced):
            gradients(model, inputs, pattern)


@pytest.mark.gpu
def test_calls_on_several_streams_do_not_meet_in_the_buffers():
    model, inputs, forced = on_cuda(steps=200)
    sets = [
        (each, inputs * factor) for factor in (1.0, 0.5) for each in (model, make(seed=1).cuda())
    ]
    with torch.no_grad():
        expected = [each(one, forced)[0] for each, one in sets]
        torch.cuda.synchronize()
        found = []
        for each, one in sets:
            with torch.cuda.stream(torch.cuda.Stream()):
                found.append(each(one, forced)[0])
        torch.cuda.synchronize()
    assert all(map(torch.equal, found, expected))


@pytest.mark.gpu
def test_memory_is_given_back():
    model, inputs, forced = on_cuda(steps=200, batch=256)
    gradients(model, inputs, forced)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    other = make().cuda()
    gradients(other, inputs, forced)
    assert torch.cuda.memory_allocated() > before + (8 << 20)
    del other
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + (1 << 20)


@pytest.mark.gpu
def test_the_second_gpu():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    inputs, forced = drawn(50, 5, dtype=torch.float64)
    model = make().to("cuda:1")
    found = gradients(model, inputs.to("cuda:1"), forced)
    assert_same(found, gradients(manual(model), inputs.to("cuda:1"), forced))
