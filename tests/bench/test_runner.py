"""A run from end to end, small; and what goes wrong in one case leaves the others whole.

The worker is `Inline`, in this process: fast, and open to what a test puts in the place of a part.
"""

import json
import re
from typing import ClassVar

import pytest
import torch

from bench import (
    ceilings,
    compare,
    environment,
    export,
    measure,
    observed,
    parity,
    plots,
    records,
    runner,
    tables,
    worker,
    workloads,
)
from bench.config import EvaluationConfig, RunConfig
from bench.errors import BenchError
from bench.remote import CaseError, Inline, WorkerLostError
from impls import REGISTRY, Entry, GeneratorConfig

SMALL = RunConfig(
    implementations=("torch_rnn", "manual_cell"),
    model=GeneratorConfig(hidden_size=6),
    iterations=4,
    processes=2,
    rounds=2,
    batch_sizes={"generate": (1, 3), "train_step": (2,)},
    evaluation=EvaluationConfig(sequences=7, points=120, warm_up=100),
)
ROWS = [("generate", 1), ("generate", 3), ("train_step", 2)]
TURNS = [(process, turn) for process in range(2) for turn in range(2)]
BASELINE = REGISTRY["torch_rnn"]
STAGES = ["parity", "training torch_rnn", "training manual_cell", "timing"]


