"""From blocks to rows of the file: nothing is lost, nothing mixed up, and flags are only flags."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import environment, limits
from bench.arms import Arms, control_of
from bench.config import RunConfig
from bench.messages import Block, DeviceWork, Prepared
from bench.schema import Case, Ceilings, Parity, Result
from impls import GeneratorConfig

MODEL = GeneratorConfig(hidden_size=4)
CONFIG = RunConfig(
    implementations=("manual_cell", "torch_rnn"),
    devices=("cpu", "cuda"),
    model=MODEL,
    batch_sizes={"generate": (1, 3), "train_step": (2,)},
)
CELLS = [("generate", 1, 1), ("generate", 3, 1), ("train_step", 2, 1)]


def case(name, device="cpu"):
    return Case(
        implementation=name, device=device, dtype="float32", model=MODEL, task="cosine",
        status="pending",
    )  # fmt: skip


def ceilings(device="cpu", **faster):
    values = {
        "flops_per_second": 1e9, "bytes_per_second": 1e9, "cached_bytes_per_second": 1e9,
        "step_seconds": 1e-9,
    } | faster  # fmt: skip
    return Ceilings(device=device, **({"threads": 1} | values))


def prepared(first_call=0.5, steps=10):
    return Prepared(
        steps=steps, forced=(True,) * steps, first_call_seconds=first_call, seconds=0.75,
        windows=2, agreed=True, calls_per_sample=4,
    )  # fmt: skip


def block(seconds, *, throttled=False, joules=None):
    return Block(seconds=seconds, calls=4, throttled=throttled, joules_per_call=joules)


def cell(arm):
    return arm.workload, arm.batch_size, arm.threads


@pytest.fixture
def arms():
    """Two cases on the CPU, nothing known of them."""
    return Arms(CONFIG, [case("manual_cell"), case("torch_rnn")])


def pick(arms, kind="case", name="manual_cell", size=1, device="cpu"):
    """The one arm like this."""
    [found] = [
        arm for arm in arms.open()
        if (arm.kind, arm.device) == (kind, device)
        and (kind == "canary" or (arm.implementation, arm.batch_size) == (name, size))
    ]  # fmt: skip
    return found


def fill(arms, arm, seconds, process=0, **options):
    """Warm an arm up in a process, and sample it once a round."""
    arms.prepared(arm, process, prepared(**options))
    for turn, value in enumerate(seconds):
        arms.sampled(arm, process, turn, block(value))


def row_of(arms, arm):
    [found] = [row for row in arms.throughput(*arm.case) if row.key == cell(arm)]
    return found


def result_of(arms, names=("manual_cell", "torch_rnn"), device="cpu"):
    """The file that a run would have written by now."""
    return Result(
        created_at="then",
        config=CONFIG,
        environment=environment.describe(),
        cases=tuple(
            case(name, device).model_copy(update={"throughput": arms.throughput(name, device, 4)})
            for name in names
        ),
        controls=arms.controls(),
        canaries=arms.canaries(),
        ceilings=arms.ceilings_found(),
    )


def taken_over(arms):
    """A later attempt that goes on from the file of an earlier one."""
    later = Arms(CONFIG, [case("manual_cell"), case("torch_rnn")])
    later.take_over(result_of(arms))
    return later


# What is planned.


def test_every_row_is_planned_at_each_count_of_threads_the_canary_at_the_first():
    config = CONFIG.model_copy(update={"threads": (2, 1)})
    arms = list(Arms(config, [case("manual_cell"), case("torch_rnn")]).open())
    for kind, name in (("case", "manual_cell"), ("case", "torch_rnn"), ("control", "torch_rnn")):
        found = [cell(arm) for arm in arms if (arm.kind, arm.implementation) == (kind, name)]
        assert sorted(found) == sorted((*c[:2], threads) for c in CELLS for threads in (1, 2))
    assert [arm.threads for arm in arms if arm.kind == "canary"] == [2]


def test_an_arm_goes_on_with_the_samples_of_its_own_threads():
    config = CONFIG.model_copy(update={"threads": (1, 2)})
    arms = Arms(config, [case("manual_cell")])
    for number, arm in enumerate(arms.open()):
        fill(arms, arm, [0.1 + number], steps=1 if arm.kind == "canary" else 10)
    result = result_of(arms, ["manual_cell"]).model_copy(update={"config": config})
    later = Arms(config, [case("manual_cell")])
    later.take_over(result)
    assert later.throughput("manual_cell", "cpu", 4) == arms.throughput("manual_cell", "cpu", 4)
    assert len({row.samples for row in later.throughput("manual_cell", "cpu", 4)}) == 6
    assert later.controls() == arms.controls()
    assert later.canaries() == arms.canaries()


def test_every_case_has_its_rows_every_device_its_control_and_canary():
    arms = Arms(CONFIG, [case(n, d) for d in ("cpu", "cuda") for n in CONFIG.implementations])
    found = [(a.kind, a.implementation, a.device, *cell(a)) for a in arms.open()]
    expected = []
    for device in ("cpu", "cuda"):
        expected += [("case", n, device, *c) for n in CONFIG.implementations for c in CELLS]
        expected += [("control", "torch_rnn", device, *c) for c in CELLS]
        expected += [("canary", "canary", device, "canary", 1, 1)]
    assert sorted(found) == sorted(expected)
    assert len(arms) == len(expected) == 20


def without_gradients(name):
    """A case that passed parity and has no gradient to train with."""
    parity = Parity(output_error=1e-7, gradient_error=None, tolerance=1e-5, passed=True)
    return case(name).model_copy(update={"parity": parity})


@pytest.mark.parametrize(
    ("cases", "control"),
    [
        ([without_gradients("onnx_runtime"), case("manual_cell")], "manual_cell"),
        ([without_gradients("onnx_runtime")], "onnx_runtime"),
        ([without_gradients("torch_rnn"), case("manual_cell")], "torch_rnn"),  # the baseline
    ],
)
def test_what_computes_no_gradients_has_no_train_step(cases, control):
    found = [(arm.kind, arm.implementation, *cell(arm)) for arm in Arms(CONFIG, cases).open()]
    can = {
        c.implementation: [cell for cell in CELLS if cell[0] == "generate" or c.differentiable]
        for c in cases
    }
    expected = [("case", name, *cell) for name, cells in can.items() for cell in cells]
    expected += [("control", control, *cell) for cell in can[control]]
    assert sorted(found) == sorted([*expected, ("canary", "canary", "canary", 1, 1)])


def forced_only(name):
    """A case that passed parity over forced steps, for it runs no others."""
    parity = Parity(
        output_error=1e-7, gradient_error=1e-7, tolerance=1e-5, passed=True, closed_loop=False
    )
    return case(name).model_copy(update={"parity": parity})


def test_what_runs_no_free_steps_is_timed_in_sequence_alone():
    config = CONFIG.model_copy(update={"batch_sizes": CONFIG.batch_sizes | {"sequence": (5,)}})
    cases = [forced_only("flashrnn"), case("manual_cell")]
    found = [(arm.kind, arm.implementation, *cell(arm)) for arm in Arms(config, cases).open()]
    every = [*CELLS, ("sequence", 5, 1)]
    expected = [("case", "flashrnn", *every[-1])]
    expected += [(kind, "manual_cell", *each) for kind in ("case", "control") for each in every]
    assert sorted(found) == sorted([*expected, ("canary", "canary", "canary", 1, 1)])
    assert not Arms(CONFIG, cases[:1]).any_case_open()


def test_a_device_on_which_nothing_runs_has_no_control_and_no_canary():
    arms = Arms(CONFIG, [case("manual_cell", "cpu")])
    assert {arm.device for arm in arms.open()} == {"cpu"}
    assert {arm.implementation for arm in arms.open() if arm.kind == "control"} == {"manual_cell"}


@pytest.mark.parametrize(
    ("names", "control"),
    [(["a", "torch_rnn"], "torch_rnn"), (["b", "a"], "b"), ([], None)],
)
def test_the_control_is_the_baseline_or_the_first_there_is(names, control):
    assert control_of(CONFIG, names) == control


def test_nothing_to_time_is_no_arms():
    arms = Arms(CONFIG, [])
    assert len(arms) == 0
    assert not arms.any_case_open()
    assert list(arms.timed_cases()) == []


# Opening and closing.


def test_closing_an_arm_leaves_the_others_open(arms):
    arm = pick(arms)
    arms.close(arm)
    assert not arms.is_open(arm)
    assert len(list(arms.open())) == len(arms) - 1


def test_closing_a_case_closes_its_rows_on_that_device_and_its_control():
    """The control is the same implementation: what it did, it would do again."""
    arms = Arms(CONFIG, [case(n, d) for d in ("cpu", "cuda") for n in CONFIG.implementations])
    planned = set(arms.open())
    arms.close_case(pick(arms, name="torch_rnn", device="cuda"))
    closed = planned - set(arms.open())
    assert {(arm.kind, arm.implementation, arm.device) for arm in closed} == {
        ("case", "torch_rnn", "cuda"), ("control", "torch_rnn", "cuda"),
    }  # fmt: skip
    assert len(closed) == 3 + 3


def test_the_control_of_another_case_stays_open(arms):
    arms.close_case(pick(arms, name="manual_cell"))
    assert {(arm.kind, arm.implementation) for arm in arms.open()} == {
        ("case", "torch_rnn"), ("control", "torch_rnn"), ("canary", "canary"),
    }  # fmt: skip


def test_the_open_arms_of_a_case_are_its_rows_and_its_control():
    arms = Arms(CONFIG, [case(n, d) for d in ("cpu", "cuda") for n in CONFIG.implementations])
    expected = [(kind, "cuda", *c) for kind in ("case", "control") for c in CELLS]
    found = [(a.kind, a.device, *cell(a)) for a in arms.of_case("torch_rnn", "cuda", 4)]
    assert sorted(found) == sorted(expected)
    arms.close(pick(arms, size=3, device="cuda"))
    assert [cell(a) for a in arms.of_case("manual_cell", "cuda", 4)] == [CELLS[0], CELLS[2]]


def test_an_arm_may_be_closed_while_all_are_gone_through(arms):
    met = []
    for arm in arms.open():
        met.append(arm)
        arms.close_case(arm)
    assert [(arm.kind, cell(arm)) for arm in met] == [
        ("case", CELLS[0]), ("case", CELLS[0]), ("canary", ("canary", 1, 1)),
    ]  # fmt: skip
    assert not arms.any_case_open()


def test_a_control_alone_is_nothing_left_to_find_out(arms):
    for arm in arms.open():
        if arm.kind == "case":
            assert arms.any_case_open()
            arms.close(arm)
    assert not arms.any_case_open()
    assert len(list(arms.open())) == 4


# From blocks to rows.


def test_what_was_not_sampled_has_no_row(arms):
    arms.prepared(pick(arms), 0, prepared())
    assert arms.throughput("manual_cell", "cpu", 4) == ()
    assert arms.controls() == arms.canaries() == ()
    assert list(arms.timed_cases()) == []


def test_a_row_holds_what_each_process_found(arms):
    arm = pick(arms, size=3)
    fill(arms, arm, [0.2, 0.25], process=0, first_call=0.9)
    fill(arms, arm, [0.21], process=2, first_call=0.3)
    arms.memory(arm, 4096)
    arms.rechecked(arm, 1e-7)
    row = row_of(arms, arm)
    assert (row.workload, row.batch_size, row.steps) == ("generate", 3, 10)
    assert [(s.process, s.round, s.seconds) for s in row.samples] == [
        (0, 0, 0.2), (0, 1, 0.25), (2, 0, 0.21),
    ]  # fmt: skip
    assert [(w.process, w.first_call_seconds) for w in row.warm_ups] == [(0, 0.9), (2, 0.3)]
    assert row.first_call_seconds == pytest.approx(0.6)
    assert row.peak_memory_bytes == 4096
    assert row.output_error == 1e-7
    assert row.joules_per_call is None
    assert row.steps_per_second.estimate == pytest.approx(10 * 3 / (0.225 * 0.21) ** 0.5)
    assert row.noise > 0
    assert list(arms.timed_cases()) == [("manual_cell", "cpu", 4)]


def test_a_case_a_control_and_a_canary_are_told_apart(arms):
    case_, control = pick(arms, name="torch_rnn"), pick(arms, "control", "torch_rnn")
    canary = pick(arms, "canary")
    for arm, seconds in ((case_, 0.1), (control, 0.2), (canary, 0.3)):
        fill(arms, arm, [seconds], steps=1)
    assert [s.seconds for row in arms.throughput("torch_rnn", "cpu", 4) for s in row.samples] == [
        0.1
    ]
    [found] = arms.controls()
    assert [s.seconds for row in found.throughput for s in row.samples] == [0.2]
    assert [s.seconds for c in arms.canaries() for s in c.samples] == [0.3]


def test_the_largest_error_counts_whenever_it_came(arms):
    arm = pick(arms)
    fill(arms, arm, [0.1])
    assert row_of(arms, arm).output_error is None
    for error, largest in ((1e-8, 1e-8), (3e-8, 3e-8), (2e-8, 3e-8)):
        arms.rechecked(arm, error)
        assert row_of(arms, arm).output_error == largest


def test_energy_is_the_mean_of_the_blocks_that_tell_it(arms):
    arm = pick(arms)
    arms.prepared(arm, 0, prepared())
    for turn, joules in enumerate([2.0, None, 4.0]):
        arms.sampled(arm, 0, turn, block(0.1, joules=joules))
    assert row_of(arms, arm).joules_per_call == pytest.approx(3.0)


def test_memory_is_needed_once_and_only_of_cases(arms):
    arm = pick(arms)
    assert arms.needs_memory(arm)
    assert not arms.needs_memory(pick(arms, "control", "torch_rnn"))
    assert not arms.needs_memory(pick(arms, "canary"))
    arms.memory(arm, None)  # it cannot be told here: no second try
    assert not arms.needs_memory(arm)


def test_a_device_is_asked_once_and_only_about_cases_on_a_gpu(arms):
    on_gpu = Arms(CONFIG, [case("manual_cell", "cuda")])
    arm = pick(on_gpu, device="cuda")
    assert on_gpu.needs_device_work(arm)
    assert not on_gpu.needs_device_work(pick(on_gpu, "control", device="cuda"))
    assert not on_gpu.needs_device_work(pick(on_gpu, "canary", device="cuda"))
    assert not arms.needs_device_work(pick(arms))  # the CPU's
    on_gpu.device_work(arm, None)  # no profiler: no second try
    assert not on_gpu.needs_device_work(arm)
    fill(on_gpu, arm, [0.1])
    [row] = on_gpu.throughput(*arm.case)
    assert (row.device_seconds, row.device_operations) == (None, None)


def test_a_row_holds_what_its_device_did(arms):
    fill(arms, pick(arms), [0.1])
    fill(arms, pick(arms, size=2), [0.1])
    arms.device_work(pick(arms), DeviceWork(0.03, 5123))
    row, other = row_of(arms, pick(arms)), row_of(arms, pick(arms, size=2))
    assert (row.device_seconds, row.device_operations) == (0.03, 5123)
    assert other.device_seconds is None


# Flags: told, and counted all the same.

STEADY = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.01, 0.99]


def flags(row):
    return [sample.flags for sample in row.samples]


def test_a_sample_beyond_the_fences_is_flagged_and_counts(arms):
    arm = pick(arms)
    fill(arms, arm, [*STEADY, 9.0])
    row = row_of(arms, arm)
    assert flags(row) == [()] * 8 + [("outlier",)]
    assert row.samples[-1].seconds == 9.0
    assert row.steps_per_second.estimate == pytest.approx(10 / median([*STEADY, 9.0]))


def test_who_is_an_outlier_is_found_anew_with_every_sample(arms):
    """What stood out among few is one of many when others like it have come."""
    arm = pick(arms)
    fill(arms, arm, [*STEADY, 1.5])
    assert flags(row_of(arms, arm))[-1] == ("outlier",)
    for turn in range(9, 17):
        arms.sampled(arm, 0, turn, block(1.5))
    assert flags(row_of(arms, arm)) == [()] * 17


def test_a_held_back_clock_is_flagged_beside(arms):
    arm = pick(arms)
    fill(arms, arm, STEADY)
    arms.sampled(arm, 0, 8, block(9.0, throttled=True))
    arms.sampled(arm, 0, 9, block(1.0, throttled=True))
    assert flags(row_of(arms, arm))[-2:] == [("outlier", "throttled"), ("throttled",)]


def test_canaries_are_flagged_too(arms):
    arm = pick(arms, "canary")
    fill(arms, arm, [*STEADY, 9.0], steps=1)
    assert flags(arms.canaries()[0]) == [()] * 8 + [("outlier",)]


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20))
def test_no_sample_is_ever_dropped(seconds):
    arms = Arms(CONFIG, [case("manual_cell")])
    arm = pick(arms)
    fill(arms, arm, seconds)
    assert [sample.seconds for sample in row_of(arms, arm).samples] == seconds


# What the machine can do at most.


def test_the_best_of_all_processes_is_the_ceiling(arms):
    arms.ceilings(ceilings(flops_per_second=5.0, bytes_per_second=9.0, step_seconds=3.0))
    arms.ceilings(ceilings(flops_per_second=7.0, bytes_per_second=8.0, step_seconds=2.0))
    arms.ceilings(ceilings("cuda", flops_per_second=1.0, step_seconds=None))
    cpu, cuda = arms.ceilings_found()
    assert (cpu.flops_per_second, cpu.bytes_per_second, cpu.step_seconds) == (7.0, 9.0, 2.0)
    assert (cuda.device, cuda.flops_per_second, cuda.step_seconds) == ("cuda", 1.0, None)


def test_a_limit_needs_ceilings_of_its_own_device(arms):
    arm = pick(arms)
    fill(arms, arm, [0.1])
    assert row_of(arms, arm).limit is None
    arms.ceilings(ceilings("cuda"))
    assert row_of(arms, arm).limit is None
    arms.ceilings(ceilings(step_seconds=1e-3))
    assert row_of(arms, arm).limit.seconds == pytest.approx(10 * 1e-3)  # ten steps
    assert row_of(arms, arm).limit.bound == "latency"


def test_a_limit_is_that_of_the_rows_own_size():
    config = CONFIG.model_copy(update={"more_hidden_sizes": (8,)})
    arms = Arms(config, [case("manual_cell").model_copy(update={"model": config.model_of(8)})])
    [arm] = [a for a in arms.open() if (a.kind, a.batch_size) == ("case", 3)]
    fill(arms, arm, [0.1])
    arms.ceilings(ceilings(flops_per_second=1.0))
    work = limits.operations(config.model_of(8), "generate", 3, [True] * 10)
    assert row_of(arms, arm).limit.seconds == work


def test_a_limit_is_that_of_the_rows_own_threads():
    config = CONFIG.model_copy(update={"threads": (1, 2)})
    arms = Arms(config, [case("manual_cell")])
    one, two = (
        arm for arm in arms.open()
        if (arm.kind, arm.workload, arm.batch_size) == ("case", "generate", 3)
    )  # fmt: skip
    assert (one.threads, two.threads) == (1, 2)
    for arm in (one, two):
        fill(arms, arm, [0.1])
    arms.ceilings(ceilings(step_seconds=1e-3, threads=2))
    assert [row_of(arms, arm).limit is None for arm in (one, two)] == [True, False]
    arms.ceilings(ceilings(step_seconds=4e-3, threads=1))
    assert [row_of(arms, arm).limit.seconds for arm in (one, two)] == pytest.approx([0.04, 0.01])
    assert [(c.threads, c.step_seconds) for c in arms.ceilings_found()] == [(2, 1e-3), (1, 4e-3)]


@pytest.mark.parametrize(("share", "too_fast"), [(0.99, True), (1.01, False)])
def test_who_is_clearly_faster_than_the_limit_is_told(share, too_fast, arms):
    """Ten steps of a millisecond at least; a little less may be the ceiling's own error."""
    seconds = share * limits.IMPOSSIBLE * 0.01
    arm = pick(arms)
    fill(arms, arm, [seconds])
    fill(arms, pick(arms, "control", "torch_rnn"), [seconds])
    assert list(arms.too_fast()) == []
    arms.ceilings(ceilings(step_seconds=1e-3))
    found = list(arms.too_fast())
    assert len(found) == too_fast
    assert all(told == arm and row.limit.seconds == 0.01 for told, row in found)


