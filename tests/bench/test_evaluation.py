"""The evaluation against an independent computation in plain NumPy."""

import numpy as np
import pytest
import torch

import impls
from bench import evaluation, parity
from bench.config import EvaluationConfig
from bench.errors import WrongWorkError
from impls import GeneratorConfig
from tasks import TASKS
from tasks.forcing import warm_up
from tests.impls.fitting import UNCOMPILED, dtype_of

SMALL = EvaluationConfig(seed=5, sequences=13, points=150, warm_up=40)
FORCED = warm_up(149, 40)


def by_hand(model, config):
    """Everything again with no code of the project: data, closed loop, errors."""
    w = {name: t.detach().double().numpy() for name, t in model.weights().items()}
    rng = np.random.default_rng(config.seed)
    phase = rng.uniform(0, 2 * np.pi, config.sequences)
    amplitude = rng.uniform(0.5, 1.5, config.sequences)
    t = np.arange(config.points) * 10 / 99
    x = amplitude * np.cos(t[:, None] + phase)
    h = np.zeros((config.sequences, model.config.hidden_size))
    y, errors = None, []
    for step in range(config.points - 1):
        read = x[step] if step < config.warm_up else y
        a = h @ w["weight_hh_l0"].T + read[:, None] * w["weight_ih_l0"][:, 0]
        h = np.tanh(a + w["bias_ih_l0"] + w["bias_hh_l0"])
        y = h @ w["readout.weight"][0] + w["readout.bias"][0]
        if step >= config.warm_up:
            errors.append((y - x[step + 1]) ** 2)
    return x, np.array(errors)


@pytest.mark.parametrize("name", UNCOMPILED)
@pytest.mark.parametrize("config", [SMALL, EvaluationConfig()], ids=["small", "default"])
def test_errors_agree_with_an_independent_computation(name, config):
    dtype = dtype_of(name)
    rtol = {torch.float64: 1e-6, torch.float32: 1e-4}[dtype]
    model = impls.create(name, GeneratorConfig(hidden_size=12), dtype=dtype, seed=2)
    sequences = evaluation.test_set(TASKS["cosine"], config)
    found = evaluation.evaluate(model, sequences, config)
    _, errors = by_hand(model, config)
    per_sequence = errors.mean(axis=0)
    assert len(errors) == config.points - 1 - config.warm_up
    np.testing.assert_allclose(found.mse_per_sequence, per_sequence, rtol=rtol)
    np.testing.assert_allclose(found.mse_per_step, errors.mean(axis=1), rtol=rtol)
    expected = {
        "mse_mean": per_sequence.mean(),
        "mse_median": np.median(per_sequence),
        "mse_p95": np.quantile(per_sequence, 0.95),
        "mse_best": min(per_sequence),
        "mse_worst": max(per_sequence),
    }
    for field, value in expected.items():
        assert getattr(found, field) == pytest.approx(value, rel=rtol)
    assert found.best_index == int(np.argmin(per_sequence))
    assert found.worst_index == int(np.argmax(per_sequence))


def test_best_and_worst_hold_the_curves_they_name():
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=12), seed=2)
    sequences = evaluation.test_set(TASKS["cosine"], SMALL)
    found = evaluation.evaluate(model, sequences, SMALL)
    for trajectory, index, mse in [
        (found.best, found.best_index, found.mse_best),
        (found.worst, found.worst_index, found.mse_worst),
    ]:
        target, prediction = np.array(trajectory.target), np.array(trajectory.prediction)
        np.testing.assert_allclose(target, sequences.targets[:, index, 0], atol=1e-6)
        again = np.square(prediction - target)[SMALL.warm_up :].mean()
        assert again == pytest.approx(mse, rel=1e-4)


def test_baselines_by_hand():
    sequences = evaluation.test_set(TASKS["cosine"], SMALL)
    x = np.concatenate([sequences.inputs[:, :, 0], sequences.targets[-1:, :, 0]])
    truth = x[SMALL.warm_up + 1 :]
    found = evaluation.baselines(TASKS["cosine"], sequences, SMALL)
    assert found["zero"].mse_mean == pytest.approx(np.square(truth).mean(), rel=1e-12)
    last = x[SMALL.warm_up - 1]
    assert found["repeat"].mse_mean == pytest.approx(np.square(truth - last).mean(), rel=1e-12)
    # The recurrence is exact but for float32, and it starts from the last two values known.
    assert 0 < found["recurrence"].mse_mean < 1e-9
    exact = [*x[SMALL.warm_up - 2 : SMALL.warm_up].astype(np.float32)]
    for _ in range(len(truth) + 1):
        exact.append(np.float32(2 * np.cos(10 / 99)) * exact[-1] - exact[-2])
    again = np.square(np.array(exact[3:], dtype=float) - truth).mean(axis=1)
    np.testing.assert_allclose(found["recurrence"].mse_per_step, again, rtol=1e-6)


def test_zero_gets_half_the_mean_square_amplitude():
    """E[a^2] / 2 for a uniform in [0.5, 1.5): (1 + 1/12) / 2 = 0.5417."""
    config = EvaluationConfig()
    sequences = evaluation.test_set(TASKS["cosine"], config)
    found = evaluation.baselines(TASKS["cosine"], sequences, config)
    assert found["zero"].mse_mean == pytest.approx((1 + 1 / 12) / 2, rel=0.05)


