"""What is timed does the work that it says, and would be caught if it did not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import impls
from bench import workloads
from bench.config import LONG_FACTOR, TOLERANCE, WORKLOADS
from bench.errors import WrongWorkError
from bench.workloads import build, load_timed_weights
from impls import GeneratorConfig
from tasks import TASKS
from tests.impls.fitting import ON_CPU, UNCOMPILED, fitting, skip_unless_differentiable

SHAPES = {"generate": 999, "sequence": 999, "train_step": 99}


def make(implementation, workload, batch=3, config=GeneratorConfig(hidden_size=8)):  # noqa: B008
    model = impls.create(implementation, config, seed=1)
    load_timed_weights(model, seed=2)
    return model, build(workload, model, TASKS["cosine"], batch, seed=0)


def before_every_call(model, action):
    """Do something to the model's arguments, which a hook that returns something would replace."""

    def hook(_, arguments):
        action(*arguments)

    model.register_forward_pre_hook(hook)


def error_of_a_call(workload):
    return workload.error(workload.freeze(workload.call()))


def tensors_of(outcome):
    return list(outcome.values()) if isinstance(outcome, dict) else [outcome]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("implementation", UNCOMPILED)
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_outcome_is_right(implementation, name):
    if name == "train_step":
        skip_unless_differentiable(implementation)
    _, workload = make(implementation, name)
    assert (workload.name, workload.batch_size, workload.steps) == (name, 3, SHAPES[name])
    assert 0 < error_of_a_call(workload) < 1e-5


@pytest.mark.parametrize("name", WORKLOADS)
def test_batch_first_data_lie_so_in_memory_and_the_outcome_is_right(name):
    config = GeneratorConfig(hidden_size=8, batch_first=True)
    _, workload = make("manual_cell", name, config=config)
    [(_, inputs)] = inputs_of(workload, 1)
    assert inputs.shape == (3, SHAPES[name], 1)
    assert inputs.is_contiguous()
    assert 0 < error_of_a_call(workload) < 1e-5


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_bidirectional_layers_have_sequences_that_are_right_and_checked(nonlinearity):
    config = GeneratorConfig(hidden_size=8, num_layers=2, bidirectional=True)
    config = replace(config, nonlinearity=nonlinearity)
    model, workload = make("torch_rnn", "sequence", config=config)
    assert 0 < error_of_a_call(workload) < LONG_FACTOR * TOLERANCE["float32"]
    outcome = workload.call()
    with torch.no_grad():
        model.weights()["weight_hh_l1_reverse"].mul_(1.01)
    wrong = workload.call()
    assert not torch.equal(outcome, wrong)
    with torch.no_grad():
        model.load_weights(workload._weights)
    assert workload.error(workload.freeze(wrong)) > LONG_FACTOR * TOLERANCE["float32"]


# Every call of a block has data of its own, and every block other data.


def inputs_of(workload, calls):
    """Address and contents of what so many calls read."""
    seen = []
    handle = workload.model.register_forward_pre_hook(
        lambda _, arguments: seen.append((arguments[0].data_ptr(), arguments[0].clone()))
    )
    for _ in range(calls):
        workload.call()
    handle.remove()
    return seen


def all_differ(tensors):
    return not any(
        torch.equal(one, two) for n, one in enumerate(tensors) for two in tensors[n + 1 :]
    )


@pytest.mark.parametrize("calls", [1, 2, 5])
@pytest.mark.parametrize("name", WORKLOADS)
def test_no_two_calls_of_a_block_read_the_same(name, calls):
    _, workload = make("manual_cell", name)
    workload.provide(calls)
    seen = inputs_of(workload, calls)
    assert len({address for address, _ in seen}) == calls
    assert all_differ([inputs for _, inputs in seen])