@pytest.fixture(autouse=True, scope="module")
def fast():
    """Less of everything that takes time: points, windows, products, waiting for a disk."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(records.os, "fsync", lambda _: None)
        # Somebody may commit meanwhile; and git is slow.
        monkeypatch.setattr(environment, "_git", lambda: ("c0ffee", False))
        monkeypatch.setattr(parity, "SHAPES", ((1, 3), (23, 5)))
        monkeypatch.setattr(worker, "peak_memory_bytes", lambda *_: 4096)
        monkeypatch.setattr(workloads, "LONG_POINTS", 103)
        monkeypatch.setattr(workloads, "SHORT_POINTS", 30)
        monkeypatch.setattr(measure, "WINDOW_SECONDS", 0.002)
        monkeypatch.setattr(measure, "SHORTEST_BLOCK_SECONDS", 0.001)
        monkeypatch.setattr(measure, "LONGEST_WARM_UP_SECONDS", 0.02)
        monkeypatch.setattr(ceilings, "PRODUCT_SIZES", (64,))
        monkeypatch.setattr(ceilings, "LARGE_COPY_BYTES", 1 << 21)
        yield


class Watcher:
    """Progress that remembers, and may do something at a stage."""

    def __init__(self, at=None, action=None, after=1):
        self.stages, self.notes, self.steps = [], [], 0
        self.at, self.action, self.after = at, action, after

    def start(self, stage, total):
        self.stages.append((stage, total))
        self.steps = 0

    def advance(self):
        self.steps += 1
        if self.at and self.stages[-1][0].startswith(self.at) and self.steps == self.after:
            self.action()

    def note(self, text):
        self.notes.append(text)


class Losing(Inline):
    """A worker that is lost whenever ``loses(question, *arguments)``."""

    loses = staticmethod(lambda *_: False)

    def ask(self, question, *arguments, **options):
        if self.loses(question, *arguments):
            raise WorkerLostError("the process was ended by SIGSEGV")
        return super().ask(question, *arguments, **options)


def lost_at(loses):
    """Starts workers that are lost whenever ``loses(question, *arguments)``."""
    return type("Lost", (Losing,), {"loses": staticmethod(loses)})


def interrupt():
    raise KeyboardInterrupt


def execute(config, path, watcher=None, **options):
    return runner.run(config, path, watcher or Watcher(), **({"start": Inline} | options))


def changed(**fields):
    return SMALL.model_copy(update=fields)


def with_liar(name):
    return changed(implementations=("torch_rnn", name, "manual_cell"))


def cell(row):
    return row.workload, row.batch_size


def turns_of(samples):
    return [(sample.process, sample.round) for sample in samples]


def others_are_whole(result):
    others = [case for case in result.cases if case.implementation in ("torch_rnn", "manual_cell")]
    assert len(others) == 2
    for case in others:
        assert case.status == "ok"
        assert case.accuracy
        assert [cell(row) for row in case.throughput] == ROWS


# A whole run.


@pytest.fixture(scope="module")
def whole(fast, tmp_path_factory):
    """One run that several tests look at: its result, its file, and what it told."""
    path, watcher = tmp_path_factory.mktemp("run") / "r.json", Watcher()
    return execute(SMALL, path, watcher), path, watcher


def test_a_whole_run_is_on_disk(whole):
    result, path, watcher = whole
    assert records.load(path) == result
    assert set(path.parent.iterdir()) == {path, path.with_suffix("")}
    left = {file.name for file in path.with_suffix("").iterdir()}
    assert left == {f"weights_{case.implementation}_cpu.safetensors" for case in result.cases}
    assert [case.key for case in result.cases] == [
        ("torch_rnn", "cpu", 6),
        ("manual_cell", "cpu", 6),
    ]
    assert result.cases[0].weights_digest == result.cases[1].weights_digest
    assert result.baselines["zero"].mse_mean > result.baselines["recurrence"].mse_mean
    assert not watcher.notes


def test_every_case_of_a_whole_run_has_everything(whole):
    for case in whole[0].cases:
        assert case.status == "ok"
        assert case.parity.passed
        assert len(case.training.loss) == case.training.iterations == 4
        assert len(case.accuracy.mse_per_sequence) == 7
        assert len(case.accuracy.mse_per_step) == 19
        assert [cell(row) for row in case.throughput] == ROWS
        for row in case.throughput:
            assert turns_of(row.samples) == TURNS
            assert [warm_up.process for warm_up in row.warm_ups] == [0, 1]
            assert row.first_call_seconds > 0
            assert 0 < row.output_error < 1e-5
            assert row.peak_memory_bytes == 4096
            assert row.limit.seconds < min(sample.seconds for sample in row.samples)


def test_rates_are_made_of_the_samples(whole):
    for case in whole[0].cases:
        for row in case.throughput:
            work = row.steps * row.batch_size
            rates = [work / sample.seconds for sample in row.samples]
            found = row.steps_per_second
            assert min(rates) <= found.estimate <= max(rates)
            assert found.low < found.estimate < found.high


def test_the_a_a_control_and_the_canary_take_their_turns(whole):
    result = whole[0]
    [control] = result.controls
    assert (control.implementation, control.device) == ("torch_rnn", "cpu")
    assert [cell(row) for row in control.throughput] == ROWS
    own = result.cases[0].throughput
    for row, twin in zip(control.throughput, own, strict=True):
        assert turns_of(row.samples) == TURNS
        assert row.samples != twin.samples
    [canary] = result.canaries
    assert canary.device == "cpu"
    assert turns_of(canary.samples) == TURNS


def test_every_process_and_the_machine_itself_are_on_record(whole):
    result = whole[0]
    assert [(p.index, p.rounds, p.complete) for p in result.processes] == [
        (0, 2, True), (1, 2, True),
    ]  # fmt: skip
    assert all(0 < p.busy_seconds < p.seconds for p in result.processes)
    [found] = result.ceilings
    assert found.device == "cpu"
    assert found.flops_per_second > 1e8


def test_the_stages_add_up(whole):
    """Ten arms: two cases and the control with three rows each, and the canary."""
    watcher = whole[2]
    assert watcher.stages == [
        ("parity", 2), ("training torch_rnn on cpu", 4), ("training manual_cell on cpu", 4),
        ("timing", 2 * (10 + 2 * 10)),
    ]  # fmt: skip
    assert watcher.steps == 60


def test_the_control_is_the_first_there_is_where_the_baseline_is_not(tmp_path):
    config = changed(implementations=("manual_cell",), processes=1, rounds=1)
    [control] = execute(config, tmp_path / "r.json").controls
    assert control.implementation == "manual_cell"


def test_the_settings_reach_the_work(tmp_path):
    threads = []
    watcher = Watcher("training", lambda: threads.append(torch.get_num_threads()))
    config = changed(
        threads=(2,),
        dtype="float64",
        seed=3,
        processes=1,
        rounds=1,
        implementations=("manual_cell",),
    )
    result = execute(config, tmp_path / "r.json", watcher)
    assert set(threads) == {2}
    assert result.environment.threads == 2
    assert result.cases[0].parity.tolerance == 1e-10
    assert result.cases[0].throughput[0].output_error < 1e-10
    assert result.cases[0].training.seed == 3


@pytest.mark.parametrize(("budget", "rounds"), [(1e-6, 1), (1e6, 3)])
def test_a_time_budget_costs_rounds_but_no_process(budget, rounds, tmp_path):
    config = changed(time_budget=budget, rounds=3, batch_sizes={"train_step": (1,)})
    result = execute(config, tmp_path / "r.json")
    assert [(p.rounds, p.complete) for p in result.processes] == [(rounds, True)] * 2
    for case in result.cases:
        assert case.status == "ok"
        assert len(case.throughput[0].samples) == 2 * rounds


def test_random_gradients_are_recorded_as_not_checked(tmp_path):
    model = GeneratorConfig(hidden_size=6, num_layers=2, dropout=0.5)
    result = execute(changed(model=model, processes=1, rounds=1), tmp_path / "r.json")
    errors = {row.workload: row.output_error for row in result.cases[0].throughput}
    assert errors["train_step"] is None
    assert 0 < errors["generate"] < 1e-5


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = changed(processes=1, rounds=1, implementations=("manual_cell",))
    assert execute(config, None).cases[0].status == "ok"
    assert list(tmp_path.iterdir()) == []


# Parity alone.


def check(config):
    watcher = Watcher()
    return runner.Run(config, None, watcher, start=Inline).check().cases, watcher


def test_a_check_is_parity_and_neither_training_nor_timing():
    cases, watcher = check(SMALL)
    assert [case.status for case in cases] == ["ok", "ok"]
    assert all(case.parity.passed and not case.training and not case.throughput for case in cases)
    assert watcher.stages == [("parity", 2)]


def test_a_check_names_the_one_that_is_wrong(register):
    cases, watcher = check(with_liar(register("detached_feedback")))
    assert [case.status for case in cases] == ["ok", "failed", "ok"]
    assert cases[1].reason.startswith("parity: gradient error")
    assert len(watcher.notes) == 1


# One bad case leaves the others whole.


@pytest.mark.parametrize(
    ("liar", "reason"),
    [
        ("detached_feedback", "parity: gradient error"),
        ("explodes", "training: RuntimeError: out of kernels"),
        ("diverges", "training diverged: the loss of iteration 2 is nan"),
        ("lazy_when_long", r"generate at batch \d: error .* of the timed work"),
    ],
)
def test_one_bad_case_leaves_the_others_whole(liar, reason, register, tmp_path, monkeypatch):
    monkeypatch.setattr(workloads, "LONG_POINTS", 601)  # the lazy one is honest up to 500
    watcher = Watcher()
    config = with_liar(register(liar)).model_copy(update={"processes": 1, "rounds": 1})
    result = execute(config, tmp_path / "r.json", watcher)
    others_are_whole(result)
    bad = next(case for case in result.cases if case.implementation == liar)
    assert bad.status == "failed"
    assert re.search(reason, bad.reason)
    assert bad.throughput == ()
    assert len(watcher.notes) == bad.reason.count("; ") + 1
    assert watcher.notes[0].startswith(f"{liar} on cpu failed: ")


def test_what_fails_parity_is_neither_trained_nor_timed(register, tmp_path):
    watcher = Watcher()
    config = with_liar(register("detached_feedback"))
    config = config.model_copy(update={"processes": 1, "rounds": 1})
    result = execute(config, tmp_path / "r.json", watcher)
    bad = result.cases[1]
    assert bad.training is None
    assert bad.accuracy is None
    assert bad.parity.gradient_error > bad.parity.tolerance
    assert not any("detached" in stage for stage, _ in watcher.stages)


def test_an_unsupported_case_keeps_its_row(monkeypatch, tmp_path):
    from impls.torch_rnn import TorchRNN

    monkeypatch.setattr(TorchRNN, "unsupported", classmethod(lambda *_: "needs a moon"))
    result = execute(changed(processes=1, rounds=1), tmp_path / "r.json")
    assert (result.cases[0].status, result.cases[0].reason) == ("unsupported", "needs a moon")
    assert result.cases[0].parity is None
    assert result.cases[0].throughput == ()
    assert result.cases[1].status == "ok"
    assert [control.implementation for control in result.controls] == ["manual_cell"]


def test_a_case_that_cannot_even_be_planned_leaves_the_others_whole(monkeypatch, tmp_path):
    def broken(*_):
        raise RuntimeError("no driver")

    from impls.torch_cell import TorchCell

    monkeypatch.setattr(TorchCell, "unsupported", classmethod(broken))
    config = with_liar("torch_cell").model_copy(update={"processes": 1, "rounds": 1})
    others_are_whole(execute(config, tmp_path / "r.json"))


@pytest.mark.parametrize("stage", ["prepare", "sample"])
def test_a_row_that_fails_leaves_the_cases_other_rows(stage, tmp_path):
    """One batch size too large for the memory must not cost the times of the others."""

    class Fragile(Inline):
        def ask(self, question, *arguments, **options):
            if question == stage and arguments[0].batch_size == 3 and arguments[0].kind == "case":
                raise CaseError("MemoryError", "raised")
            return super().ask(question, *arguments, **options)

    result = execute(SMALL, tmp_path / "r.json", start=Fragile)
    for case in result.cases:
        assert (case.status, case.reason) == ("failed", "timing generate at batch 3: MemoryError")
        assert [cell(row) for row in case.throughput] == [("generate", 1), ("train_step", 2)]
        assert all(turns_of(row.samples) == TURNS for row in case.throughput)
    assert [cell(row) for row in result.controls[0].throughput] == ROWS


def test_a_control_that_fails_is_a_note_and_no_cases_fault(tmp_path):
    class Fragile(Inline):
        def ask(self, question, *arguments, **options):
            if question == "sample" and arguments[0].kind == "control":
                raise CaseError("MemoryError", "raised")
            return super().ask(question, *arguments, **options)

    watcher = Watcher()
    result = execute(changed(processes=1), tmp_path / "r.json", watcher, start=Fragile)
    others_are_whole(result)
    assert result.controls == ()
    assert watcher.notes[0].startswith("control torch_rnn on cpu: timing ")


@pytest.mark.parametrize("question", ["parity", "weights_digest", "train", "accuracy"])
def test_a_lost_worker_before_the_timing_costs_one_case(question, tmp_path):
    started = []

    def manual(asked, *arguments):
        started_training = asked == "train" and arguments[0].implementation
        started.extend([started_training] if started_training else [])
        if asked == "accuracy":
            return question == asked and started[-1] == "manual_cell"
        return asked == question and arguments[0].implementation == "manual_cell"

    config = changed(
        implementations=("torch_rnn", "manual_cell", "torch_cell"), processes=1, rounds=1,
        batch_sizes={"train_step": (1,)},
    )  # fmt: skip
    result = execute(config, tmp_path / "r.json", start=lost_at(manual))
    assert [case.status for case in result.cases] == ["ok", "failed", "ok"]
    assert [len(case.throughput) for case in result.cases] == [1, 0, 1]
    stage = "parity" if question == "parity" else "training"
    assert result.cases[1].reason == f"{stage}: the process was ended by SIGSEGV"
    assert [p.complete for p in result.processes] == [True]


def test_a_lost_worker_in_the_timing_costs_one_case_and_keeps_the_samples(tmp_path):
    def second_round(question, *arguments):
        if question == "sample" and arguments[0].implementation == "manual_cell":
            asked.append(arguments)
            return len(asked) >= 4
        return False

    asked = []
    result = execute(SMALL, tmp_path / "r.json", start=lost_at(second_round))
    good, bad = result.cases
    assert (good.status, bad.status) == ("ok", "failed")
    assert re.fullmatch(r"timing \w+ at batch \d: the process was ended by SIGSEGV", bad.reason)
    assert [(p.index, p.rounds, p.complete) for p in result.processes] == [
        (0, 1, False), (1, 2, True), (2, 2, True),
    ]  # fmt: skip
    for row in bad.throughput:
        assert turns_of(row.samples) == [(0, 0)]
    for row in good.throughput:
        assert turns_of(row.samples)[-4:] == [(1, 0), (1, 1), (2, 0), (2, 1)]
        assert row.samples[0].process == 0


def test_times_that_nothing_real_could_reach_are_no_times(tmp_path, monkeypatch):
    """Where an addition takes a second, everybody is too fast."""
    honest = ceilings.measure_ceilings

    def slow(*arguments):
        found = honest(*arguments)
        return found.model_copy(update={"step_seconds": 1.0})

    monkeypatch.setattr(ceilings, "measure_ceilings", slow)
    result = execute(changed(processes=1), tmp_path / "r.json")
    for case in result.cases:
        assert case.status == "failed"
        assert "s a call is less than the 1e+02 s that its work takes" in case.reason
        assert case.throughput == ()


# Cut short: what is finished is kept.


@pytest.mark.parametrize("stage", ["parity", "training manual_cell", "timing"])
def test_an_interruption_keeps_all_that_is_finished(stage, tmp_path):
    path = tmp_path / "r.json"
    after = 25 if stage == "timing" else 1
    with pytest.raises(KeyboardInterrupt):
        execute(SMALL, path, Watcher(stage, interrupt, after))
    result = records.load(path)
    first, second = result.cases
    assert first.status == second.status == "pending"
    assert first.parity
    assert bool(first.accuracy) == (stage != "parity")
    assert bool(second.accuracy) == (stage == "timing")
    if stage == "timing":  # ten warm-ups, the first round, and five turns of the second
        rows = [row for case in (*result.cases, *result.controls) for row in case.throughput]
        assert len(rows) == 9
        samples = [s for holder in (*rows, *result.canaries) for s in holder.samples]
        assert sorted(s.round for s in samples) == [0] * 10 + [1] * 5
        assert [(p.index, p.rounds, p.complete) for p in result.processes] == [(0, 1, False)]


def test_the_worker_is_ended_whatever_happens(tmp_path):
    open_workers = set()

    class Counted(Inline):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            open_workers.add(self)

        def close(self):
            super().close()
            open_workers.discard(self)

    for stage in (None, "parity", "training", "timing"):
        watcher = Watcher(stage, interrupt)
        try:
            execute(changed(processes=1, rounds=1), tmp_path / "r.json", watcher, start=Counted)
        except KeyboardInterrupt:
            assert stage
        assert not open_workers


def test_the_file_is_there_from_the_start(tmp_path):
    path = tmp_path / "r.json"
    seen = []

    def look():
        seen.append(json.loads(path.read_text()))
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        execute(SMALL, path, Watcher("parity", look))
    assert [case["status"] for case in seen[0]["cases"]] == ["pending", "pending"]


def test_each_finished_case_is_on_disk_at_once(tmp_path):
    """Also a process that is killed, and cannot save at its end, keeps them."""
    path, seen = tmp_path / "r.json", {}

    class Looker(Watcher):
        def start(self, stage, total):
            super().start(stage, total)
            seen[stage.split(" on ")[0]] = records.load(path).cases

    execute(changed(processes=1, rounds=1), path, Looker())
    assert all(case.parity for case in seen["training torch_rnn"])
    first, second = seen["training manual_cell"]
    assert first.accuracy
    assert second.accuracy is None
    assert all(case.accuracy for case in seen["timing"])


def test_each_round_is_on_disk_at_once(tmp_path):
    path, seen = tmp_path / "r.json", []

    def look():
        seen.append(records.load(path))

    execute(changed(processes=1), path, Watcher("timing", look, after=21))
    assert [turns_of(row.samples) for row in seen[0].cases[0].throughput] == [[(0, 0)]] * 3
    assert [(p.rounds, p.complete) for p in seen[0].processes] == [(1, False)]


def test_a_disk_that_fills_up_is_told_not_hidden(tmp_path, monkeypatch):
    def full():
        def fsync(_):
            raise OSError(28, "full")

        monkeypatch.setattr(records.os, "fsync", fsync)

    path = tmp_path / "r.json"
    with pytest.raises(OSError, match="full"):
        execute(SMALL, path, Watcher("training manual_cell", full))
    assert records.load(path).cases[0].accuracy


# Going on where an earlier attempt was cut short.


class Asked(Inline):
    """A worker that remembers what it was asked."""

    questions: ClassVar[list] = []

    def ask(self, question, *arguments, **options):
        self.questions.append((question, *arguments))
        return super().ask(question, *arguments, **options)


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(Asked, "questions", [])
    return Asked.questions


def cut_short(path, stage, after):
    with pytest.raises(KeyboardInterrupt):
        execute(SMALL, path, Watcher(stage, interrupt, after))
    return records.load(path)


def go_on(path, **options):
    earlier = records.load(path)
    return execute(earlier.config, path, earlier=earlier, **options)


def all_samples(result):
    """(who, cell, process, round, seconds) of everything that was ever sampled."""
    holders = [(case.key, row) for case in result.cases for row in case.throughput]
    holders += [((c.implementation, c.device, "control"), row)
                for c in result.controls for row in c.throughput]  # fmt: skip
    found = {(who, cell(row), s.process, s.round, s.seconds) for who, row in holders
             for s in row.samples}  # fmt: skip
    canaries = {(canary.device, s.process, s.round, s.seconds)
                for canary in result.canaries for s in canary.samples}  # fmt: skip
    return found | canaries


BOTH = ["torch_rnn", "manual_cell"]
AT_ONCE = [(0, 2, True), (1, 2, True)]


@pytest.mark.parametrize(
    ("stage", "after", "trained", "processes"),
    [
        ("parity", 1, BOTH, AT_ONCE),
        ("training torch_rnn", 2, BOTH, AT_ONCE),
        ("training manual_cell", 2, ["manual_cell"], AT_ONCE),
        ("timing", 4, [], [(0, 0, False), (1, 2, True), (2, 2, True)]),
        ("timing", 25, [], [(0, 1, False), (1, 2, True), (2, 2, True)]),
        ("timing", 45, [], [(0, 2, True), (1, 0, False), (2, 2, True)]),
        ("timing", 60, [], [(0, 2, True), (1, 1, False), (2, 2, True)]),
    ],
)
def test_a_run_that_was_cut_short_goes_on_to_its_end(
    stage, after, trained, processes, tmp_path, asked
):
    path, watcher = tmp_path / "r.json", Watcher()
    earlier = cut_short(path, stage, after)
    result = go_on(path, watcher=watcher, start=Asked)
    assert records.load(path) == result
    others_are_whole(result)
    assert result.created_at == earlier.created_at
    assert [a[1].implementation for a in asked if a[0] == "train"] == trained
    assert sum(question == "baselines" for question, *_ in asked) == (earlier.baselines is None)
    assert [(p.index, p.rounds, p.complete) for p in result.processes] == processes
    assert watcher.stages[-1] == ("timing", 30 * (1 if after > 30 else 2))
    assert watcher.steps == watcher.stages[-1][1]


@pytest.mark.parametrize("after", [25, 45])
def test_going_on_keeps_what_there_was(after, tmp_path):
    """A new process has an index of its own: samples of two are never taken for one's."""
    path = tmp_path / "r.json"
    earlier = cut_short(path, "timing", after)
    result = go_on(path)
    before, now = all_samples(earlier), all_samples(result)
    assert before < now
    old = {process for *_, process, _, _ in before}
    assert old == set(range(max(old) + 1))
    assert {process for *_, process, _, _ in now - before} == set(range(max(old) + 1, 3))
    for case, finished in zip(earlier.cases, result.cases, strict=True):
        assert (case.parity, case.accuracy) == (finished.parity, finished.accuracy)


