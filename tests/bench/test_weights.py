"""Files of weights: what is saved comes back bit for bit, what is wrong is told in one line."""

import json
import pickle
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import impls
from bench import records, runner, weights
from bench.config import RunConfig
from bench.errors import BenchError
from bench.progress import Silent
from bench.remote import Inline
from bench.weights import FORMAT, Origin, load, save
from impls import GeneratorConfig
from tests.impls.answers import drawn
from tests.impls.fitting import UNCOMPILED, dtype_of, takes

CONFIG = GeneratorConfig(input_size=2, hidden_size=5, num_layers=2)
ORIGIN = Origin(implementation="manual_cell", task="cosine", recipe="quick", seed="3")


def model(config=CONFIG, dtype=torch.float32, name="manual_cell"):
    return impls.create(name, config, dtype=dtype, seed=1)


@settings(max_examples=20)
@given(
    st.builds(
        GeneratorConfig,
        st.integers(1, 3),
        st.integers(1, 9),
        st.integers(1, 3),
        st.sampled_from(["tanh", "relu"]),
        st.booleans(),
        st.sampled_from([0.0, 0.25]),
        st.booleans(),
        st.booleans(),
    ),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_what_is_saved_comes_back_bit_for_bit(tmp_path_factory, config, dtype):
    path, saved = tmp_path_factory.mktemp("w") / "w.safetensors", model(config, dtype)
    save(saved, path, ORIGIN)
    found = load(path)
    assert found.model == config
    assert found.origin == ORIGIN
    assert list(found.weights) == list(config.weight_shapes())
    for name, weight in saved.weights().items():
        assert torch.equal(found.weights[name], weight)
        assert found.weights[name].dtype == dtype


@pytest.mark.parametrize("name", UNCOMPILED)
def test_every_implementation_takes_them(name, tmp_path):
    config = CONFIG if takes(name, CONFIG) else GeneratorConfig(2, 5)
    dtype = dtype_of(name)
    save(model(config, dtype), tmp_path / "w.safetensors", ORIGIN)
    other = impls.create(name, config, dtype=dtype, seed=7).eval()
    other.load_weights(load(tmp_path / "w.safetensors").weights)
    inputs, forced = drawn(9, 3, dtype=dtype)
    with torch.inference_mode():
        found, expected = other(inputs, forced)[0], model(config, dtype).eval()(inputs, forced)[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def file_of(path, tensors=None, metadata=None, model_json=None):
    """A file with something wrong in it."""
    kept = {name: w.detach().clone() for name, w in model().weights().items()}
    text = model_json or json.dumps(
        {"input_size": 2, "hidden_size": 5, "num_layers": 2, "nonlinearity": "tanh"}
    )
    told = {"format": FORMAT, "model": text} if metadata is None else metadata
    save_file(kept if tensors is None else tensors(kept), path, told)


WRONG = {
    "other tensors": (
        lambda p: file_of(p, lambda _: {"x": torch.ones(2)}, {}),
        "holds tensors, but does not say that they are those of a generator",
    ),
    "one missing": (
        lambda p: file_of(p, lambda w: {k: v for k, v in w.items() if k != "readout.bias"}),
        "lacks readout.bias",
    ),
    "one too many": (lambda p: file_of(p, lambda w: w | {"x": torch.ones(1)}), "has 'x', which is"),
    "another shape": (
        lambda p: file_of(p, lambda w: w | {"weight_hh_l1": torch.ones(5, 4)}),
        "weight_hh_l1 has 20 numbers in shape (5, 4); its model has (5, 5)",
    ),
    "half precision": (
        lambda p: file_of(p, lambda w: {k: v.half() for k, v in w.items()}),
        "weight_ih_l0 is float16; it must be float32 or float64",
    ),
    "not finite": (
        lambda p: file_of(p, lambda w: w | {"readout.bias": torch.tensor([0.0, torch.nan])}),
        "readout.bias has numbers that are not finite",
    ),
    "a billion layers": (
        lambda p: file_of(p, model_json='{"num_layers": 1000000000}'),
        "num_layers must be at most 100, got 1,000,000,000",
    ),
    "a wide one": (
        lambda p: file_of(p, model_json='{"hidden_size": 1000000}'),
        "hidden_size must be at most 16,384, got 1,000,000",
    ),
    "no model": (lambda p: file_of(p, metadata={"format": FORMAT}), "Invalid JSON"),
    "an unknown field": (lambda p: file_of(p, model_json='{"exec": 1}'), "exec: Unexpected keyw"),
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"a": 1})), "is no file of weights"),
    "empty": (lambda p: p.write_bytes(b""), "is no file of weights"),
    "a header beyond the end": (
        lambda p: p.write_bytes(struct.pack("<Q", 1 << 40) + b"{}"), "is no file of weights"
    ),
    "nothing there": (lambda _: None, "there is no file"),
    "a folder": (lambda p: p.mkdir(), "folder"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_told_in_one_line(wrong, tmp_path):
    write, reason = WRONG[wrong]
    path = tmp_path / "w.safetensors"
    write(path)
    with pytest.raises(BenchError) as caught:
        load(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_cut_file_is_told(tmp_path):
    path = tmp_path / "w.safetensors"
    save(model(), path, ORIGIN)
    content = path.read_bytes()
    for size in range(0, len(content), 61):
        path.write_bytes(content[:size])
        with pytest.raises(BenchError, match="is no file of weights"):
            load(path)


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save(model(), path, ORIGIN)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(model(dtype=torch.float64), path, ORIGIN)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


RUN = RunConfig(
    implementations=("manual_cell", "torch_cell"),
    baseline="manual_cell",
    model=GeneratorConfig(hidden_size=4),
    recipe="lab",
    iterations=2,
    processes=1,
    rounds=1,
    steps=8,
    batch_sizes={"generate": (1,)},
    seed=3,
)


@pytest.mark.parametrize("more", [(), (6,)])
def test_a_run_leaves_what_it_has_trained(more, tmp_path):
    config = RUN.model_copy(update={"more_hidden_sizes": more})
    path = tmp_path / "run.json"
    result = runner.run(config, path, Silent(), start=Inline)
    files = sorted((tmp_path / "run").glob("*.safetensors"))
    assert len(files) == len(result.cases) == 2 * (1 + len(more))
    for case in result.cases:
        found = load(runner.weights_file(path, case, config))
        assert found.model == case.model
        assert found.origin == Origin(
            implementation=case.implementation,
            task="cosine",
            recipe="lab",
            iterations="2",
            seed="3",
        )
        fresh = impls.create(case.implementation, case.model, seed=3).weights()
        assert any(not torch.equal(found.weights[name], fresh[name]) for name in fresh)


def test_those_of_a_run_that_is_replaced_are_gone(tmp_path):
    path = tmp_path / "run.json"
    runner.run(RUN, path, Silent(), start=Inline)
    kept = tmp_path / "run" / "mine.safetensors"
    kept.write_bytes(b"")
    alone = RUN.model_copy(update={"implementations": ("manual_cell",)})
    runner.run(alone, path, Silent(), start=Inline)
    names = {file.name for file in kept.parent.glob("*.safetensors")}
    assert names == {"mine.safetensors", "weights_manual_cell_cpu.safetensors"}


def test_without_training_there_is_nothing_to_leave(tmp_path):
    config = RUN.model_copy(update={"recipe": "none", "iterations": None})
    runner.run(config, tmp_path / "run.json", Silent(), start=Inline)
    assert not (tmp_path / "run").exists()


def test_weights_that_cannot_be_written_end_the_run_in_a_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights.records, "write", full)
    result = runner.run(RUN, None, Silent(), start=Inline)  # no path, no file
    assert {case.status for case in result.cases} == {"ok"}
