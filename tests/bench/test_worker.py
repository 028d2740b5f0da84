"""The worker's answers one by one, asked in this process: of a Session, and through Inline."""

import pytest
import torch

from bench import ceilings, gpu, measure, worker, workloads
from bench.config import EvaluationConfig, RunConfig
from bench.errors import BenchError, WrongWorkError
from bench.evaluation import NotFiniteError
from bench.messages import Arm, DeviceWork
from bench.remote import CaseError, Inline
from bench.schema import Case
from bench.training import DivergedError
from bench.worker import Session, failure, timed_seed
from impls import REGISTRY, Entry, GeneratorConfig

CONFIG = RunConfig(
    implementations=("torch_rnn", "manual_cell"),
    model=GeneratorConfig(hidden_size=6),
    iterations=3,
    batch_sizes={"generate": (1, 3), "train_step": (2,)},
    evaluation=EvaluationConfig(sequences=4, points=120, warm_up=100),
)
CASE = Case(
    implementation="manual_cell", device="cpu", dtype="float32", model=CONFIG.model,
    task="cosine", status="pending",
)  # fmt: skip
ARM = Arm("case", "manual_cell", "cpu", 6, "generate", 3, 1)
CONTROL = Arm("control", "manual_cell", "cpu", 6, "generate", 3, 1)
CANARY = Arm("canary", "canary", "cpu", 0, "canary", 1, 1)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Less of everything that takes time."""
    monkeypatch.setattr(workloads, "LONG_POINTS", 130)
    monkeypatch.setattr(measure, "WINDOW_SECONDS", 0.002)
    monkeypatch.setattr(measure, "SHORTEST_BLOCK_SECONDS", 0.001)
    monkeypatch.setattr(measure, "LONGEST_WARM_UP_SECONDS", 0.02)
    monkeypatch.setattr(ceilings, "PRODUCT_SIZES", (64,))
    monkeypatch.setattr(ceilings, "LARGE_COPY_BYTES", 1 << 21)


def opened(config=CONFIG, entries=None, tick=lambda: None):
    return Session(config, entries or {n: REGISTRY[n] for n in config.implementations}, tick)


@pytest.fixture
def session():
    session = opened()
    session._entropy = 0  # what is random in a run is the same in every test
    yield session
    session.close()


def block_of(session, arm, calls):
    """Make an arm ready for blocks of so many calls; its row."""
    session.prepare(arm, 0)
    row = session._rows[arm]
    row.calls = calls
    row.workload.provide(calls)
    return row


# A session's life.


def test_threads_and_precision_are_pinned_as_long_as_it_lives():
    torch.set_num_threads(1)
    before = torch.backends.cudnn.rnn.fp32_precision
    session = opened(CONFIG.model_copy(update={"threads": (2,)}))
    try:
        assert torch.get_num_threads() == 2
        assert torch.backends.cudnn.rnn.fp32_precision == "ieee"
        found = session.environment()
        assert found.threads == 2
        assert set(found.precision.values()) == {"ieee"}
    finally:
        session.close()
    assert torch.get_num_threads() == 1
    assert torch.backends.cudnn.rnn.fp32_precision == before


def test_it_learns_of_implementations_that_its_registry_does_not_have():
    before = dict(REGISTRY)
    entry = Entry("impls.manual_cell:ManualCell", "the same under another name")
    config = CONFIG.model_copy(update={"implementations": ("newcomer",)})
    session = opened(config, {"newcomer": entry})
    try:
        [case] = session.plan()
        assert (case.implementation, case.status) == ("newcomer", "pending")
        assert session.parity(case).passed
    finally:
        session.close()
    assert before == REGISTRY  # as it was for whoever comes next in this process


def test_the_plan_has_every_implementation_with_its_model(session):
    assert [case.implementation for case in session.plan()] == ["torch_rnn", "manual_cell"]
    assert all(case.model == CONFIG.model and case.dtype == "float32" for case in session.plan())


def test_baselines_are_those_of_the_runs_own_test_set(session):
    found = session.baselines()
    assert len(found["zero"].mse_per_step) == 19
    assert found["zero"].worst_index < 4


# Parity, training, accuracy.


def test_parity_ticks_so_that_a_slow_one_is_not_taken_for_hung():
    ticks = []
    session = opened(tick=lambda: ticks.append(1))
    try:
        assert session.parity(CASE).passed
        assert len(ticks) >= 4
    finally:
        session.close()


def test_training_ticks_after_every_iteration():
    ticks = []
    session = opened(tick=lambda: ticks.append(1))
    try:
        training = session.train(CASE)
    finally:
        session.close()
    assert len(ticks) == len(training.loss) == 3
    assert (training.recipe, training.seed) == ("quick", 0)


def test_accuracy_is_that_of_what_was_trained_last(session):
    with pytest.raises(RuntimeError, match="nothing was trained"):
        session.accuracy()
    session.train(CASE)
    trained = session.accuracy()
    assert len(trained.mse_per_sequence) == 4
    assert session.accuracy() == trained
    session.config = CONFIG.model_copy(update={"iterations": 1})
    session.train(CASE)
    assert session.accuracy() != trained


def test_the_digest_is_that_of_the_initial_weights(session):
    other = CASE.model_copy(update={"implementation": "torch_rnn"})
    assert session.weights_digest(CASE) == session.weights_digest(other)
    before = session.weights_digest(CASE)
    session.train(CASE)
    assert session.weights_digest(CASE) == before
    session.config = CONFIG.model_copy(update={"seed": 1})
    assert session.weights_digest(CASE) != before


# Arms.


@pytest.mark.parametrize("arm", [ARM, CONTROL], ids=["case", "control"])
def test_an_arm_is_prepared_sampled_and_rechecked(arm, session):
    ready = session.prepare(arm, 0)
    assert ready.steps == len(ready.forced) == 129
    assert sum(ready.forced) == 100
    assert ready.calls_per_sample >= 1
    assert 0 < ready.first_call_seconds < ready.seconds
    assert session.recheck(arm) is None  # nothing was timed yet
    block = session.sample(arm)
    assert block.seconds > 0
    assert block.calls == ready.calls_per_sample
    assert block.joules_per_call is None
    assert 0 < session.recheck(arm) < 1e-5
    assert session.peak_memory_bytes(arm) >= 0


def test_what_a_gpu_did_is_that_of_a_samples_calls_on_new_data(session, monkeypatch):
    """The memory that a call reads is everybody's: it is filled anew right before."""
    asked = []

    def device_work(cell, calls):
        asked.append((calls, session._rows[ARM].workload._data.clone()))
        return DeviceWork(0.5, 7)

    session.prepare(ARM, 0)
    session._rows[ARM].calls = 3
    assert session.device_work(ARM) is None  # on the CPU
    monkeypatch.setattr(worker, "device_work", device_work)
    assert session.device_work(ARM) == session.device_work(ARM) == DeviceWork(0.5, 7)
    (calls, data), (_, later) = asked
    assert calls == 3
    assert not torch.equal(data, later)