@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_block_reads_other_data_in_the_same_memory(name, calls):
    """Or an answer that was kept for an address would still be right."""
    _, workload = make("manual_cell", name)
    workload.provide(calls)
    blocks = []
    for block in range(3):
        workload.refresh(rng(block))
        blocks.append(inputs_of(workload, calls))
    for block in blocks[1:]:
        assert [address for address, _ in block] == [address for address, _ in blocks[0]]
    assert all_differ([inputs for block in blocks for _, inputs in block])


def test_what_nobody_can_foresee_is_a_factor_of_the_tasks_own_sequences():
    _, workload = make("manual_cell", "generate")
    workload.provide(50)
    exact = TASKS["cosine"].draw(np.random.default_rng(1000), 3, 1000).inputs
    exact = torch.from_numpy(exact).float()
    factors = [(inputs / exact).median().item() for _, inputs in inputs_of(workload, 50)]
    assert all(0.9 <= factor <= 1.1 for factor in factors)
    assert max(factors) - min(factors) > 0.1
    for (_, inputs), factor in zip(inputs_of(workload, 50), factors, strict=True):
        torch.testing.assert_close(inputs, factor * exact, rtol=1e-5, atol=1e-6)


def test_the_same_random_numbers_give_the_same_data_to_every_implementation():
    workloads_ = [make(name, "generate")[1] for name in ("manual_cell", "torch_cell")]
    for seed in (1, 2):
        for workload in workloads_:
            workload.provide(2)
            workload.refresh(rng(seed))
        one, two = (inputs_of(workload, 2) for workload in workloads_)
        assert all(torch.equal(a[1], b[1]) for a, b in zip(one, two, strict=True))


def test_a_large_row_has_as_many_data_as_fit(monkeypatch):
    _, workload = make("manual_cell", "train_step")
    each = 2 * 99 * 3 * 4  # inputs and targets of three sequences, four bytes each
    monkeypatch.setattr(workloads, "MOST_BYTES", 3 * each + 1)
    workload.provide(100)
    addresses = [address for address, _ in inputs_of(workload, 7)]
    assert len(set(addresses)) == 3
    assert addresses[:3] == addresses[3:6]
    monkeypatch.setattr(workloads, "MOST_BYTES", each - 1)
    workload.provide(100)
    assert len({address for address, _ in inputs_of(workload, 3)}) == 1
    assert error_of_a_call(workload) < 1e-5


@pytest.mark.parametrize("name", WORKLOADS)
def test_after_any_number_of_calls_the_last_ones_data_are_compared(name):
    _, workload = make("manual_cell", name)
    workload.provide(3)
    for _ in range(4):
        assert error_of_a_call(workload) < 1e-5
    workload.refresh(rng())
    assert error_of_a_call(workload) < 1e-5


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("name", WORKLOADS)
def test_an_answer_from_an_earlier_call_is_a_wrong_one(name, calls):
    _, workload = make("manual_cell", name)
    workload.provide(calls)
    workload.refresh(rng(0))
    kept = [tensor.clone() for tensor in tensors_of(workload.call())]
    if calls == 1:
        workload.refresh(rng(1))
    outcome = workload.call()
    assert workload.error(workload.freeze(outcome)) < 1e-5
    with torch.inference_mode():
        for tensor, old in zip(tensors_of(outcome), kept, strict=True):
            tensor.copy_(old)
    assert workload.error(workload.freeze(outcome)) > 1e-4


def test_targets_are_those_of_their_inputs():
    """Exact gradients after a change of the data need the targets changed alike."""
    _, workload = make("manual_cell", "train_step")
    for seed in range(3):
        workload.refresh(rng(seed))
        assert error_of_a_call(workload) < 1e-5


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("name", WORKLOADS)
def test_changed_inputs_are_found_whichever_call_they_are_of(name, number):
    model, workload = make("manual_cell", name)
    workload.provide(3)
    seen = []
    before_every_call(model, lambda inputs, _: seen.append(inputs))
    for _ in range(3):
        outcome = workload.call()
    workload.freeze(outcome)
    seen[number][3, 1, 0] += 1e-6
    with pytest.raises(WrongWorkError, match="the inputs were changed"):
        workload.freeze(outcome)