def test_it_can_be_cut_short_again_and_again(tmp_path):
    path = tmp_path / "r.json"
    earlier = cut_short(path, "timing", 25)
    for after in (12, 25):
        with pytest.raises(KeyboardInterrupt):
            execute(SMALL, path, Watcher("timing", interrupt, after), earlier=earlier)
        now = records.load(path)
        assert all_samples(earlier) < all_samples(now)
        earlier = now
    result = go_on(path)
    others_are_whole(result)
    assert [p.index for p in result.processes] == [0, 1, 2, 3, 4]
    assert [p.complete for p in result.processes] == [False] * 3 + [True] * 2


def cut_after_the_timing(path, monkeypatch):
    """Interrupted when all was timed, and only the last word was missing."""
    honest = records.save

    def save(result, path):
        honest(result, path)
        if len(result.processes) == 2 and all(p.complete for p in result.processes):
            interrupt()

    monkeypatch.setattr(records, "save", save)
    with pytest.raises(KeyboardInterrupt):
        execute(SMALL, path)
    monkeypatch.setattr(records, "save", honest)
    return records.load(path)


def test_what_was_timed_to_the_end_is_not_timed_again(tmp_path, monkeypatch, asked):
    path = tmp_path / "r.json"
    earlier = cut_after_the_timing(path, monkeypatch)
    assert {case.status for case in earlier.cases} == {"pending"}
    result = go_on(path, start=Asked)
    others_are_whole(result)
    assert {question for question, *_ in asked} == {"environment"}
    assert result.processes == earlier.processes


