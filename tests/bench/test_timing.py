"""Turns, processes and blame, against a worker that does as it is told."""

from collections import Counter
from itertools import islice

import pytest

from bench import clock
from bench.arms import Arms
from bench.config import RunConfig
from bench.errors import BenchError
from bench.messages import Block, DeviceWork, Prepared
from bench.remote import CaseError, WorkerLostError
from bench.schema import Case, Ceilings, Process
from bench.timing import BLAMELESS_LOSSES, Timing, describe, turns
from bench.worker import Session
from impls import GeneratorConfig

CONFIG = RunConfig(
    implementations=("torch_rnn", "manual_cell"),
    batch_sizes={"generate": (1, 2)},
    processes=3,
    rounds=2,
)
# A case has two rows; so has the control; and there is the canary.
CASES, ARMS = ("torch_rnn", "manual_cell"), 7
PREPARED = Prepared(
    steps=10, forced=(True,) * 10, first_call_seconds=0.5, seconds=0.75, windows=2, agreed=True,
    calls_per_sample=4,
)  # fmt: skip
BLOCK = Block(seconds=0.25, calls=4, throttled=False, joules_per_call=None)
CEILINGS = Ceilings(
    device="cpu", threads=1, flops_per_second=1e12, bytes_per_second=1e12,
    cached_bytes_per_second=1e12, step_seconds=None,
)  # fmt: skip
ANSWERS = {
    "prepare": PREPARED, "sample": BLOCK, "recheck": 1e-7, "ceilings": (CEILINGS, 2.0),
    "peak_memory_bytes": 4096, "device_work": DeviceWork(0.125, 9), "probe": None, "rest": None,
}  # fmt: skip


class Machine:
    """Starts workers, and remembers everything that they and the listener were told.

    ``rule(process, question, *arguments)`` may raise, or return an answer in place of the usual.
    """

    def __init__(self, rule=lambda *_: None):
        self.rule, self.asked, self.events = rule, [], []
        self.started = self.closed = self.turns = 0

    def start(self):
        self.started += 1
        return Worker(self, self.started - 1)

    def failed(self, arm, reason):
        self.events.append(("failed", arm, reason))

    def wrong(self, arm, reason):
        self.events.append(("wrong", arm, reason))

    def advance(self):
        self.turns += 1

    def save(self):
        self.events.append(("save", None, ""))

    def told(self, kind):
        return [(arm, reason) for what, arm, reason in self.events if what == kind]

    def questions(self, process):
        return [question for number, question, *_ in self.asked if number == process]


class Worker:
    def __init__(self, machine, process):
        self.machine, self.process, self.is_open = machine, process, True

    def ask(self, question, *arguments, on_tick=lambda: None):
        assert self.is_open
        self.machine.asked.append((self.process, question, *arguments))
        found = self.machine.rule(self.process, question, *arguments)
        return ANSWERS[question] if found is None else found

    def close(self):
        self.machine.closed += self.is_open
        self.is_open = False


def case(name, device):
    return Case(
        implementation=name, device=device, dtype="float32", model=GeneratorConfig(),
        task="cosine", status="pending",
    )  # fmt: skip


def timed(rule=lambda *_: None, config=CONFIG, processes=()):
    """What is known after the timing: its machine, its arms and itself."""
    machine = Machine(rule)
    arms = Arms(config, [case(n, d) for d in config.devices for n in config.implementations])
    timing = Timing(
        config, arms, machine.start, machine, processes=processes, tolerance=lambda _: 1e-5
    )
    try:
        timing.execute()
    except BenchError as error:
        return machine, arms, timing, error
    return machine, arms, timing, None


def always(question, raised, process=None, **fields):
    """A rule: at that question, of any process or of one, about such an arm, raise."""

    def rule(number, asked, *arguments):
        if asked != question or process not in (None, number):
            return
        if all(getattr(arguments[0], name) == value for name, value in fields.items()):
            raise raised

    return rule


def lost():
    return WorkerLostError("the process was ended by SIGSEGV")


def turns_of(arms, name, device="cpu"):
    """Batch size -> process and round of each sample."""
    return {
        row.batch_size: [(s.process, s.round) for s in row.samples]
        for row in arms.throughput(name, device, 128)
    }


def records_of(timing):
    return [(p.index, p.rounds, p.complete) for p in timing.processes.values()]


# The order of the turns.


def rounds_of(arms, seed, rounds=4):
    return list(islice(turns(arms, seed), rounds))