def test_changed_forcing_is_found():
    """Who turns the closed loop into a forced one has less to do."""
    model, workload = make("manual_cell", "generate")
    before_every_call(model, lambda _, forced: forced.fill_(True))
    with pytest.raises(WrongWorkError, match="forced"):
        workload.freeze(workload.call())


def test_changed_weights_are_found():
    """Who clears its own weights knows the outcome of every step."""
    model, workload = make("manual_cell", "generate")
    zeros = {name: torch.zeros_like(weight) for name, weight in model.weights().items()}
    before_every_call(model, lambda *_: model.load_weights(zeros))
    with pytest.raises(WrongWorkError, match="weights"):
        workload.error(workload.freeze(workload.call()))


# A copy is kept, and compared when the clock has stopped.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", WORKLOADS)
def test_what_is_frozen_stays_as_it_was(name, dtype):
    """Without a change of type, NumPy would share the tensor's memory."""
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=4), dtype=dtype)
    workload = build(name, model, TASKS["cosine"], 2, seed=0)
    outcome = workload.call()
    frozen = workload.freeze(outcome)
    before = {key: value.copy() for key, value in frozen.outcome.items()}
    inputs, targets = frozen.inputs.copy(), frozen.targets.copy()
    with torch.inference_mode():
        for tensor in tensors_of(outcome):
            tensor.fill_(7.0)
    workload.refresh(rng())
    for key, value in frozen.outcome.items():
        np.testing.assert_array_equal(value, before[key])
        assert (value != 7.0).all()
    np.testing.assert_array_equal(frozen.inputs, inputs)
    np.testing.assert_array_equal(frozen.targets, targets)
    assert workload.error(frozen) < 1e-5


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_worst_of_several_counts(name):
    _, workload = make("manual_cell", name)
    frozen = []
    for seed in range(3):
        workload.refresh(rng(seed))
        frozen.append(workload.freeze(workload.call()))
    assert workload.error(*frozen) == pytest.approx(max(workload.error(one) for one in frozen))
    for wrong in range(3):
        key = next(iter(frozen[wrong].outcome))
        outcome = frozen[wrong].outcome | {key: frozen[wrong].outcome[key] + 0.01}
        spoiled = replace(frozen[wrong], outcome=outcome)
        others = [one for number, one in enumerate(frozen) if number != wrong]
        assert workload.error(*others, spoiled) > 1e-3
        assert workload.error(spoiled, *others) > 1e-3
    assert workload.error(*frozen) < 1e-5


@pytest.mark.parametrize("name", WORKLOADS)
def test_an_outcome_that_is_no_plain_tensor_is_refused(name):
    """A subclass could put its work off until somebody looks at it."""

    class Later(torch.Tensor):
        pass

    _, workload = make("manual_cell", name)
    outcome = workload.call()
    with torch.inference_mode():
        if isinstance(outcome, dict):
            outcome = outcome | {"readout.bias": outcome["readout.bias"].as_subclass(Later)}
        else:
            outcome = outcome.as_subclass(Later)
    with pytest.raises(WrongWorkError, match="gave a Later, not a plain tensor"):
        workload.freeze(outcome)


# The weights that are timed.


def free_runs(seeds, **config):
    """The end of a closed loop with each seed's weights, its largest value, and its error."""
    for seed in seeds:
        model = impls.create("manual_cell", GeneratorConfig(**config))
        load_timed_weights(model, seed)
        workload = build("generate", model, TASKS["cosine"], 2, seed=0)
        outcome = workload.call()
        error = workload.error(workload.freeze(outcome))
        yield outcome[-100:].std(dim=0).min().item(), outcome.abs().max().item(), error


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 2])
def test_timed_weights_keep_free_runs_alive(layers, nonlinearity):
    """Or the last steps could be left out, and nobody would see it."""
    found = list(free_runs(range(9), num_layers=layers, nonlinearity=nonlinearity))
    assert np.median([alive for alive, _, _ in found]) > 1e-4
    assert max(error for _, _, error in found) <= 1e-5