def test_the_margin_of_the_impossible_is_a_small_one():
    assert 0.5 <= limits.IMPOSSIBLE <= 1.0


def test_one_lucky_sample_is_not_too_fast(arms):
    """The estimate is held against the limit: what only one block was is noise."""
    arm = pick(arms)
    fill(arms, arm, [0.005, 0.02, 0.02])
    arms.ceilings(ceilings(step_seconds=1e-3))
    assert list(arms.too_fast()) == []


# Going on from an earlier attempt.


def sampled(arms):
    """Something of everything."""
    for arm in (pick(arms), pick(arms, size=2), pick(arms, "control", "torch_rnn", size=3)):
        fill(arms, arm, [*STEADY, 9.0], process=0)
    arms.sampled(pick(arms), 0, 9, block(8.0, throttled=True, joules=2.5))
    arms.memory(pick(arms), 4096)
    arms.device_work(pick(arms), DeviceWork(0.03, 5123))
    arms.rechecked(pick(arms), 3e-8)
    fill(arms, pick(arms, "canary"), [*STEADY, 9.0], steps=1)
    return arms


def test_all_is_taken_over(arms):
    later = taken_over(sampled(arms))
    assert later.canaries() == arms.canaries()
    assert later.controls() == arms.controls()
    assert later.throughput("manual_cell", "cpu", 4) == arms.throughput("manual_cell", "cpu", 4)
    assert later.throughput("torch_rnn", "cpu", 4) == ()
    assert len(later.controls()[0].throughput[0].samples) == 9
    assert later.throughput("manual_cell", "cpu", 4)[0].joules_per_call == 2.5
    assert later.throughput("manual_cell", "cpu", 4)[0].device_operations == 5123