def test_what_was_timed_to_the_end_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    earlier = cut_after_the_timing(path, monkeypatch)
    result = go_on(path)
    assert [case.throughput for case in result.cases] == [c.throughput for c in earlier.cases]
    assert result.controls == earlier.controls


def test_what_failed_stays_failed(register, tmp_path, asked):
    path, config = tmp_path / "r.json", with_liar(register("detached_feedback"))
    with pytest.raises(KeyboardInterrupt):
        execute(config, path, Watcher("timing", interrupt, 25))
    before = records.load(path).cases[1]
    result = go_on(path, start=Asked)
    others_are_whole(result)
    assert result.cases[1] == before
    assert not any("detached_feedback" in repr(arguments) for question, *arguments in asked)


def test_a_finished_run_has_nothing_left_to_do(whole, tmp_path, asked):
    result = whole[0]
    again = execute(SMALL, tmp_path / "r.json", start=Asked, earlier=result)
    assert again == result
    assert [question for question, *_ in asked] == ["environment"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("torch", "2.12.0"), ("git_commit", "0" * 40), ("git_dirty", None), ("cpu", "another"),
        ("memory_bytes", 1), ("threads", 2), ("precision", {"cudnn.rnn": "tf32"}),
        ("caches", {"L2": 1}), ("governor", "performance"),
    ],
)  # fmt: skip
def test_a_run_does_not_go_on_elsewhere(field, value, whole, tmp_path):
    elsewhere = whole[0].environment.model_copy(update={field: value})
    earlier = whole[0].model_copy(update={"environment": elsewhere})
    path = tmp_path / "r.json"
    with pytest.raises(BenchError, match=rf"cannot go on: the file was made with {field} "):
        execute(SMALL, path, earlier=earlier)
    assert not path.exists()


