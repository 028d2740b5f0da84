"""What is timed does the work that it says, and would be caught if it did not."""

import numpy as np
import pytest
import torch

import impls
from bench.config import WORKLOADS
from bench.workloads import build
from impls import REGISTRY, GeneratorConfig
from tasks import TASKS

SHAPES = {"generate": 999, "sequence": 999, "train_step": 99}


def make(implementation, workload, batch=3, config=GeneratorConfig(hidden_size=8)):  # noqa: B008
    model = impls.create(implementation, config, seed=1)
    return model, build(workload, model, TASKS["cosine"], batch, seed=0)


@pytest.mark.parametrize("implementation", REGISTRY)
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_outcome_is_right(implementation, name):
    _, workload = make(implementation, name)
    assert (workload.name, workload.batch_size, workload.steps) == (name, 3, SHAPES[name])
    assert 0 < workload.error(workload.call()) < 1e-5


@pytest.mark.parametrize("name", WORKLOADS)
def test_calls_repeat_the_same_work(name):
    _, workload = make("manual_cell", name)
    assert workload.error(workload.call()) == workload.error(workload.call())


def test_generate_is_the_closed_loop_of_the_evaluation():
    from bench import evaluation
    from bench.config import EvaluationConfig

    config = EvaluationConfig(sequences=3)
    model, workload = make("manual_cell", "generate")
    sequences = evaluation.test_set(TASKS["cosine"], config)
    expected = evaluation.predict(model, sequences.inputs, config)
    np.testing.assert_array_equal(workload.call().double().numpy(), expected)


@pytest.mark.parametrize(("name", "forced_steps"), [("generate", 100), ("sequence", 999)])
def test_what_is_forced(name, forced_steps):
    model, workload = make("manual_cell", name)
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    workload.call()
    [forced] = seen
    assert forced[:forced_steps].all()
    assert not forced[forced_steps:].any()
    assert len(forced) == 999


def test_a_train_step_is_the_lectures_loss_and_its_gradients():
    model, workload = make("manual_cell", "train_step")
    seen = []
    handle = model.register_forward_hook(lambda _, args, out: seen.append((args, out)))
    gradients = workload.call()
    handle.remove()
    (inputs, forced), (predictions, _) = seen[0]
    assert model.training
    assert forced[0]
    assert 20 < forced.sum() < 80
    targets = TASKS["cosine"].draw(np.random.default_rng(1000), 3, 100).targets
    loss = (predictions[20:] - torch.from_numpy(targets).float()[20:]).square().mean()
    expected = torch.autograd.grad(
        (model(inputs, forced)[0][20:] - torch.from_numpy(targets).float()[20:]).square().mean(),
        list(model.weights().values()),
    )
    assert loss > 0
    for name, exact in zip(model.weights(), expected, strict=True):
        torch.testing.assert_close(gradients[name], exact)


def test_gradients_do_not_pile_up():
    _, workload = make("torch_rnn", "train_step")
    first = {name: g.clone() for name, g in workload.call().items()}
    second = workload.call()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_work_that_is_not_done_is_seen(register):
    _, workload = make(register("lazy_when_long"), "generate")
    assert workload.error(workload.call()) > 1e-3


def test_a_missing_gradient_is_seen():
    _, workload = make("manual_cell", "train_step")
    gradients = workload.call()
    assert workload.error(gradients | {"weight_hh_l0": None}) == float("inf")
    assert workload.error(gradients | {"bias_hh_l0": 1.01 * gradients["bias_hh_l0"]}) > 1e-5


def test_a_gradient_that_is_not_a_number_is_seen():
    _, workload = make("manual_cell", "train_step")
    gradients = workload.call()
    for name, gradient in gradients.items():
        error = workload.error(gradients | {name: gradient * float("nan")})
        assert np.isnan(error), name


def test_a_large_batch_is_checked_on_some_of_its_sequences():
    _, workload = make("manual_cell", "generate", batch=20)
    outcome = workload.call().clone()
    outcome[500:, 2] += 0.01
    assert workload.error(outcome) > 1e-3


def test_random_dropout_has_no_exact_gradient_but_evaluation_has():
    config = GeneratorConfig(hidden_size=8, num_layers=2, dropout=0.5)
    _, training = make("manual_cell", "train_step", config=config)
    assert training.error(training.call()) is None
    _, generating = make("manual_cell", "generate", config=config)
    assert 0 < generating.error(generating.call()) < 1e-5