@pytest.mark.parametrize(
    ("nonlinearity", "layers", "size"),
    [
        ("tanh", 1, 128),
        ("tanh", 1, 6),
        ("relu", 2, 8),
    ],
)
def test_timed_weights_do_so_however_they_are_drawn(nonlinearity, layers, size):
    seeds = range(20)
    options = {"nonlinearity": nonlinearity, "num_layers": layers, "hidden_size": size}
    for alive, largest, error in free_runs(seeds, **options):
        assert alive > 1e-4
        assert largest < 100.0
        assert error <= LONG_FACTOR * TOLERANCE["float32"]


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_initial_weights_would_not(nonlinearity):
    model = impls.create("manual_cell", GeneratorConfig(nonlinearity=nonlinearity))
    workload = build("generate", model, TASKS["cosine"], 4, seed=0)
    assert workload.call()[-100:].std(dim=0).max() < 1e-6


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_timed_weights_use_every_weight(nonlinearity):
    """What is zero could be left out: with tanh nothing is, with relu the rest of a cycle."""
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=9, nonlinearity=nonlinearity))
    load_timed_weights(model, seed=3)
    for name, weight in model.weights().items():
        if nonlinearity == "relu" and name.startswith("weight_hh"):
            assert (weight.sum(dim=0) == 1.0).all()
            assert (weight.sum(dim=1) == 1.0).all()
            power = torch.eye(9)
            for _ in range(8):  # one cycle through all units: not back before the ninth step
                power = power @ weight
                assert power.diagonal().abs().max() == 0.0
        else:
            assert (weight != 0.0).all(), name


def test_timed_weights_are_the_same_in_every_implementation_and_differ_by_seed():
    config = fitting(GeneratorConfig(hidden_size=9, num_layers=2), *ON_CPU)
    models = [impls.create(name, config, seed=seed) for seed, name in enumerate(ON_CPU)]
    for model in models:
        load_timed_weights(model, seed=3)
    first = {name: weight.detach().clone() for name, weight in models[0].weights().items()}
    for model in models[1:]:
        assert all(torch.equal(model.weights()[name], first[name]) for name in first)
    load_timed_weights(models[0], seed=4)
    assert not any(torch.equal(w, first[name]) for name, w in models[0].weights().items())


# What the workloads are.


def test_generate_is_the_closed_loop_of_the_evaluation():
    from bench import evaluation
    from bench.config import EvaluationConfig

    model, workload = make("manual_cell", "generate")
    np.testing.assert_array_equal(workload.forced, np.arange(999) < EvaluationConfig().warm_up)
    workload.provide(1)
    [(_, inputs)] = inputs_of(workload, 1)
    expected = evaluation.predict(model, inputs.double().numpy(), workload.forced)
    np.testing.assert_array_equal(workload.call().double().numpy(), expected)


@pytest.mark.parametrize(("name", "forced_steps"), [("generate", 100), ("sequence", 999)])
def test_what_is_forced(name, forced_steps):
    model, workload = make("manual_cell", name)
    seen = []
    before_every_call(model, lambda _, forced: seen.append(forced))
    workload.call()
    [forced] = seen
    assert forced[:forced_steps].all()
    assert not forced[forced_steps:].any()
    assert len(forced) == 999
    np.testing.assert_array_equal(workloads.forcing(name, seed=0), forced.numpy())


