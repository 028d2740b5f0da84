"""A run from end to end, small; and what goes wrong in one case leaves the others whole."""

import json
import re

import pytest

from bench import records, runner
from bench.config import EvaluationConfig, RunConfig
from impls import GeneratorConfig

SMALL = RunConfig(
    implementations=("torch_rnn", "manual_cell"),
    model=GeneratorConfig(hidden_size=6),
    iterations=4,
    rounds=2,
    batch_sizes={"generate": (1, 3), "train_step": (2,)},
    evaluation=EvaluationConfig(sequences=7, points=120, warm_up=100),
)


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


def with_liar(name):
    return SMALL.model_copy(update={"implementations": ("torch_rnn", name, "manual_cell")})


def others_are_whole(result):
    others = [case for case in result.cases if case.implementation in ("torch_rnn", "manual_cell")]
    assert len(others) == 2
    for case in others:
        assert case.status == "ok"
        assert case.accuracy
        assert len(case.throughput) == 3


def test_a_whole_run(tmp_path):
    path, watcher = tmp_path / "r.json", Watcher()
    result = runner.run(SMALL, path, watcher)
    assert records.load(path) == result
    assert [case.key for case in result.cases] == [("torch_rnn", "cpu"), ("manual_cell", "cpu")]
    for case in result.cases:
        assert case.status == "ok"
        assert case.parity.passed
        assert len(case.training.loss) == case.training.iterations == 4
        assert len(case.accuracy.mse_per_sequence) == 7
        assert len(case.accuracy.mse_per_step) == 19
        assert [(row.workload, row.batch_size) for row in case.throughput] == [
            ("generate", 1), ("generate", 3), ("train_step", 2),
        ]  # fmt: skip
        for row in case.throughput:
            assert [sample.round for sample in row.samples] == [0, 1]
            assert row.first_call_seconds > 0
            assert 0 < row.output_error < 1e-5
            work = row.steps * row.batch_size
            rates = sorted(work / sample.seconds for sample in row.samples)
            assert row.steps_per_second.low == pytest.approx(rates[0])
            assert row.steps_per_second.high == pytest.approx(rates[1])
    assert result.cases[0].weights_digest == result.cases[1].weights_digest
    assert result.baselines.zero.mse_mean > result.baselines.recurrence.mse_mean
    assert not watcher.notes
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("liar", "reason"),
    [
        ("detached_feedback", "parity: gradient error"),
        ("explodes", "training: RuntimeError: out of kernels"),
        ("diverges", "training diverged: the loss of iteration 2 is nan"),
        ("lazy_when_long", r"generate at batch \d: error .* of the timed work"),
    ],
)
def test_one_bad_case_leaves_the_others_whole(liar, reason, register, tmp_path):
    watcher = Watcher()
    result = runner.run(with_liar(register(liar)), tmp_path / "r.json", watcher)
    others_are_whole(result)
    bad = next(case for case in result.cases if case.implementation == liar)
    assert bad.status == "failed"
    assert re.search(reason, bad.reason)
    assert bad.throughput == ()
    assert len(watcher.notes) == bad.reason.count("; ") + 1
    assert watcher.notes[0].startswith(f"{liar} on cpu failed: ")


def test_what_fails_parity_is_neither_trained_nor_timed(register, tmp_path):
    watcher = Watcher()
    result = runner.run(with_liar(register("detached_feedback")), tmp_path / "r.json", watcher)
    bad = result.cases[1]
    assert bad.training is None
    assert bad.accuracy is None
    assert bad.parity.gradient_error > bad.parity.tolerance
    assert not any("detached" in stage for stage, _ in watcher.stages)


@pytest.mark.parametrize("stage", ["sample", "warm_up"])
def test_a_row_that_fails_leaves_the_cases_other_rows(stage, tmp_path, monkeypatch):
    """One batch size too large for the memory must not cost the times of the others."""
    from bench import measure

    honest, failed = getattr(measure, stage), []

    def fragile(cell, *rest):
        if not failed or cell is failed[0]:
            failed.append(cell)
            raise MemoryError
        return honest(cell, *rest)

    monkeypatch.setattr(measure, stage, fragile)
    result = runner.run(SMALL, tmp_path / "r.json", Watcher())
    assert sorted(case.status for case in result.cases) == ["failed", "ok"]
    bad = next(case for case in result.cases if case.status == "failed")
    good = next(case for case in result.cases if case.status == "ok")
    assert bad.reason.startswith("timing ")
    assert bad.reason.endswith(": MemoryError")
    assert (len(bad.throughput), len(good.throughput)) == (2, 3)
    assert all(len(row.samples) == 2 for row in (*bad.throughput, *good.throughput))
    assert len(failed) == 1