def test_ceilings_are_taken_over(arms):
    arms.ceilings(ceilings(flops_per_second=7e9))
    later = taken_over(arms)
    later.ceilings(ceilings(flops_per_second=5e9))
    assert later.ceilings_found()[0].flops_per_second == 7e9


def test_flags_that_were_taken_over_are_found_anew(arms):
    fill(arms, pick(arms), [*STEADY, 1.5])
    fill(arms, pick(arms, "canary"), [*STEADY, 1.5], steps=1)
    later = taken_over(arms)
    for arm in (pick(later), pick(later, "canary")):
        for turn in range(8):
            later.sampled(arm, 1, turn, block([1.0, 1.5][turn % 2]))
        later.prepared(arm, 1, prepared())
    rows = [*later.throughput("manual_cell", "cpu", 4), *later.canaries()]
    assert len(rows) == 2
    assert all(set(flags(row)) == {()} for row in rows)


def test_a_held_back_clock_stays_flagged(arms):
    fill(arms, pick(arms), STEADY)
    arms.sampled(pick(arms), 0, 8, block(1.0, throttled=True))
    assert flags(row_of(taken_over(arms), pick(arms)))[-1] == ("throttled",)


def test_memory_that_is_known_is_not_measured_again(arms):
    later = taken_over(sampled(arms))
    assert not later.needs_memory(pick(later))
    assert later.needs_memory(pick(later, name="torch_rnn"))


