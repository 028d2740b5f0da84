"""What ONNX Runtime's implementation promises beside parity: its calls, weights and threads."""

import threading
import time

import pytest
import torch

import impls
from impls import GeneratorConfig, onnx_runtime
from impls.folding import runs
from impls.onnx_runtime import OnnxRuntime

CPU = torch.device("cpu")


def make(hidden=16, seed=0, **options):
    return impls.create("onnx_runtime", GeneratorConfig(hidden_size=hidden, **options), seed=seed)


def data(forced, batch=3, size=1):
    """Inputs whose free rows are NaN."""
    inputs = torch.randn(len(forced), batch, size, generator=torch.Generator().manual_seed(0))
    inputs[~torch.tensor(forced)] = torch.nan
    return inputs, torch.tensor(forced)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture
def calls(monkeypatch):
    """What each call of a session is given: (session, feed)."""
    seen, honest = [], onnx_runtime._session

    class Watched:
        def __init__(self, session):
            self.session = session

        def run(self, names, feed):
            seen.append((self.session, feed))
            return self.session.run(names, feed)

    monkeypatch.setattr(onnx_runtime, "_session", lambda *key: Watched(honest(*key)))
    return seen


@pytest.mark.parametrize(
    ("config", "place", "dtype", "reason"),
    [
        ({"num_layers": 2}, CPU, torch.float32, "folds the feedback of one layer, not of 2"),
        ({}, CPU, torch.float64, "ONNX Runtime's RNN takes float32 alone"),
        ({}, torch.device("cuda"), torch.float32, "runs ONNX Runtime on the CPU, not on cuda"),
        ({"nonlinearity": "relu", "bias": False, "input_size": 3}, CPU, torch.float32, None),
    ],
)
def test_what_it_refuses(config, place, dtype, reason):
    assert OnnxRuntime.unsupported(GeneratorConfig(**config), place, dtype) == reason


@pytest.mark.parametrize(
    "forced",
    [[True] * 9, [True] * 4 + [False] * 50, [True, False, False, True, True, False]],
    ids=["all forced", "generate", "mixed"],
)
def test_a_run_is_one_call_and_the_rows_of_free_steps_are_not_given(forced, calls):
    predictions, h_n = make()(*data(forced))
    lengths = [end - start for start, end, _ in runs(forced)]
    assert [len(feed["x"]) for _, feed in calls] == lengths
    assert torch.isfinite(predictions).all()
    assert torch.isfinite(h_n).all()


@pytest.mark.parametrize("most", [1, 3 * 16, 7 * 3 * 16])
def test_a_large_batch_goes_through_in_pieces(most, calls, monkeypatch):
    model, given = make(), data([True] * 20 + [False] * 31)
    whole = model(*given)
    monkeypatch.setattr(onnx_runtime, "MOST_STATES", most)
    for found, expected in zip(model(*given), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    steps = max(1, most // 48)
    assert len(calls) == 2 + -(-20 // steps) + -(-31 // steps)


def test_no_copy_is_made_of_inputs_and_weights(calls):
    model, (inputs, forced) = make(), data([True] * 9)
    model(inputs, forced)
    [(_, feed)] = calls
    assert feed["x"].ctypes.data == inputs.data_ptr()
    assert feed["W"].ctypes.data == model.weights()["weight_hh_l0"].data_ptr()


CHANGES = {
    "loaded": lambda model: model.load_weights(make(seed=9).weights()),
    "in place": lambda model: [weight.mul_(1.5) for weight in model.parameters()],
    "through data": lambda model: [weight.data.mul_(1.5) for weight in model.parameters()],
    "through numpy": lambda model: [
        weight.detach().numpy().__imul__(1.5) for weight in model.parameters()
    ],
    "one number": lambda model: model.weights()["weight_hh_l0"][3, 4].add_(0.5),
    "replaced": lambda model: model.load_state_dict(
        {name: 2 * weight for name, weight in model.state_dict().items()}, assign=True
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_are_never_stale(change):
    model, given = make(), data([True] * 5 + [False] * 20)
    before = model(*given)
    CHANGES[change](model)
    fresh = make(seed=1)
    fresh.load_weights(model.weights())
    after = model(*given)
    assert all(map(torch.equal, after, fresh(*given)))
    assert not torch.allclose(after[0], before[0])


def test_models_that_share_a_session_do_not_share_weights():
    given = data([True] * 5 + [False] * 20)
    one, other = make(seed=1), make(seed=2)
    alone = one(*given)
    assert not torch.allclose(other(*given)[0], alone[0])
    assert all(map(torch.equal, one(*given), alone))


def test_a_new_shape_builds_no_new_session():
    make()(*data([True]))
    before = onnx_runtime._session.cache_info().misses
    for steps, batch in ((1, 1), (7, 2), (300, 40)):
        make()(*data([True] * steps + [False] * steps, batch))
    make(input_size=3)(*data([True] * 4, size=3))
    assert onnx_runtime._session.cache_info().misses == before
    make(hidden=17)(*data([True]))
    assert onnx_runtime._session.cache_info().misses == before + 1


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_are_those_of_torch_at_the_time_of_the_call(threads, calls):
    model, given = make(hidden=64), data([True] * 20 + [False] * 20, batch=50)
    alone = model(*given)
    torch.set_num_threads(threads)
    for found, expected in zip(model(*given), alone, strict=True):
        torch.testing.assert_close(found, expected)
    options = calls[-1][0].get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)


def test_no_thread_is_busy_between_calls():
    torch.set_num_threads(2)
    model, given = make(hidden=128), data([True] * 50, batch=64)
    model(*given)
    before = time.process_time()
    threading.Event().wait(0.1)
    assert time.process_time() - before < 0.01


def test_arguments_need_not_be_contiguous():
    model, (inputs, forced) = make(input_size=2), data([True] * 5 + [False] * 4, size=2)
    h0 = torch.randn(1, 16, 3, generator=torch.Generator().manual_seed(1)).transpose(1, 2)
    strided = torch.stack([inputs, inputs], -1)[..., 0]
    assert not strided.is_contiguous()
    assert not h0.is_contiguous()
    found, expected = model(strided, forced, h0), model(inputs, forced, h0.contiguous())
    assert all(map(torch.equal, found, expected))


def test_it_prints_nothing(capfd):
    onnx_runtime._session.cache_clear()
    make()(*data([True] * 5 + [False] * 4))
    assert capfd.readouterr() == ("", "")