def test_turns_meet_every_arm_once_a_round_and_reverse():
    orders = rounds_of(7, (1, 0))
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert orders[1] == orders[0][::-1]
    assert orders[2] == orders[0]
    assert orders[3] == orders[1]
    assert orders[0] != sorted(orders[0])


def test_turns_go_by_the_seed_and_by_the_process():
    first = rounds_of(7, (1, 0))
    assert first == rounds_of(7, (1, 0))
    assert first != rounds_of(7, (2, 0))
    assert first != rounds_of(7, (1, 1))


def test_no_arm_has_a_place_of_its_own():
    """Over many processes every arm is met early and late alike."""
    firsts = Counter(next(turns(4, (0, process)))[0] for process in range(400))
    assert set(firsts) == {0, 1, 2, 3}
    assert min(firsts.values()) > 70


# Processes in which nothing goes wrong.


def test_every_process_warms_up_measures_takes_turns_and_rechecks():
    machine, arms, timing, _ = timed()
    assert records_of(timing) == [(n, 2, True) for n in range(3)]
    assert machine.started == machine.closed == 3
    for process in range(3):
        asked = [q for q in machine.questions(process) if q != "peak_memory_bytes"]
        assert asked == [
            *["prepare"] * ARMS, "ceilings", *["sample"] * 2 * ARMS, *["recheck"] * ARMS,
        ]  # fmt: skip
    expected = [(process, turn) for process in range(3) for turn in range(2)]
    for name in CASES:
        assert turns_of(arms, name) == {1: expected, 2: expected}
    assert not machine.told("failed")
    assert machine.turns == 3 * (ARMS + 2 * ARMS)


def test_each_process_takes_its_turns_in_another_order():
    machine, *_ = timed()
    sampled = [
        [arm for number, question, arm, *_ in machine.asked
         if (number, question) == (process, "sample")]
        for process in range(3)
    ]  # fmt: skip
    for order in sampled:
        assert order[:ARMS] == order[ARMS:][::-1]
    assert sampled[0] != sampled[1] != sampled[2] != sampled[0]


def test_every_process_is_told_its_index_for_its_own_weights():
    machine, *_ = timed()
    told = {number: set() for number in range(3)}
    for number, question, *arguments in machine.asked:
        if question == "prepare":
            told[number].add(arguments[1])
    assert told == {0: {0}, 1: {1}, 2: {2}}


def test_memory_is_measured_once_a_run_and_for_cases_alone():
    machine, arms, *_ = timed()
    asked = [(n, arm.kind) for n, question, arm, *_ in machine.asked
             if question == "peak_memory_bytes"]  # fmt: skip
    assert asked == [(0, "case")] * 4
    assert arms.throughput("torch_rnn", "cpu", 128)[0].peak_memory_bytes == 4096


def test_the_busy_seconds_are_those_of_warm_ups_ceilings_and_blocks():
    _, _, timing, _ = timed()
    for process in timing.processes.values():
        assert process.busy_seconds == pytest.approx(
            ARMS * PREPARED.seconds + 2.0 + 2 * ARMS * BLOCK.seconds * BLOCK.calls
        )


def test_the_file_is_written_after_every_round_while_nothing_is_timed():
    """Twice within a process, for its rounds, and once after it."""
    machine, *_ = timed()
    assert len(machine.told("save")) == 3 * (2 + 1)


def test_a_run_goes_on_after_the_processes_of_an_earlier_attempt():
    def old(index, complete):
        return Process(
            index=index, created_at="then", rounds=1, complete=complete, seconds=1.0,
            busy_seconds=0.5,
        )  # fmt: skip

    machine, arms, timing, _ = timed(processes=[old(0, True), old(4, False)])
    assert machine.started == 2
    assert records_of(timing) == [(0, 1, True), (4, 1, False), (5, 2, True), (6, 2, True)]
    assert turns_of(arms, "torch_rnn")[1] == [(5, 0), (5, 1), (6, 0), (6, 1)]


def test_nothing_is_left_to_do_when_enough_are_complete():
    done = [
        Process(index=n, created_at="", rounds=1, complete=True, seconds=1.0, busy_seconds=0.0)
        for n in range(3)
    ]
    machine, _, timing, _ = timed(processes=done)
    assert machine.started == 0
    assert timing.processes_left == 0


# A time budget, on a clock of the tests' own: a question takes a second.


def budgeted(monkeypatch, budget, rounds=9, seconds=0.0):
    now = [0.0]

    def rule(_, question, *__):
        now[0] += question == "sample"

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    config = CONFIG.model_copy(
        update={"time_budget": budget, "rounds": rounds, "sampling_seconds": seconds}
    )
    return timed(rule, config)


