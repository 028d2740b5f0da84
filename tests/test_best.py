"""The recipe ``best`` keeps what is said of it: its committed files, and its committed weights."""

import pytest

from bench import cases, evaluation, weights
from bench.config import EvaluationConfig
from bench.records import load
from impls import create
from tasks import TASKS
from tests.readme import ROOT

REFERENCE = ROOT / "results" / "reference"
WEIGHTS = REFERENCE / "best_seed_0" / "weights_fused_cpu_cpu.safetensors"


def test_the_weights_get_the_same_error_in_every_implementation():
    [trained] = load(REFERENCE / "best_seed_0.json").cases
    result = load(REFERENCE / "best.json")
    assert trained.accuracy.mse_mean <= 1e-5
    assert trained.accuracy.mse_worst <= 1e-4
    assert trained.training.recipe == "best"
    assert len(result.cases) >= 8
    for case in result.cases:
        assert case.parity.passed
        assert case.accuracy.mse_mean == pytest.approx(trained.accuracy.mse_mean, rel=0.01)


@pytest.mark.parametrize("name", ["manual_cell", "fused_cpu"])
def test_the_committed_weights_are_those(name):
    saved, result = weights.load(WEIGHTS), load(REFERENCE / "best.json")
    assert cases.weights_digest(saved.weights) == result.config.weights.digest
    model = create(name, saved.model)
    model.load_weights(saved.weights)
    config = EvaluationConfig()
    found = evaluation.evaluate(model, evaluation.test_set(TASKS["cosine"], config), config)
    assert found.mse_mean == pytest.approx(result.cases[0].accuracy.mse_mean, rel=0.01)