def test_an_unsupported_case_keeps_its_row(monkeypatch, tmp_path):
    from impls.torch_rnn import TorchRNN

    monkeypatch.setattr(TorchRNN, "unsupported", classmethod(lambda *_: "needs a moon"))
    result = runner.run(SMALL, tmp_path / "r.json", Watcher())
    assert (result.cases[0].status, result.cases[0].reason) == ("unsupported", "needs a moon")
    assert result.cases[0].parity is None
    assert result.cases[1].status == "ok"


@pytest.mark.parametrize("stage", ["parity", "training manual_cell", "warm-up", "timing"])
def test_an_interruption_keeps_all_that_is_finished(stage, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    path = tmp_path / "r.json"
    after = 7 if stage == "timing" else 1
    with pytest.raises(KeyboardInterrupt):
        runner.run(SMALL, path, Watcher(stage, interrupt, after))
    result = records.load(path)
    first, second = result.cases
    assert first.status == second.status == "pending"
    assert first.parity
    assert bool(first.accuracy) == (stage != "parity")
    assert bool(second.accuracy) == (stage in ("warm-up", "timing"))
    if stage == "timing":  # the first round was over: its samples are kept
        assert all(len(row.samples) == 1 for case in result.cases for row in case.throughput)
        assert sum(len(case.throughput) for case in result.cases) == 6


def test_the_file_is_there_from_the_start(tmp_path):
    path = tmp_path / "r.json"
    seen = []
    watcher = Watcher("parity", lambda: seen.append(json.loads(path.read_text())))
    runner.run(SMALL, path, watcher)
    assert [case["status"] for case in seen[0]["cases"]] == ["pending", "pending"]


def test_each_finished_case_is_on_disk_at_once(tmp_path):
    """Also a process that is killed, and cannot save at its end, keeps them."""
    path, seen = tmp_path / "r.json", {}

    def look(stage):
        seen[stage] = records.load(path).cases

    class Looker(Watcher):
        def start(self, stage, total):
            super().start(stage, total)
            look(stage.split(" on ")[0])

    runner.run(SMALL, path, Looker())
    assert all(case.parity for case in seen["training torch_rnn"])
    first, second = seen["training manual_cell"]
    assert first.accuracy
    assert second.accuracy is None
    assert all(case.accuracy for case in seen["warm-up"])


def test_the_settings_reach_the_work(tmp_path):
    import torch

    threads = []
    watcher = Watcher("training", lambda: threads.append(torch.get_num_threads()))
    config = SMALL.model_copy(update={"threads": 2, "dtype": "float64", "seed": 3})
    result = runner.run(config, tmp_path / "r.json", watcher)
    assert set(threads) == {2}
    assert result.environment.threads == 2
    assert result.cases[0].parity.tolerance == 1e-10
    assert result.cases[0].throughput[0].output_error < 1e-10
    assert result.cases[0].training.seed == 3


def test_a_disk_that_fills_up_is_told_not_hidden(tmp_path, monkeypatch):
    def full():
        def fsync(_):
            raise OSError(28, "full")

        monkeypatch.setattr(records.os, "fsync", fsync)

    path = tmp_path / "r.json"
    with pytest.raises(OSError, match="full"):
        runner.run(SMALL, path, Watcher("training manual_cell", full))
    assert records.load(path).cases[0].accuracy


def test_random_gradients_are_recorded_as_not_checked(tmp_path):
    model = GeneratorConfig(hidden_size=6, num_layers=2, dropout=0.5)
    result = runner.run(SMALL.model_copy(update={"model": model}), tmp_path / "r.json", Watcher())
    errors = {row.workload: row.output_error for row in result.cases[0].throughput}
    assert errors["train_step"] is None
    assert 0 < errors["generate"] < 1e-5