@pytest.mark.parametrize(
    ("budget", "rounds"), [(1.0, 1), (62.0, 2), (63.0, 3), (104.0, 4), (105.0, 5), (1e6, 9)]
)
def test_a_process_stops_where_one_more_round_would_pass_its_share(monkeypatch, budget, rounds):
    """A round takes seven seconds, and each of the three processes has a third of the budget."""
    machine, arms, timing, _ = budgeted(monkeypatch, budget)
    assert records_of(timing) == [(n, rounds, True) for n in range(3)]
    assert len(turns_of(arms, "manual_cell")[2]) == 3 * rounds
    assert "recheck" in machine.questions(2)


def test_without_a_budget_every_round_is_taken(monkeypatch):
    _, _, timing, _ = budgeted(monkeypatch, None)
    assert records_of(timing) == [(n, 9, True) for n in range(3)]


@pytest.mark.parametrize(
    ("seconds", "rounds"), [(0.0, 3), (21.0, 3), (21.5, 4), (28.0, 4), (28.1, 5)]
)
def test_a_short_process_takes_more_rounds_until_it_has_sampled_long_enough(
    monkeypatch, seconds, rounds
):
    machine, arms, timing, _ = budgeted(monkeypatch, None, rounds=3, seconds=seconds)
    assert records_of(timing) == [(n, rounds, True) for n in range(3)]
    assert turns_of(arms, "manual_cell")[2] == [(n, k) for n in range(3) for k in range(rounds)]
    assert machine.turns == 3 * (1 + 3) * ARMS  # what was foretold: the rest is a surprise


def test_a_time_budget_is_worth_more_than_more_rounds(monkeypatch):
    _, _, timing, _ = budgeted(monkeypatch, 104.0, rounds=3, seconds=1e6)
    assert records_of(timing) == [(n, 4, True) for n in range(3)]


def test_nothing_is_waited_for_where_no_case_is_left(monkeypatch):
    monkeypatch.setattr(clock.time, "perf_counter", lambda: 0.0)
    config = CONFIG.model_copy(update={"sampling_seconds": 1e6})
    _, arms, timing, _ = timed(always("sample", CaseError("no", "raised"), kind="case"), config)
    assert not arms.any_case_open()
    assert records_of(timing) == [(0, 1, True)]


# A worker that is lost: who did it?


def fourth_sample_of(name):
    """A rule: from its fourth sample in the first process on, it takes every worker down."""
    seen = []

    def rule(_, question, *arguments):
        if question == "sample" and arguments[0].implementation == name:
            seen.append(arguments[0])
            if len(seen) >= 4:
                raise lost()

    return rule


def test_a_lost_worker_leaves_its_samples_and_a_fresh_process_takes_over():
    machine, arms, timing, error = timed(fourth_sample_of("manual_cell"))
    assert error is None
    assert records_of(timing) == [(0, 1, False), (1, 2, True), (2, 2, True), (3, 2, True)]
    assert machine.started == machine.closed == 5  # four processes, and a worker to find out
    bad = turns_of(arms, "manual_cell")
    assert sorted([*bad[1], *bad[2]]) == [(0, 0), (0, 0), (0, 1)]
    for samples in turns_of(arms, "torch_rnn").values():
        assert samples[:1] == [(0, 0)]
        assert samples[-6:] == [(n, turn) for n in (1, 2, 3) for turn in (0, 1)]


def test_who_took_it_down_is_asked_nothing_more_and_told_why():
    machine, arms, _, _ = timed(always("sample", lost(), implementation="manual_cell"))
    [(arm, reason)] = machine.told("failed")
    assert (arm.kind, arm.implementation) == ("case", "manual_cell")
    assert reason == f"timing {describe(arm)}: the process was ended by SIGSEGV"
    assert not any(arm.implementation == "manual_cell" for arm in arms.open())
    later = [a[0] for n, _, *a in machine.asked if n > 1]  # 0 was lost, 1 found out who did it
    assert all(getattr(arm, "implementation", "") != "manual_cell" for arm in later)