@pytest.mark.parametrize("found", [DeviceWork(0.03, 5123), None])
def test_a_device_is_asked_again_only_where_an_earlier_attempt_had_no_answer(found):
    """It may have been cut short after its samples and before its question."""
    first, later = (Arms(CONFIG, [case("manual_cell", "cuda")]) for _ in range(2))
    arm = pick(first, device="cuda")
    fill(first, arm, [0.1])
    first.device_work(arm, found)
    later.take_over(result_of(first, ["manual_cell"], "cuda"))
    assert later.needs_device_work(arm) == (found is None)


def test_new_samples_join_those_that_were_taken_over(arms):
    fill(arms, pick(arms), [0.1, 0.2], process=0)
    later = taken_over(arms)
    fill(later, pick(later), [0.3], process=1, first_call=0.7)
    row = row_of(later, pick(later))
    assert [(s.process, s.round, s.seconds) for s in row.samples] == [
        (0, 0, 0.1), (0, 1, 0.2), (1, 0, 0.3),
    ]  # fmt: skip
    assert [w.process for w in row.warm_ups] == [0, 1]
    assert row.first_call_seconds == pytest.approx(0.6)


def test_a_limit_is_taken_over(arms):
    fill(arms, pick(arms), [0.1])
    arms.ceilings(ceilings())
    assert row_of(arms, pick(arms)).limit
    assert row_of(taken_over(arms), pick(arms)).limit == row_of(arms, pick(arms)).limit