def test_a_run_does_not_go_on_with_another_gpu(whole, tmp_path):
    from bench.schema import Gpu

    elsewhere = whole[0].environment.model_copy(update={"gpu": (Gpu(name="NVIDIA T4"),)})
    earlier = whole[0].model_copy(update={"environment": elsewhere})
    with pytest.raises(BenchError, match="cannot go on: the file was made with other GPUs"):
        execute(SMALL, tmp_path / "r.json", earlier=earlier)


def test_what_passes_does_not_keep_a_run_from_going_on(whole, tmp_path):
    elsewhere = whole[0].environment.model_copy(update={"load_average": 99.0})
    earlier = whole[0].model_copy(update={"environment": elsewhere})
    assert execute(SMALL, tmp_path / "r.json", earlier=earlier).environment.load_average == 99.0


def test_the_implementations_of_a_run_travel_with_it(register, tmp_path):
    """A fresh process has a registry of its own: the worker is told what it may need."""
    told = []

    def start(config, entries):
        told.append(dict(entries))
        return Inline(config, entries)

    name = register("keeps_state")
    path = tmp_path / "r.json"
    execute(changed(implementations=("manual_cell", name), rounds=1), path, start=start)
    assert len(told) == 3
    assert all(entries == {n: REGISTRY[n] for n in ("manual_cell", name)} for entries in told)