def test_who_crashes_after_many_rounds_gets_as_many_when_tried_alone(monkeypatch):
    """Short processes take more rounds than were asked for; the canary's turn is when it ends."""
    now, turns_taken = [0.0], Counter()

    def rule(process, question, *arguments):
        if question != "sample":
            return
        now[0] += 1.0
        turns_taken[process, arguments[0]] += 1
        bad = [
            n
            for (p, arm), n in turns_taken.items()
            if p == process and arm.implementation == "manual_cell"
        ]
        if max(bad, default=0) >= 4 and (process > 0 or arguments[0].kind == "canary"):
            raise lost()

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    machine, *_ = timed(rule, CONFIG.model_copy(update={"sampling_seconds": 60.0}))
    [(arm, _)] = machine.told("failed")
    assert arm.implementation == "manual_cell"


def test_the_row_that_was_asked_last_is_the_one_that_is_named():
    rule = always("sample", lost(), implementation="manual_cell", batch_size=2)
    machine, *_ = timed(rule)
    [(arm, reason)] = machine.told("failed")
    assert arm.batch_size == 2
    assert reason.startswith("timing generate at batch 2: ")


def test_who_crashes_late_is_found_by_trying_everyone_alone():
    """It is somebody else's turn when it happens: nobody is blamed for having been asked last."""
    poisoned = set()

    def rule(worker, question, *arguments):
        if worker in poisoned:
            raise lost()
        if question == "sample" and arguments[0].implementation == "manual_cell":
            poisoned.add(worker)

    machine, arms, timing, error = timed(rule)
    assert error is None
    assert {arm.implementation for arm, _ in machine.told("failed")} == {"manual_cell"}
    assert [p.complete for p in timing.processes.values()] == [False, True, True, True]
    assert all(len(samples) >= 6 for samples in turns_of(arms, "torch_rnn").values())


def test_a_crash_that_comes_when_all_is_quiet_is_waited_for():
    seen = set()

    def rule(worker, question, *arguments):
        if question == "sample" and arguments[0].implementation == "manual_cell":
            seen.add(worker)
        if question == "rest" and worker in seen:
            raise lost()
        if question == "recheck" and worker == 0:
            raise lost()

    machine, *_ = timed(rule)
    assert {arm.implementation for arm, _ in machine.told("failed")} == {"manual_cell"}


def test_the_reason_is_how_the_worker_ended_that_had_it_alone():
    """What was lost before may have been somebody else's doing, in other words."""

    def rule(worker, question, *arguments):
        if worker == 0 and question == "ceilings":
            raise WorkerLostError("the process was ended by SIGBUS")
        if worker and question == "sample" and arguments[0].implementation == "torch_rnn":
            raise lost()

    machine, *_ = timed(rule)
    [(arm, reason)] = machine.told("failed")
    assert arm.implementation == "torch_rnn"
    assert reason.endswith(": the process was ended by SIGSEGV")


def test_everyone_is_tried_alone_with_its_control_for_all_rounds_and_then_rests():
    machine, *_ = timed(always("ceilings", lost(), process=0))
    for worker, arms in ((1, 4), (2, 2)):  # the baseline has its control's two rows beside
        one = ["prepare", *["sample"] * CONFIG.rounds]
        assert machine.questions(worker) == [*one * arms, "rest"]


def test_what_is_tried_alone_is_no_sample():
    machine, arms, timing, _ = timed(always("ceilings", lost(), process=0))
    assert machine.started == 3 + 1 + len(CASES)
    assert [p.index for p in timing.processes.values() if p.complete] == [1, 2, 3]
    expected = [(n, turn) for n in (1, 2, 3) for turn in (0, 1)]
    assert turns_of(arms, "torch_rnn") == {1: expected, 2: expected}


def test_an_error_while_it_is_tried_alone_is_no_crash():
    def rule(worker, question, *arguments):
        if question == "ceilings" and worker == 0:
            raise lost()
        if worker in (1, 2) and question == "sample":
            raise CaseError("MemoryError", "raised")

    machine, _, timing, error = timed(rule)
    assert error is None
    assert not machine.told("failed")
    assert sum(p.complete for p in timing.processes.values()) == 3


@pytest.mark.parametrize("question", ["peak_memory_bytes", "recheck"])
def test_who_was_asked_last_for_the_second_time_is_to_blame(question):
    """Alone nothing happened, but twice is no accident."""
    rule = always(question, lost(), kind="case", implementation="manual_cell", batch_size=2)
    machine, arms, timing, error = timed(rule)
    assert error is None
    assert [p.complete for p in timing.processes.values()] == [False] * 2 + [True] * 3
    [(arm, _)] = machine.told("failed")
    assert (arm.implementation, arm.batch_size) == ("manual_cell", 2)
    assert all(len(samples) >= 6 for samples in turns_of(arms, "torch_rnn").values())