def test_a_setting_that_is_changed_while_profiled_is_caught_and_put_back(session, monkeypatch):
    session.prepare(ARM, 0)
    monkeypatch.setattr(worker, "device_work", lambda *_: torch.set_num_threads(2))
    with pytest.raises(WrongWorkError, match="set the number of threads to 2"):
        session.device_work(ARM)
    assert torch.get_num_threads() == 1


def test_a_canary_has_no_steps_and_nothing_to_recheck(session):
    ready = session.prepare(CANARY, 0)
    assert (ready.steps, ready.forced) == (1, ())
    assert session.sample(CANARY).seconds > 0
    assert session.recheck(CANARY) is None


def test_a_block_is_seconds_of_one_call(session, monkeypatch):
    block_of(session, ARM, 4)
    monkeypatch.setattr(measure, "block", lambda cell, calls: (calls * 0.5, cell.call()))
    found = session.sample(ARM)
    assert (found.seconds, found.calls) == (0.5, 4)


def test_energy_is_what_one_call_used(session, monkeypatch):
    block_of(session, ARM, 4)
    meter = iter([100.0, 102.0])
    monkeypatch.setattr(gpu, "joules", lambda _: next(meter))
    assert session.sample(ARM).joules_per_call == pytest.approx(0.5)


@pytest.mark.parametrize("readings", [(None, 1.0), (1.0, None)])
def test_half_a_reading_of_the_meter_is_none(readings, session, monkeypatch):
    session.prepare(ARM, 0)
    meter = iter(readings)
    monkeypatch.setattr(gpu, "joules", lambda _: next(meter))
    assert session.sample(ARM).joules_per_call is None