# What runs no free steps.


@pytest.fixture(scope="module")
def forced_only(tmp_path_factory):
    """A run with one that runs forced steps alone: its result, its file and its stages."""
    path, watcher = tmp_path_factory.mktemp("forced_only") / "r.json", Watcher()
    entries = {"mine": Entry("tests.liars.faults:ForcedOnly", ""), "torch_rnn": BASELINE}
    config = changed(
        implementations=tuple(entries), batch_sizes=SMALL.batch_sizes | {"sequence": (2,)}
    )
    result = execute(config, path, watcher, entries=entries)
    return result, path, [name for name, _ in watcher.stages]


def test_what_runs_no_free_steps_is_checked_and_timed_in_sequence_alone(forced_only):
    result, path, stages = forced_only
    case, other = result.cases
    assert (case.status, case.reason) == (other.status, other.reason) == ("ok", None)
    assert case.parity.passed
    assert 0 < case.parity.gradient_error < 1e-5
    assert (case.closed_loop, other.closed_loop) == (False, True)
    assert case.training is case.accuracy is None
    assert case.weights_digest == other.weights_digest
    assert [cell(row) for row in case.throughput] == [("sequence", 2)]
    assert 0 < case.throughput[0].output_error < 1e-4
    assert [cell(row) for row in other.throughput] == [*ROWS, ("sequence", 2)]
    assert stages == ["parity", "training torch_rnn on cpu", "timing"]
    assert records.load(path) == result