def test_an_accident_costs_one_process_and_nobody_is_blamed():
    machine, arms, timing, error = timed(
        always("sample", lost(), process=0, kind="case", implementation="manual_cell")
    )
    assert error is None
    assert not machine.told("failed")
    assert [p.complete for p in timing.processes.values()] == [False, True, True, True]
    assert all(len(s) >= 6 for name in CASES for s in turns_of(arms, name).values())


def test_who_had_to_be_ended_is_to_blame_at_once():
    """Trying everybody alone would take as long again as the limit is."""
    hung = WorkerLostError("no sign of life for 600 s", hung=True)
    machine, _, timing, _ = timed(always("sample", hung, implementation="manual_cell"))
    assert machine.started == 4
    assert [p.complete for p in timing.processes.values()] == [False, True, True, True]
    [(arm, reason)] = machine.told("failed")
    assert arm.implementation == "manual_cell"
    assert reason == f"timing {describe(arm)}: no sign of life for 600 s"


def test_many_that_take_their_process_down_are_all_blamed():
    """Each costs one process, however many there are; no one gives the run up."""
    names = ("torch_rnn", "torch_cell", "manual_cell", "fourth", "fifth")
    config = CONFIG.model_copy(update={"implementations": names, "processes": 1})

    def rule(_, question, *arguments):
        if question == "prepare" and arguments[0].implementation in names[:4]:
            raise lost()

    machine, arms, timing, error = timed(rule, config)
    assert error is None
    assert [p.complete for p in timing.processes.values()] == [False] * 4 + [True]
    assert [arm.implementation for arm, _ in machine.told("failed")] == list(names[:4])
    assert len(turns_of(arms, "fifth")[1]) == 2


def test_when_no_case_is_left_there_is_nothing_to_find_out():
    machine, _, timing, error = timed(always("prepare", lost(), kind="case"))
    assert error is None
    assert machine.started == machine.closed == 4
    assert [p.complete for p in timing.processes.values()] == [False, False]


def test_a_control_that_takes_its_process_down_is_its_cases_fault():
    """It is the same implementation: what it did, it would do again."""
    machine, arms, timing, error = timed(always("sample", lost(), kind="control"))
    assert error is None
    assert [p.complete for p in timing.processes.values()] == [False, True, True, True]
    assert [(arm.kind, arm.implementation) for arm, _ in machine.told("failed")] == [
        ("case", "torch_rnn")
    ]
    assert all(len(samples) >= 6 for samples in turns_of(arms, "manual_cell").values())


# Losses that no case is to blame for.


def test_a_canary_that_is_lost_is_no_cases_fault():
    machine, arms, timing, error = timed(always("sample", lost(), process=0, kind="canary"))
    assert error is None
    assert [p.complete for p in timing.processes.values()] == [False, True, True, True]
    assert not machine.told("failed")
    assert all(len(s) >= 6 for name in CASES for s in turns_of(arms, name).values())
    assert len(arms.canaries()[0].samples) >= 6


@pytest.mark.parametrize("question", ["prepare", "sample"])
def test_a_canary_that_is_lost_again_and_again_ends_the_run(question):
    """What takes a plain product down takes everything down."""
    machine, _, timing, error = timed(always(question, lost(), kind="canary"))
    assert str(error) == "the worker process keeps ending: the process was ended by SIGSEGV"
    assert [p.complete for p in timing.processes.values()] == [False] * 3
    assert not machine.told("failed")
    assert machine.started == machine.closed


def losing_ceilings(times):
    """A rule: the first workers of so many processes are lost at the ceilings."""
    processes = []

    def rule(worker, question, *_):
        if question == "ceilings":
            processes.append(worker)
            if len(processes) <= times:
                raise lost()

    return rule


def test_two_blameless_losses_cost_two_processes():
    assert BLAMELESS_LOSSES == 3
    machine, _, timing, error = timed(losing_ceilings(2))
    assert error is None
    assert [p.complete for p in timing.processes.values()] == [False] * 2 + [True] * 3
    assert not machine.told("failed")


def test_three_blameless_losses_end_the_run():
    machine, _, timing, error = timed(losing_ceilings(99))
    assert str(error) == "the worker process keeps ending: the process was ended by SIGSEGV"
    assert machine.started == machine.closed == 3 * (1 + len(CASES))
    assert records_of(timing) == [(n, 0, False) for n in range(3)]


