"""`bench evaluate`: given weights, in every implementation, on the test set."""

import pytest
import torch

import impls
from bench import cases, evaluation, records, weights
from bench.cli import main
from bench.config import EvaluationConfig
from impls import GeneratorConfig
from tasks import TASKS


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "given.safetensors"
    model = impls.create("torch_cell", GeneratorConfig(hidden_size=6), seed=2)
    origin = weights.Origin(implementation="torch_cell", task="sine", recipe="lab", seed="7")
    weights.save(model, path, origin)
    return path, model


@pytest.fixture
def bench(capsys):
    def command(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["evaluate", *map(str, arguments)])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


def test_errors_are_those_of_the_given_weights(bench, saved, tmp_path):
    path, model = saved
    file = tmp_path / "out.json"
    status, out, err = bench(
        "--weights", path, "--impl", "manual_cell,onnx_runtime,tests.liars.faults:FeedsZeros",
        "--output", file,
    )  # fmt: skip
    found = records.load(file)
    config = EvaluationConfig()
    sequences = evaluation.test_set(TASKS["sine"], config)
    expected = evaluation.evaluate(model, sequences, config)
    right, inference, wrong = found.cases
    assert (right.status, inference.status, wrong.status) == ("ok", "ok", "failed")
    assert status == 1
    for case in (right, inference):
        assert case.accuracy.mse_mean == pytest.approx(expected.mse_mean, rel=1e-4)
        assert case.weights_digest == cases.weights_digest(model.weights())
        assert case.training is None
    assert wrong.accuracy is None
    assert found.config.weights.digest == right.weights_digest
    assert found.baselines["zero"].mse_mean == pytest.approx(0.5, abs=0.01)
    assert "recipe lab, torch_cell, seed 7" in " ".join(out.split())
    assert "Throughput" not in out
    assert file.with_suffix("").is_dir()  # of its plots
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--weights", "nowhere.safetensors"], "there is no file nowhere.safetensors"),
        (["--weights", "given", "--task", "cosin"], "did you mean 'cosine'"),
        (["--weights", "given", "--impl", "fused_cpi"], "did you mean 'fused_cpu'"),
        (["--weights", "given", "--output", "x.txt"], "--output must end in .json"),
        ([], "Missing option '--weights'"),
    ],
)
def test_bad_input_is_one_line(bench, saved, options, words):
    path, _ = saved
    status, out, err = bench(*(path if word == "given" else word for word in options))
    assert status == 2
    assert words in err
    assert err.count("\n") == 1
    assert not out


def test_weights_that_are_not_finite_are_refused_before_anything_runs(bench, saved):
    path, model = saved
    with torch.no_grad():
        model.weights()["readout.bias"].fill_(torch.nan)
    weights.save(model, path, weights.Origin())
    status, _, err = bench("--weights", path)
    assert status == 2
    assert "not finite" in err