def test_energy_that_was_taken_over_keeps_its_weight(arms):
    arms.prepared(pick(arms), 0, prepared())
    for turn in range(3):
        arms.sampled(pick(arms), 0, turn, block(0.1, joules=1.0))
    later = taken_over(arms)
    later.sampled(pick(later), 1, 0, block(0.1, joules=5.0))
    assert row_of(later, pick(later)).joules_per_call == pytest.approx(2.0)


def test_the_control_of_a_case_that_failed_since_is_not_lost(arms):
    """The baseline failed and is not planned any more: its control's samples are data still."""
    fill(arms, pick(arms, "control", "torch_rnn"), [0.1, 0.2])
    later = Arms(CONFIG, [case("manual_cell")])
    later.take_over(result_of(arms))
    assert "torch_rnn" in {control.implementation for control in later.controls()}


def test_what_was_taken_over_of_a_control_that_is_not_planned_is_sampled_no_more(arms):
    fill(arms, pick(arms, "control", "torch_rnn"), [0.1, 0.2])
    later = Arms(CONFIG, [case("manual_cell")])
    later.take_over(result_of(arms))
    assert {arm.implementation for arm in later.open()} == {"manual_cell", "canary"}


def test_the_canary_of_a_device_without_open_cases_is_not_lost(arms):
    """All is timed, or has failed since: the machine's own pace is data still."""
    fill(arms, pick(arms, "canary"), [0.1, 0.2], steps=1)
    later = Arms(CONFIG, [])
    later.take_over(result_of(arms))
    assert later.canaries() == arms.canaries()