def test_a_loss_that_found_its_culprit_counts_no_more():
    """Twice manual_cell, which was blamed then; an accident after that is the first."""
    rule_, accidents = always("recheck", lost(), kind="case", implementation="manual_cell"), []

    def rule(worker, question, *arguments):
        rule_(worker, question, *arguments)
        if question == "recheck" and len(accidents) < 1 and worker > 4:
            accidents.append(worker)
            raise lost()

    assert timed(rule)[3] is None


def test_the_machine_that_cannot_be_measured_ends_the_run():
    rule = always("ceilings", CaseError("RuntimeError: no BLAS", "raised"))
    machine, _, _, error = timed(rule)
    assert str(error) == "cannot measure the machine itself: RuntimeError: no BLAS"
    assert machine.started == machine.closed == 1


def test_ceilings_can_be_left_out():
    machine = Machine()
    arms = Arms(CONFIG, [case("torch_rnn", "cpu")])
    Timing(
        CONFIG, arms, machine.start, machine, tolerance=lambda _: 1e-5, with_ceilings=False
    ).execute()
    assert "ceilings" not in {question for _, question, *_ in machine.asked}
    assert arms.throughput("torch_rnn", "cpu", 128)[0].limit is None


def test_an_interruption_closes_the_worker_and_goes_through():
    machine = Machine(always("sample", KeyboardInterrupt(), kind="canary"))
    arms = Arms(CONFIG, [case("torch_rnn", "cpu")])
    timing = Timing(CONFIG, arms, machine.start, machine, tolerance=lambda _: 1e-5)
    with pytest.raises(KeyboardInterrupt):
        timing.execute()
    assert machine.started == machine.closed == 1
    assert records_of(timing) == [(0, 0, False)]


def test_an_interruption_while_one_is_tried_alone_closes_that_worker_too():
    def rule(worker, question, *_):
        if worker == 0 and question == "ceilings":
            raise lost()
        if worker == 1:
            raise KeyboardInterrupt

    machine = Machine(rule)
    arms = Arms(CONFIG, [case("torch_rnn", "cpu")])
    with pytest.raises(KeyboardInterrupt):
        Timing(CONFIG, arms, machine.start, machine, tolerance=lambda _: 1e-5).execute()
    assert machine.started == machine.closed == 2


# Errors that the worker survives.


def out_of_memory():
    return CaseError("MemoryError", "raised")


@pytest.mark.parametrize("question", ["prepare", "peak_memory_bytes", "sample", "recheck"])
def test_an_error_ends_one_row_and_the_process_goes_on(question):
    rule = always(question, out_of_memory(), kind="case", batch_size=2, implementation="torch_rnn")
    machine, arms, timing, _ = timed(rule)
    assert records_of(timing) == [(n, 2, True) for n in range(3)]
    [(_, reason)] = machine.told("failed")
    assert reason == "timing generate at batch 2: MemoryError"
    assert turns_of(arms, "torch_rnn")[1] == turns_of(arms, "manual_cell")[2]
    assert len(turns_of(arms, "torch_rnn").get(2, [])) == {"sample": 0, "recheck": 2}.get(
        question, 0
    )
    assert not any(q == "probe" for _, q, *_ in machine.asked)


def test_an_error_of_ours_speaks_for_itself():
    rule = always("prepare", CaseError("diverged", "told"), kind="case", batch_size=2)
    machine, *_ = timed(rule)
    assert [reason for _, reason in machine.told("failed")] == ["diverged", "diverged"]


# On a GPU an error may be the end of the process, without ending it.

ON_CUDA = CONFIG.model_copy(update={"devices": ("cuda",), "processes": 2})


def illegal_access(dead):
    """A rule: one row fails; from then on the process's GPU is dead, or as good as before."""

    def rule(process, question, *arguments):
        if question == "probe" and dead:
            raise CaseError("RuntimeError: illegal memory access", "raised")
        if question == "ceilings":
            return CEILINGS.model_copy(update={"device": "cuda"}), 2.0
        if question == "sample" and (
            arguments[0].kind, arguments[0].implementation, arguments[0].batch_size,
        ) == ("case", "manual_cell", 2):  # fmt: skip
            raise CaseError("RuntimeError: illegal memory access", "raised")
        return None

    return rule


def test_a_gpu_that_still_answers_costs_one_row():
    machine, arms, timing, error = timed(illegal_access(dead=False), ON_CUDA)
    assert error is None
    assert [arguments for _, q, *arguments in machine.asked if q == "probe"] == [["cuda"]]
    assert records_of(timing) == [(0, 2, True), (1, 2, True)]
    assert turns_of(arms, "manual_cell", "cuda") == {1: turns_of(arms, "torch_rnn", "cuda")[1]}