def test_the_coin_flips_of_a_train_step_go_by_the_seed():
    one, same, two = (workloads.forcing("train_step", seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != two).any()


def test_a_train_step_is_the_lectures_loss_and_its_gradients():
    model, workload = make("manual_cell", "train_step")
    seen = []
    handle = model.register_forward_hook(lambda _, args, __: seen.append(args))
    gradients = workload.call()
    handle.remove()
    [(inputs, forced)] = seen
    assert model.training
    assert forced[0]
    assert 20 < forced.sum() < 80
    sequences = TASKS["cosine"].draw(np.random.default_rng(1000), 3, 100)
    factor = (inputs / torch.from_numpy(sequences.inputs).float()).median()
    targets = factor * torch.from_numpy(sequences.targets).float()
    loss = (model(inputs, forced)[0][20:] - targets[20:]).square().mean()
    expected = torch.autograd.grad(loss, list(model.weights().values()))
    assert loss > 0
    for name, exact in zip(model.weights(), expected, strict=True):
        torch.testing.assert_close(gradients[name], exact, rtol=1e-4, atol=1e-6)


def test_gradients_do_not_pile_up():
    _, workload = make("torch_rnn", "train_step")
    workload.provide(1)
    first = {name: g.clone() for name, g in workload.call().items()}
    second = workload.call()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_inference_leaves_no_gradient_and_no_graph():
    model, workload = make("manual_cell", "generate")
    model.train()
    outcome = workload.call()
    assert not model.training
    assert outcome.is_inference()
    assert all(weight.grad is None for weight in model.parameters())


# What would be wrong.


def test_work_that_is_not_done_is_seen(register):
    _, workload = make(register("lazy_when_long"), "generate")
    assert error_of_a_call(workload) > 1e-3


def spoil(frozen, **outcome):
    """Frozen gradients, some of them replaced or, by None, removed."""
    found = frozen.outcome | {name.replace("__", "."): value for name, value in outcome.items()}
    return replace(frozen, outcome={n: value for n, value in found.items() if value is not None})


def test_a_missing_gradient_is_seen():
    _, workload = make("manual_cell", "train_step")
    frozen = workload.freeze(workload.call())
    assert workload.error(spoil(frozen, weight_hh_l0=None)) == float("inf")
    assert workload.error(spoil(frozen, bias_hh_l0=frozen.outcome["bias_hh_l0"] + 1e-4)) > 5e-5


def test_a_gradient_that_never_came_is_missing():
    model, workload = make("manual_cell", "train_step")
    bias = model.weights()["readout.bias"]
    before_every_call(model, lambda *_: bias.requires_grad_(False))
    assert error_of_a_call(workload) == float("inf")


def test_a_gradient_that_is_not_a_number_is_seen():
    _, workload = make("manual_cell", "train_step")
    frozen = workload.freeze(workload.call())
    for name, gradient in frozen.outcome.items():
        wrong = replace(frozen, outcome=frozen.outcome | {name: gradient * float("nan")})
        assert np.isnan(workload.error(wrong)), name
        assert np.isnan(workload.error(frozen, wrong)), name


def test_an_outcome_of_another_shape_is_seen():
    _, workload = make("manual_cell", "generate")
    frozen = workload.freeze(workload.call())
    short = replace(frozen, outcome={"predictions": frozen.outcome["predictions"][:-1]})
    assert workload.error(short) == float("inf")
    assert workload.error(frozen, short) == float("inf")


def test_nobody_knows_which_sequences_of_a_large_batch_are_checked():
    """Eight of twenty each time, others every time: who computes only some of them is found out."""
    _, workload = make("manual_cell", "generate", batch=20)
    outcome = workload.call().clone()
    right = [workload.freeze(outcome) for _ in range(40)]
    assert {one.inputs.shape for one in right} == {(999, 8, 1)}
    assert workload.error(*right) < 1e-5
    outcome[500:, 13] += 0.01
    errors = [workload.error(workload.freeze(outcome)) > 1e-3 for _ in range(60)]
    assert 5 < sum(errors) < 50


def test_random_dropout_has_no_exact_gradient_but_evaluation_has():
    config = GeneratorConfig(hidden_size=8, num_layers=2, dropout=0.5)
    _, training = make("manual_cell", "train_step", config=config)
    assert error_of_a_call(training) is None
    _, generating = make("manual_cell", "generate", config=config)
    assert 0 < error_of_a_call(generating) < 1e-5