@pytest.mark.parametrize("held_back", [True, False])
def test_a_clock_that_was_held_back_is_told(held_back, session, monkeypatch):
    class Watch:
        def __init__(self, device):
            assert device == torch.device("cpu")

        def throttled(self):
            return held_back

    monkeypatch.setattr(worker, "ThrottleWatch", Watch)
    session.prepare(ARM, 0)
    assert session.sample(ARM).throttled is held_back


def test_every_block_finds_the_data_changed_in_the_same_memory(session):
    """Or an answer that was kept from the block before would still be right."""
    seen = []
    block_of(session, ARM, 2).workload.model.register_forward_pre_hook(
        lambda _, arguments: seen.append((arguments[0].data_ptr(), arguments[0].clone()))
    )
    for _ in range(2):
        session.sample(ARM)
    first, second = seen[1], seen[3]
    assert first[0] == second[0]
    assert not torch.equal(first[1], second[1])
    assert session.recheck(ARM) < 1e-5


def test_a_block_of_one_call_does_not_find_the_same_data_always(session):
    """Or whoever keeps the last answer is right in every block of a long call."""
    seen = []
    block_of(session, ARM, 1).workload.model.register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0].clone())
    )
    for _ in range(4):
        session.sample(ARM)
    assert not any(torch.equal(inputs, seen[0]) for inputs in seen[1:])


def test_an_answer_kept_for_the_memory_that_it_was_made_of_is_wrong(session):
    model, kept = block_of(session, ARM, 2).workload.model, {}
    honest = model.forward

    def forward(inputs, forced, h0=None):
        if inputs.data_ptr() not in kept:
            kept[inputs.data_ptr()] = honest(inputs, forced, h0)
        return kept[inputs.data_ptr()]

    model.forward = forward
    session.sample(ARM)
    assert session.recheck(ARM) < 1e-5
    session.sample(ARM)
    assert session.recheck(ARM) > 1e-4


def test_what_is_rechecked_is_the_answer_as_it_was_when_the_clock_stopped(session):
    session.prepare(ARM, 0)
    outcomes = []
    workload = session._rows[ARM].workload
    workload.model.register_forward_hook(lambda _, __, out: outcomes.append(out[0]))
    session.sample(ARM)
    with torch.inference_mode():
        outcomes[-1].fill_(9.0)
    assert session.recheck(ARM) < 1e-5


def test_a_change_of_everybodys_settings_is_told_and_put_back(session):
    session.prepare(ARM, 0)
    session._rows[ARM].workload.model.register_forward_pre_hook(lambda *_: torch.set_num_threads(3))
    with pytest.raises(WrongWorkError, match="set the number of threads to 3"):
        session.sample(ARM)
    assert torch.get_num_threads() == 1
    session.prepare(CANARY, 0)
    assert session.sample(CANARY).seconds > 0


def test_every_arm_meets_the_same_data_in_the_same_round():
    """Or one could be luckier than another; and another process meets others."""

    def factors(session):
        found = []
        for arm in (ARM, CONTROL):
            session.prepare(arm, 0)
            session._rows[arm].workload.provide(2)
            for _ in range(2):
                session.sample(arm)
                found.append(session._rows[arm].workload._factors.flatten().tolist())
        return found

    first, second = opened(), opened()
    try:
        case_one, case_two, control_one, control_two = factors(first)
        assert (case_one, case_two) == (control_one, control_two)
        assert case_one != case_two
        assert factors(second)[0] != case_one
    finally:
        second.close()
        first.close()


def test_every_block_is_rechecked_not_only_the_last(session):
    session.prepare(ARM, 0)
    model = session._rows[ARM].workload.model
    honest, blocks = model.forward, []

    def forward(inputs, forced, h0=None):
        predictions, h_n = honest(inputs, forced, h0)
        return (predictions * 1.01 if len(blocks) == 1 else predictions), h_n

    model.forward = forward
    for _ in range(3):
        session.sample(ARM)
        blocks.append(session.recheck(ARM))
    assert blocks[0] < 1e-5
    assert 1e-4 < blocks[1] <= blocks[2]


# Whose weights are timed.


def weights_of(session, arm):
    weights = session._rows[arm].workload.model.weights()
    return {name: weight.detach().clone() for name, weight in weights.items()}