def test_a_gpu_that_no_longer_answers_costs_the_process_and_the_case():
    machine, arms, timing, error = timed(illegal_access(dead=True), ON_CUDA)
    assert error is None
    assert records_of(timing) == [(0, 0, False), (1, 2, True), (2, 2, True)]
    assert {arm.implementation for arm, _ in machine.told("failed")} == {"manual_cell"}
    later = [arguments[0] for n, _, *arguments in machine.asked if n > 0]
    assert all(getattr(arm, "implementation", "") != "manual_cell" for arm in later)
    assert all(len(cell) >= 4 for cell in turns_of(arms, "torch_rnn", "cuda").values())


def test_a_gpu_that_dies_of_every_case_is_no_reason_to_give_up():
    names = ("one", "two", "three", "four", "torch_rnn")
    config = ON_CUDA.model_copy(update={"implementations": names, "processes": 1})

    def rule(_, question, *arguments):
        if question == "ceilings":
            return CEILINGS.model_copy(update={"device": "cuda"}), 2.0
        honest = question != "prepare" or arguments[0].implementation in ("torch_rnn", "canary")
        if honest and question != "probe":
            return None
        raise CaseError("RuntimeError: illegal memory access", "raised")

    machine, _, timing, error = timed(rule, config)
    assert error is None
    assert [p.complete for p in timing.processes.values()] == [False] * 4 + [True]
    assert {arm.implementation for arm, _ in machine.told("failed")} == set(names[:4])


def test_a_gpu_that_hangs_when_probed_is_the_cases_fault_too():
    honest = illegal_access(dead=False)

    def rule(process, question, *arguments):
        if question == "probe":
            raise WorkerLostError("no sign of life for 600 s")
        return honest(process, question, *arguments)

    machine, *_ = timed(rule, ON_CUDA)
    later = [arguments[0] for n, _, *arguments in machine.asked if n > 0]
    assert all(getattr(arm, "implementation", "") != "manual_cell" for arm in later)


# What the GPU itself did: asked last of all.


def on_cuda(rule=lambda *_: None, config=ON_CUDA):
    def with_ceilings(process, question, *arguments):
        if question == "ceilings":
            return CEILINGS.model_copy(update={"device": "cuda"}), 2.0
        return rule(process, question, *arguments)

    return timed(with_ceilings, config)


def profiled(arms, name):
    return [row.device_operations for row in arms.throughput(name, "cuda", 128)]


def test_a_device_is_asked_once_a_run_for_cases_alone_when_all_else_is_done():
    """A profiler that was on slows down what is timed afterwards."""
    machine, arms, timing, _ = on_cuda()
    first = machine.questions(0)
    assert first[-4:] == ["device_work"] * 4
    assert first.count("device_work") == 4
    assert "device_work" not in machine.questions(1)
    kinds = {arguments[0].kind for _, q, *arguments in machine.asked if q == "device_work"}
    assert kinds == {"case"}
    assert profiled(arms, "torch_rnn") == profiled(arms, "manual_cell") == [9, 9]
    assert arms.controls()[0].throughput[0].device_seconds is None
    assert records_of(timing) == [(0, 2, True), (1, 2, True)]


def test_all_that_is_asked_here_is_what_a_real_worker_answers():
    assert all(callable(getattr(Session, question)) for question in ANSWERS)


def test_on_the_cpu_no_device_is_asked():
    machine, *_ = timed()
    assert not any(question == "device_work" for _, question, *_ in machine.asked)


def test_an_error_while_it_is_profiled_is_the_cases_and_its_times_stay():
    rule = always(
        "device_work", CaseError("MemoryError", "raised"), implementation="manual_cell",
        batch_size=1,
    )  # fmt: skip
    machine, arms, timing, error = on_cuda(rule)
    assert error is None
    [(arm, reason)] = machine.told("failed")
    assert arm.implementation == "manual_cell"
    assert reason == "timing generate at batch 1: MemoryError"
    assert [arm for _, q, *arguments in machine.asked if q == "probe" for arm in arguments] == [
        "cuda"
    ]
    assert profiled(arms, "manual_cell") == [None, 9]
    assert len(turns_of(arms, "manual_cell", "cuda")[1]) == 2
    assert records_of(timing) == [(0, 2, True), (1, 2, True)]


def test_other_work_while_it_is_profiled_costs_all_times():
    rule = always(
        "device_work", CaseError("set the number of threads", "wrong"), implementation="manual_cell"
    )
    machine, *_ = on_cuda(rule)
    assert {arm.implementation for arm, _ in machine.told("wrong")} == {"manual_cell"}
    assert machine.questions(0).count("device_work") == 3  # its second row is closed


