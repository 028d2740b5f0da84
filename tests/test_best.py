"""The recipe ``best`` keeps what is said of it: its committed files, and its committed weights."""

import pytest

from bench import cases, evaluation, weights
from bench.config import EvaluationConfig
from bench.recipes import RECIPES
from bench.records import load
from docs.accuracy import SEEDS
from impls import create
from tasks import TASKS
from tests.readme import ROOT

REFERENCE = ROOT / "results" / "reference"
WEIGHTS = REFERENCE / "best_seed_0" / "weights_fused_cpu_cpu.safetensors"


def test_four_of_five_seeds_get_there_in_three_minutes_of_two_cores():
    found = [load(REFERENCE / f"best_seed_{seed}.json") for seed in SEEDS]
    for seed, result in zip(SEEDS, found, strict=True):
        assert (result.config.recipe, result.config.seed) == ("best", seed)
        assert result.config.threads == (2,)
        assert result.environment.git_dirty is False
        assert result.environment.cores == 2
    trained = [case for result in found for case in result.cases]
    assert all(case.training.iterations == RECIPES["best"].iterations for case in trained)
    assert all(case.training.seconds <= 180.0 for case in trained)
    there = [c.accuracy.mse_mean <= 1e-5 and c.accuracy.mse_worst <= 1e-4 for c in trained]
    assert sum(there) >= 4
    best = min(trained, key=lambda case: case.accuracy.mse_mean)
    assert best is trained[0]  # whose weights are committed


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