def test_the_rows_of_a_case_share_a_model_and_the_control_has_its_own(session):
    rows = [ARM, Arm("case", "manual_cell", "cpu", 6, "train_step", 2, 1), CONTROL]
    for arm in rows:
        session.prepare(arm, 0)
    one, two, control = (session._rows[arm].workload.model for arm in rows)
    assert one is two
    assert one is not control
    theirs = weights_of(session, CONTROL)
    assert all(torch.equal(theirs[name], w) for name, w in weights_of(session, ARM).items())


def test_every_process_times_weights_of_its_own_the_same_for_all():
    found = {}
    for process in (0, 1):
        for name in CONFIG.implementations:
            session, arm = opened(), Arm("case", name, "cpu", 6, "generate", 1, 1)
            try:
                session.prepare(arm, process)
                found[process, name] = weights_of(session, arm)["weight_hh_l0"]
            finally:
                session.close()
    assert torch.equal(found[0, "torch_rnn"], found[0, "manual_cell"])
    assert torch.equal(found[1, "torch_rnn"], found[1, "manual_cell"])
    assert not torch.allclose(found[0, "torch_rnn"], found[1, "torch_rnn"])


def test_the_timed_seed_is_no_other_of_a_run():
    seeds = [timed_seed(seed, process) for seed in range(20) for process in range(20)]
    assert len(set(seeds)) == 400
    assert min(seeds) > 1000
    assert timed_seed(3, 4) == timed_seed(3, 4)


# The machine.


def test_the_ceilings_come_with_the_seconds_they_took(session):
    found, seconds = session.ceilings("cpu", 1)
    assert found.device == "cpu"
    assert 0 < seconds < 60


def test_a_probe_of_a_device_that_is_well_says_nothing(session):
    assert session.probe("cpu") is None
    with pytest.raises((RuntimeError, AssertionError, NotImplementedError)):
        session.probe("meta")


# What is told of an exception.


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (WrongWorkError("the inputs were changed"), ("wrong", "the inputs were changed")),
        (BenchError("no such task"), ("told", "no such task")),
        (
            DivergedError(3, float("nan")),
            ("told", "training diverged: the loss of iteration 3 is nan"),
        ),
        (NotFiniteError("step 4"), ("told", "step 4")),
        (RuntimeError("first\nsecond"), ("raised", "RuntimeError: first")),
        (MemoryError(), ("raised", "MemoryError")),
        (SystemExit(3), ("raised", "SystemExit: 3")),
    ],
)
def test_what_is_told_of_an_exception_and_of_which_kind_it_is(error, told):
    assert failure(error) == told


# Inline: the same answers, in this process.


@pytest.fixture
def inline():
    inline = Inline(CONFIG, {name: REGISTRY[name] for name in CONFIG.implementations})
    yield inline
    inline.close()


def test_inline_answers_as_a_session_does(inline):
    assert [case.key for case in inline.ask("plan")] == [
        ("torch_rnn", "cpu", 6), ("manual_cell", "cpu", 6),
    ]  # fmt: skip
    assert inline.ask("prepare", ARM, 0).steps == 129
    inline.ask("sample", ARM)
    assert inline.ask("recheck", ARM) < 1e-5


def test_inline_ticks_for_the_question_that_asked_for_it(inline):
    first, second = [], []
    inline.ask("train", CASE, on_tick=lambda: first.append(1))
    inline.ask("train", CASE, on_tick=lambda: second.append(1))
    inline.ask("train", CASE)
    assert len(first) == len(second) == 3


def test_what_raises_in_inline_is_a_case_error_and_the_next_question_is_answered(inline):
    with pytest.raises(CaseError, match="RuntimeError: nothing was trained") as caught:
        inline.ask("accuracy")
    assert caught.value.kind == "raised"
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert inline.ask("plan")


def test_our_own_errors_are_marked_as_such(inline, monkeypatch):
    def diverges(*_, **__):
        raise DivergedError(2, float("inf"))

    monkeypatch.setattr(worker.training, "steps", diverges)
    with pytest.raises(CaseError, match="training diverged") as caught:
        inline.ask("train", CASE)
    assert caught.value.kind == "told"


def test_an_interruption_is_no_case_error(inline):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inline.ask("train", CASE, on_tick=interrupt)


def test_closing_inline_gives_the_threads_back():
    torch.set_num_threads(1)
    inline = Inline(CONFIG.model_copy(update={"threads": (2,)}), {})
    assert torch.get_num_threads() == 2
    inline.close()
    assert torch.get_num_threads() == 1