@pytest.mark.parametrize("hung", [False, True])
def test_a_worker_that_is_lost_to_the_profiler_is_nobodys_fault_and_its_process_counts(hung):
    rule = always(
        "device_work", WorkerLostError("SIGSEGV", hung=hung), implementation="manual_cell"
    )
    machine, arms, timing, error = on_cuda(rule)
    assert error is None
    assert not machine.told("failed")
    assert machine.started == machine.closed == 2
    assert records_of(timing) == [(0, 2, True), (1, 2, True)]
    assert "device_work" not in machine.questions(1)  # once is enough
    assert profiled(arms, "torch_rnn") == [9, 9]
    assert profiled(arms, "manual_cell") == [None, None]


def test_a_gpu_that_dies_while_it_is_profiled_costs_the_case_and_no_process():
    def rule(_, question, *arguments):
        if question == "probe" or (
            question == "device_work" and arguments[0].implementation == "manual_cell"
        ):
            raise CaseError("RuntimeError: illegal memory access", "raised")

    machine, _, timing, error = on_cuda(rule)
    assert error is None
    assert [arm.implementation for arm, _ in machine.told("failed")] == ["manual_cell"]
    assert records_of(timing) == [(0, 2, True), (1, 2, True)]


def test_a_process_whose_busy_time_is_told_was_over_before_the_profiler(monkeypatch):
    now = [0.0]

    def rule(_, question, *__):
        now[0] += 1000.0 if question == "device_work" else 1.0

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    _, _, timing, _ = on_cuda(rule)
    assert timing.processes[0].seconds < 1000.0


# What was computed while it was timed.


def recheck_of(name, error):
    def rule(process, question, *arguments):
        if question == "recheck" and (arguments[0].implementation, arguments[0].kind) == (
            name, "case",
        ):  # fmt: skip
            return error
        return None

    return rule


@pytest.mark.parametrize("error", [1.1e-5, 0.5, float("inf"), float("nan")])
def test_timed_work_that_was_wrong_ends_the_case(error):
    machine, _, timing, _ = timed(recheck_of("manual_cell", error))
    [(arm, reason)] = machine.told("wrong")
    assert arm.implementation == "manual_cell"
    assert reason == f"{describe(arm)}: error {error:.1e} of the timed work"
    assert records_of(timing) == [(n, 2, True) for n in range(3)]
    later = [arguments[0] for n, _, *arguments in machine.asked if n > 0]
    assert all(getattr(arm, "implementation", "") != "manual_cell" for arm in later)


def test_timed_work_within_the_tolerance_is_right_and_its_error_kept():
    machine, arms, *_ = timed(recheck_of("manual_cell", 1e-5))
    assert not machine.told("wrong")
    assert {row.output_error for row in arms.throughput("manual_cell", "cpu", 128)} == {1e-5}
    assert {row.output_error for row in arms.throughput("torch_rnn", "cpu", 128)} == {1e-7}


def test_every_process_is_rechecked_and_the_largest_error_counts():
    def rule(process, question, *_):
        return {0: 1e-9, 1: 9e-6, 2: 1e-8}[process] if question == "recheck" else None

    _, arms, *_ = timed(rule)
    assert {row.output_error for row in arms.throughput("torch_rnn", "cpu", 128)} == {9e-6}


def test_inputs_that_were_changed_while_the_clock_ran_cost_all_times():
    rule = always(
        "recheck", CaseError("the inputs were changed", "wrong"),
        kind="case", implementation="manual_cell",
    )  # fmt: skip
    machine, *_ = timed(rule)
    assert {arm.implementation for arm, _ in machine.told("wrong")} == {"manual_cell"}


def test_what_cannot_be_checked_is_not_wrong(monkeypatch):
    """Where dropout is random, there is nothing to compare with."""
    monkeypatch.setitem(ANSWERS, "recheck", None)
    machine, arms, timing, _ = timed()
    assert not machine.told("wrong")
    assert {row.output_error for row in arms.throughput("torch_rnn", "cpu", 128)} == {None}
    assert records_of(timing) == [(n, 2, True) for n in range(3)]


def test_a_row_is_named_in_words():
    _, arms, *_ = timed(config=CONFIG.model_copy(update={"batch_sizes": {"train_step": (1000,)}}))
    assert {describe(arm) for arm in arms.open() if arm.kind == "case"} == {
        "train_step at batch 1,000"
    }