def test_the_tables_say_that_it_runs_no_free_steps(forced_only):
    result, path, _ = forced_only
    note = "mine on cpu runs no free steps: forced ones are checked, sequence alone is timed."
    accuracy, *_ = tables.result_tables(result)
    for table in (tables.overview(result), accuracy, tables.check_table(result.cases)):
        assert [text for text in table.notes if "free steps" in text] == [note]
    assert accuracy.sections[0][0] == ("mine", "cpu", *["-"] * 5)
    [comparison] = compare.compare(observed.load(path), [observed.load(path)])
    assert comparison.rows_compared == 5  # and no accuracy of its own
    assert [change.implementation for change in comparison.accuracy] == ["torch_rnn"]
    assert "mine" in export.to_csv(result)
    drawn = {figure.stem for figure in plots.draw_all(result, path).glob("*.svg")}
    assert drawn == {plan.file for plan in plots.planned(result)}
    assert not any("mine" in name for name in drawn)


# What computes no gradients.


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A run with one that cannot be trained: its result, its file and its stages."""
    path, watcher = tmp_path_factory.mktemp("untrained") / "r.json", Watcher()
    config = changed(implementations=("onnx_runtime", "torch_rnn"))
    return execute(config, path, watcher), path, [name for name, _ in watcher.stages]


def test_what_computes_no_gradients_is_checked_and_timed_and_not_trained(untrained):
    result, _, stages = untrained
    case, other = result.cases
    assert (case.status, case.reason) == (other.status, other.reason) == ("ok", None)
    assert case.parity.passed
    assert 0 < case.parity.output_error < 1e-5
    assert case.parity.gradient_error is case.training is case.accuracy is None
    assert case.weights_digest == other.weights_digest
    assert [cell(row) for row in case.throughput] == ROWS[:2]
    assert all(0 < row.output_error < 1e-4 for row in case.throughput)
    assert [cell(row) for row in other.throughput] == ROWS
    assert stages == ["parity", "training torch_rnn on cpu", "timing"]


def test_its_file_is_shown_drawn_compared_and_exported(untrained):
    result, path, _ = untrained
    assert records.load(path) == result
    overview, accuracy, _, _, parity_table = [
        tables.overview(result), *tables.result_tables(result)
    ]  # fmt: skip
    assert overview.sections[0][0][:3] == ("onnx_runtime", "cpu", "-")
    assert overview.sections[0][0][-1] == "-"  # train_step
    assert accuracy.sections[0][0] == ("onnx_runtime", "cpu", *["-"] * 5)
    assert parity_table.sections[0][0][2] == "pass"
    assert parity_table.sections[0][0][4] == "-"
    note = "onnx_runtime on cpu computes no gradients: it is not trained, and has no train_step."
    assert note in overview.notes
    assert note in accuracy.notes
    names = {plan.file for plan in plots.planned(result)}
    assert names == {"best_worst_torch_rnn_cpu", "training_loss", "error_growth", "throughput"}
    drawn = {file.stem for file in plots.draw_all(result, path).iterdir()}
    assert drawn - names == {"weights_torch_rnn_cpu"}
    assert names <= drawn
    [comparison] = compare.compare(observed.load(path), [observed.load(path)])
    assert comparison.rows_compared == 5
    assert [change.implementation for change in comparison.accuracy] == ["torch_rnn"]
    assert "onnx_runtime" in export.to_csv(result)


def test_gradients_alone_asked_of_it_leave_nothing_to_time(tmp_path):
    config = changed(implementations=("onnx_runtime",), batch_sizes={"train_step": (2,)})
    result = execute(config, tmp_path / "r.json")
    [case] = result.cases
    assert (case.status, case.throughput) == ("ok", ())
    assert "computes no gradients" in " ".join(tables.overview(result).notes)
    assert [table.title for table in tables.result_tables(result)][-1].startswith("Parity")
    assert list(plots.planned(result)) == []


def test_going_on_does_not_train_it_either(tmp_path, asked):
    config, path = changed(implementations=("onnx_runtime", "torch_rnn")), tmp_path / "r.json"
    with pytest.raises(KeyboardInterrupt):
        execute(config, path, Watcher("timing", interrupt, after=20))
    result = execute(config, path, start=Asked, earlier=records.load(path))
    assert [case.status for case in result.cases] == ["ok", "ok"]
    assert "train" not in {question for question, *_ in asked}
    assert [cell(row) for row in result.cases[0].throughput] == ROWS[:2]