def test_a_prediction_that_is_not_finite_names_its_step(register):
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=4, nonlinearity="relu"))
    weights = {name: weight.detach().clone() for name, weight in model.weights().items()}
    weights["weight_hh_l0"] = 1e6 * torch.eye(4)
    weights["bias_hh_l0"] = torch.ones(4)
    model.load_weights(weights)
    sequences = evaluation.test_set(TASKS["cosine"], SMALL)
    with pytest.raises(evaluation.NotFiniteError, match=r"prediction of step \d+ is not finite"):
        evaluation.evaluate(model, sequences, SMALL)


def test_dropout_does_not_disturb_an_evaluation():
    dropped = GeneratorConfig(hidden_size=6, num_layers=2, dropout=0.5)
    plain = GeneratorConfig(hidden_size=6, num_layers=2)
    sequences = evaluation.test_set(TASKS["cosine"], SMALL)
    one, two = (
        evaluation.predict(impls.create("torch_rnn", c, seed=3).train(), sequences.inputs, FORCED)
        for c in (dropped, plain)
    )
    np.testing.assert_array_equal(one, two)


def test_the_true_values_after_the_warm_up_are_hidden(register):
    model = impls.create(register("reads_free_rows"), GeneratorConfig(hidden_size=4))
    sequences = evaluation.test_set(TASKS["cosine"], SMALL)
    with pytest.raises(evaluation.NotFiniteError, match="step 40 "):
        evaluation.evaluate(model, sequences, SMALL)


def test_predictions_that_are_not_those_of_the_weights_are_refused(monkeypatch):
    """Whoever knows the task's law predicts it well; but not with what it has learned."""
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=6), seed=2)
    sequences = evaluation.test_set(TASKS["cosine"], SMALL)
    honest = model.forward

    def better(inputs, forced, h0=None):
        predictions, h_n = honest(inputs, forced, h0)
        exact = torch.from_numpy(sequences.targets).float()
        return torch.where(forced[:, None, None], predictions, exact), h_n

    evaluation.evaluate(model, sequences, SMALL)
    monkeypatch.setattr(model, "forward", better)
    with pytest.raises(WrongWorkError, match="they are not those of the trained weights"):
        evaluation.evaluate(model, sequences, SMALL)


def held(nonlinearity, recurrence, feedback, dtype=torch.float32):
    """One unit, y = h, whose state grows by ``recurrence`` and is held by ``feedback`` alone."""
    config = GeneratorConfig(hidden_size=1, nonlinearity=nonlinearity)
    model = impls.create("manual_cell", config, dtype=dtype)
    numbers = {"weight_hh_l0": recurrence, "weight_ih_l0": feedback, "readout.weight": 1.0}
    shapes = config.weight_shapes()
    model.load_weights({n: torch.full(s, numbers.get(n, 0.0)) for n, s in shapes.items()})
    return model


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_weights_whose_state_only_feedback_holds_are_judged_by_a_free_run(nonlinearity):
    """Two states that read the same part, and one that overflows is no number at all."""
    model = held(nonlinearity, 2.0, -1.001)
    config = EvaluationConfig(seed=5, sequences=13, points=1500, warm_up=5)
    sequences = evaluation.test_set(TASKS["cosine"], config)
    read = parity.array(torch.from_numpy(sequences.inputs).float())
    judged = (
        read,
        warm_up(len(read), config.warm_up),
        evaluation.predict(model, read, warm_up(len(read), config.warm_up)),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        assert not parity.closed_loop_error(model, *judged) < 0.1
    assert parity.free_run_error(model, *judged) < 1e-5
    evaluation.evaluate(model, sequences, config)


def test_weights_whose_feedback_holds_nothing_are_judged_step_by_step():
    """A free run that doubles every difference, of a state that forgets in two steps."""
    model = held("tanh", 0.1, 3.0)
    bias = {"bias_ih_l0": torch.tensor([0.3]), "readout.bias": torch.tensor([-0.6])}
    weights = {name: weight.detach() for name, weight in model.weights().items()} | bias
    weights["readout.weight"] = torch.tensor([[-2.0]])
    model.load_weights(weights)
    sequences = evaluation.test_set(TASKS["cosine"], SMALL)
    read = parity.array(torch.from_numpy(sequences.inputs).float())
    judged = read, FORCED, evaluation.predict(model, read, FORCED)
    assert parity.closed_loop_error(model, *judged) < 1e-5
    evaluation.evaluate(model, sequences, SMALL)


@pytest.mark.parametrize("recurrence", [0.5, 2.0])
def test_predictions_of_nobodys_weights_fail_either_way(recurrence, monkeypatch):
    model = held("tanh", recurrence, -1.001)
    sequences = evaluation.test_set(TASKS["cosine"], SMALL)
    honest = evaluation.predict

    def nearly(*args):
        return honest(*args) * 1.01

    monkeypatch.setattr(evaluation, "predict", nearly)
    with pytest.raises(WrongWorkError, match="not those of the trained weights"):
        evaluation.evaluate(model, sequences, SMALL)
