"""The self-test's arithmetic on machines that do not exist, and one small real one."""

import json
import math
from dataclasses import replace

import pytest
import torch

from bench import measure, records, selftest, slowed, workloads
from bench.cli import main
from bench.errors import BenchError
from bench.progress import Silent
from bench.remote import Inline
from impls import GeneratorConfig
from impls.manual_cell import ManualCell
from tests.bench.synthetic import Machine, self_test


@pytest.fixture(scope="module")
def steady():
    return selftest.judge(self_test(Machine(1), runs=150, pairs=600, work=1.05))


def test_identical_code_is_rarely_called_different(steady):
    assert steady.false_files.share <= 0.05
    assert steady.false_arms.share <= 0.05
    assert steady.false_files.of == 600
    assert steady.false_arms.of == 300


def test_five_percent_more_work_is_nearly_always_called_slower(steady):
    assert steady.power_arms.share >= 0.9


def test_the_interval_holds_the_true_ratio_as_often_as_it_says(steady):
    assert 0.9 <= steady.coverage_arms.share <= 0.99


def test_a_drifting_machine_is_not_code_that_changed():
    """Between two files the machine moved by several percent; the canary moved with it."""
    rates = selftest.judge(self_test(Machine(2, drift=0.05), runs=100, pairs=400, work=1.05))
    assert rates.false_files.share <= 0.05
    assert rates.power_arms.share >= 0.9


def test_a_noisy_machine_makes_the_harness_silent_not_wrong():
    loud = selftest.judge(self_test(Machine(3, process=0.05), runs=100, pairs=400, work=1.05))
    assert loud.false_files.share <= 0.05
    assert loud.false_arms.share <= 0.05
    assert loud.power_arms.share < 0.5


def test_the_test_itself_can_fail(monkeypatch):
    """Statistics that take every sample for independent call identical arms different.

    Two files they would not: there the A/A arms and the canary stand in the way too.
    """
    from bench import statistics

    def every_sample(samples):
        return {n: math.log(sample.seconds) for n, sample in enumerate(samples)}

    def every_round(base, new):
        seconds = {(sample.process, sample.round): sample.seconds for sample in base}
        logs = [math.log(s.seconds / seconds[s.process, s.round]) for s in new]
        return dict(enumerate(logs))

    monkeypatch.setattr(statistics, "by_process", every_sample)
    monkeypatch.setattr(statistics, "apart", every_round)
    rates = selftest.judge(self_test(Machine(1, process=0.05, noise=0.005), 100, 400, 1.05))
    assert rates.false_arms.share > 0.05
    assert rates.coverage_arms.share < 0.9


def test_what_is_different_is_rarely_called_the_same(steady):
    assert steady.wrong_files.share <= 0.05
    loud = selftest.judge(self_test(Machine(3, process=0.05), runs=100, pairs=400, work=1.05))
    assert loud.wrong_files.share <= 0.05


def test_the_slowed_cell_is_right_and_busy_for_a_twentieth_of_its_time(monkeypatch):
    looks = iter([1.0, 1.01, 1.03, 1.049, 1.051])

    class Watch:
        def seconds(self):
            return next(looks)

    monkeypatch.setattr(slowed, "Stopwatch", Watch)
    config = GeneratorConfig(hidden_size=4)
    plain, late = ManualCell(config), slowed.SlowedCell(config)
    late.load_weights(plain.weights())
    inputs, forced = torch.randn(9, 2, 1), torch.tensor([True] * 5 + [False] * 4)
    assert all(map(torch.equal, late(inputs, forced), plain(inputs, forced)))
    assert next(looks, None) is None  # it went on until 1.05 and no longer
    assert slowed.TRUE_RATIO == 1.05


def test_a_small_real_one_from_end_to_end(tmp_path, capsys, monkeypatch):
    quick = replace(selftest.PRESETS["quick"], seconds=0.0)
    monkeypatch.setattr(selftest, "PRESETS", {"quick": quick, "default": quick})
    monkeypatch.setattr(workloads, "LONG_POINTS", 201)
    monkeypatch.setattr(measure, "WINDOW_SECONDS", 0.02)
    monkeypatch.setattr(measure, "LONGEST_WARM_UP_SECONDS", 0.05)
    config = selftest.SelfTestConfig(runs=2, pairs=3)
    outcome = selftest.execute(config, Silent(), start=Inline)
    assert [run.preset for run in outcome.pool] == ["quick"] * 2 + ["default"] * 2
    assert [run.slowed is None for run in outcome.pool] == [True, True, False, False]
    assert all(len(run.plain) == len(run.control_apart) == 3 for run in outcome.pool)
    # 5 % longer: far off only if something else was measured
    for run in outcome.pool[2:]:
        apart = sum(run.slowed[p] - run.plain[p] for p in run.plain) / 3
        assert -0.3 < apart < 0.5
    assert selftest.ENTRIES[selftest.SLOWED].target == "bench.slowed:SlowedCell"
    path = tmp_path / "selftest.json"
    records.save(outcome, path)
    assert selftest.load(path) == outcome
    with pytest.raises(SystemExit) as end:
        main(["selftest", "--show", str(path)])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "of 3" in printed
    assert "identical code" in printed
    with pytest.raises(SystemExit):
        main(["selftest", "--show", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["rates"]["false_arms"]["of"] == 4
    assert "pool" not in found


def test_a_gpu_is_refused_for_its_true_ratio_is_not_known():
    with pytest.raises(BenchError, match="selftest runs on the CPU: --device cpu, got cuda"):
        selftest.configured(("cuda",), 2, 2, 0, 1)


def test_a_file_that_cannot_be_written_costs_the_file_and_not_the_outcome(
    tmp_path, capsys, monkeypatch
):
    made = self_test(Machine(1), runs=3, pairs=3, work=1.05)
    monkeypatch.setattr(selftest, "execute", lambda *_: made)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "save", full)
    with pytest.raises(SystemExit) as end:
        main(["selftest", "--output", str(tmp_path / "s.json")])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert "identical code" in out
    assert err.splitlines()[-1].endswith("s.json: No space left on device")


def test_bad_options_are_one_line(capsys):
    for options, message in {
        ("--runs", "1"): "--runs: Input should be greater than or equal to 2, got 1",
        ("--pairs", "0"): "--pairs: Input should be greater than",
        ("--threads", "0"): "--threads: Input should be greater than",
        ("--device", "tpu"): "--device must be",
    }.items():
        with pytest.raises(SystemExit) as end:
            main(["selftest", *options])
        assert end.value.code == 2
        assert message in capsys.readouterr().err


def test_other_files_are_refused(tmp_path, golden):
    path = tmp_path / "x.json"
    path.write_text('{"kind": "selftest"}')
    with pytest.raises(BenchError, match="field created_at: Field required"):
        selftest.load(path)
    with pytest.raises(BenchError, match="is not a file of the self-test"):
        selftest.load(golden)


def test_the_half_widths_are_those_of_the_intervals(steady):
    """Ten values of 0.5 % luck and 1 % noise: a percent or so, and of files the canary's beside."""
    assert 0.005 < steady.half_arms < 0.02
    assert 0.01 < steady.half_files < 0.05
