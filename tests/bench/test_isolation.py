"""An implementation may raise, crash, hang or run out of memory: that is its own row's trouble."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
import pytest

from bench import records, remote, runner
from bench.config import EvaluationConfig, RunConfig
from bench.errors import BenchError
from bench.messages import Arm
from bench.remote import CaseError, Remote, WorkerLostError
from impls import REGISTRY, Entry, GeneratorConfig
from tests.bench.started import started_in_a_terminal

ROOT = Path(__file__).parents[2]
HONEST = ("manual_cell", "torch_cell")
CONFIG = RunConfig(
    implementations=HONEST,
    baseline="manual_cell",
    model=GeneratorConfig(hidden_size=8),
    iterations=1,
    processes=2,
    rounds=2,
    batch_sizes={"generate": (1,)},
    evaluation=EvaluationConfig(sequences=2, points=120),
    time_limit=12.0,  # honest work on a busy machine may be silent for 6 seconds
)

BAD = {
    "segfaults_in_parity": r"^parity: the process was ended by SIGSEGV",
    "exits_in_training": r"^training: the process ended itself with status 7$",
    "fails_to_compile": r"^raised CompilationError: at 3:8: Input shapes should have M >= ",
    "fails_to_launch": r"AcceleratorError: CUDA error: too many resources requested for launch$",
    "raises_when_timed": r"^timing generate at batch 1: RuntimeError: out of kernels$",
    "exits_when_timed": r"^timing generate at batch 1: the process ended itself with status 7$",
    "segfaults_when_timed": r"^timing generate at batch 1: the process was ended by SIGSEGV",
    "hangs_when_timed": r"^timing generate at batch 1: no sign of life for 12 s",
    "hangs_in_c_when_timed": r"^timing generate at batch 1: no sign of life for 12 s",
    "killed_when_timed": r"^timing generate at batch 1: .* by SIGKILL, .* memory runs out",
    "runs_out_of_memory_when_timed": r"^timing generate at batch 1: \w+Error: .*memory",
    "nan_when_timed": r"^generate at batch 1: error nan of the timed work$",
}


ARM = Arm("case", "", "cpu", 8, "generate", 1, 1)

# A run that tells when its timing has come to the case that hangs. Its argument: the result file.
HANGING_RUN = """
import sys
from pathlib import Path
from tests.bench.test_isolation import Watcher, run_with

class Telling(Watcher):
    def start(self, stage, total):
        self.stage = stage

    def advance(self):
        print(self.stage, flush=True)

names = ("manual_cell", "hangs_in_c_when_timed")
run_with(names, Path(sys.argv[1]), Telling(), time_limit=600.0)
"""


class Watcher:
    """Progress that remembers."""

    def __init__(self):
        self.notes = []

    def start(self, stage, total):
        pass

    def advance(self):
        pass

    def note(self, text):
        self.notes.append(text)


def entries(*names):
    """Of the registry, or of tests/liars."""
    return {n: REGISTRY.get(n, Entry(f"tests.liars.{n}:Liar", "misbehaves")) for n in names}


def run_with(names, path, watcher, **changes):
    config = CONFIG.model_copy(update={"implementations": names, **changes})
    return runner.run(config, path, watcher, entries=entries(*names))


def workers():
    """The worker processes of this one; multiprocessing's own helper is none."""
    return [child for child in psutil.Process().children() if "spawn_main" in command(child)]


def command(process):
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def assert_whole(case):
    """It is ok, and every complete process has sampled all of its rounds."""
    assert (case.status, case.reason) == ("ok", None)
    assert case.parity.passed
    assert case.accuracy
    [row] = case.throughput
    rounds = {}
    for sample in row.samples:
        rounds.setdefault(sample.process, []).append(sample.round)
    assert list(rounds.values()).count([0, 1]) == 2


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One run in which every kind of trouble happens: result, notes, and what was saved."""
    path, watcher = tmp_path_factory.mktemp("isolation") / "r.json", Watcher()
    result = run_with(("manual_cell", *BAD, "torch_cell"), path, watcher)
    return result, watcher.notes, records.load(path)


@pytest.mark.parametrize("bad", BAD)
def test_trouble_ends_the_case_with_its_kind_in_the_reason(bad, outcome):
    result, notes, _ = outcome
    [case] = [case for case in result.cases if case.implementation == bad]
    assert case.status == "failed"
    assert re.search(BAD[bad], case.reason)
    assert case.throughput == ()
    assert notes.count(f"{bad} on cpu failed: {case.reason}") == 1


@pytest.mark.parametrize("name", HONEST)
def test_the_others_are_whole(name, outcome):
    [case] = [case for case in outcome[0].cases if case.implementation == name]
    assert_whole(case)
    assert len(case.throughput[0].samples) == 4  # each loss came before the first round


def test_the_run_is_whole(outcome):
    result, notes, saved = outcome
    assert saved == result
    assert len(notes) == len(BAD)
    lost = [process for process in result.processes if not process.complete]
    assert len(lost) == 5
    assert all(process.rounds == 0 for process in lost)
    assert len(result.processes) == 7
    [control] = result.controls
    [canary] = result.canaries
    assert len(control.throughput[0].samples) == len(canary.samples) == 4


def test_no_worker_is_left(outcome):
    assert workers() == []


def test_what_was_sampled_before_a_loss_stays(tmp_path):
    result = run_with(("manual_cell", "exits_when_exchanged"), tmp_path / "r.json", Watcher())
    honest, bad = result.cases
    assert (bad.status, bad.throughput) == ("failed", ())
    assert bad.reason == "timing generate at batch 1: the process ended itself with status 7"
    assert_whole(honest)
    assert [process.complete for process in result.processes] == [False, True, True]
    rows = [honest.throughput[0], result.controls[0].throughput[0], result.canaries[0]]
    assert {sample.process for row in rows for sample in row.samples} == {0, 1, 2}


def test_who_ends_the_process_later_is_blamed_all_the_same():
    result = run_with(("manual_cell", "exits_later"), None, Watcher(), processes=1)
    assert [case.status for case in result.cases] == ["ok", "failed"]
    assert result.controls[0].throughput


@contextmanager
def hanging_run(tmp_path):
    """A run in a process group of its own, while its worker is in a call that never ends."""
    environment, children = os.environ | {"TMPDIR": str(tmp_path)}, []
    with started_in_a_terminal(
        [sys.executable, "-c", HANGING_RUN, str(tmp_path / "r.json")],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as parent:
        try:
            assert "timing\n" in iter(parent.stdout.readline, "")  # the honest case is warmed up
            time.sleep(0.5)
            children += psutil.Process(parent.pid).children(recursive=True)
            assert any("spawn_main" in command(child) for child in children)
            yield parent, children
        finally:
            for process in children:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def test_a_busy_worker_ends_with_a_run_that_is_killed(tmp_path):
    with hanging_run(tmp_path) as (parent, children):
        parent.kill()
        _, alive = psutil.wait_procs(children, timeout=5.0)
        assert alive == []


def test_ctrl_c_while_timing_ends_all_and_keeps_what_is_finished(tmp_path):
    with hanging_run(tmp_path) as (parent, children):
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.wait(10.0) in (-signal.SIGINT, 128 + signal.SIGINT)
        _, alive = psutil.wait_procs(children, timeout=5.0)
        assert alive == []
    for case in records.load(tmp_path / "r.json").cases:
        assert case.status == "pending"
        assert case.accuracy
    assert not list(tmp_path.glob("rnn-bench-*"))


def worker_for(name, **changes):
    config = CONFIG.model_copy(update={"implementations": (name,), **changes})
    return Remote(config, entries(name))


def test_what_a_worker_prints_does_not_reach_the_terminal(capfd):
    with worker_for("talks") as worker:
        [case] = worker.ask("plan")
        assert worker.ask("parity", case).passed
    assert capfd.readouterr() == ("", "")


def test_the_last_words_of_a_worker_are_told():
    ending = r"^the process ended itself with status 7 \(assertion failed: warp 7 is cold\)$"
    with worker_for("exits_with_words") as worker:
        [case] = worker.ask("plan")
        for question in ("parity", "weights_digest"):  # lost once, lost for ever
            with pytest.raises(WorkerLostError, match=ending):
                worker.ask(question, case)
    assert workers() == []


def test_a_worker_survives_what_raises():
    with worker_for("raises_when_timed") as worker:
        arm = replace(ARM, implementation="raises_when_timed")
        with pytest.raises(CaseError, match=r"^RuntimeError: out of kernels$") as caught:
            worker.ask("prepare", arm, 0)
        assert caught.value.kind == "raised"
        worker.ask("probe", "cpu")
    assert workers() == []


def test_a_worker_never_sees_ctrl_c():
    resource_tracker.ensure_running()  # whose start, within a worker's, lets Ctrl-C through
    with worker_for("manual_cell") as worker:
        interrupt(worker)


def interrupt(worker):
    """Send what Ctrl-C sends to every process of the group, and see that the worker answers."""
    [process] = workers()
    process.send_signal(signal.SIGINT)
    worker.ask("probe", "cpu")


def test_the_first_worker_never_sees_ctrl_c_either(tmp_path):
    script = "from tests.bench.test_isolation import *; interrupt(worker_for('manual_cell'))"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)


def test_a_worker_is_lost_at_once_also_when_its_child_lives_on():
    with worker_for("leaves_a_child", time_limit=4.0) as worker:
        [case] = worker.ask("plan")
        with pytest.raises(WorkerLostError) as caught:
            worker.ask("parity", case)
    assert str(caught.value) == "the process ended itself with status 7"


def test_a_worker_gives_back_the_locks_of_libraries():
    """The progress bars that torch.compile loads take one, for instance."""
    script = (
        "from tests.bench.test_isolation import worker_for\n"
        "if __name__ == '__main__':\n"
        "    with worker_for('holds_a_lock') as worker:\n"
        "        [case] = worker.ask('plan')\n"
        "        assert worker.ask('parity', case).passed\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_a_worker_that_cannot_begin_is_an_error():
    with pytest.raises(
        BenchError, match=r"^the worker process did not start: KeyError: 'nothing'$"
    ):
        worker_for("manual_cell", task="nothing")
    assert workers() == []


def test_a_worker_that_ends_at_once_is_an_error(monkeypatch):
    monkeypatch.setattr("multiprocessing.spawn._python_exe", os.fsencode(shutil.which("false")))
    with pytest.raises(BenchError, match=r"did not start: the process ended itself with status 1$"):
        worker_for("manual_cell")
    assert workers() == []


def test_a_worker_that_takes_too_long_to_begin_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(remote, "LONGEST_START_SECONDS", 0.01)
    monkeypatch.setattr(remote.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(BenchError, match=r"did not start: no sign of life for 0\.01 s"):
        worker_for("manual_cell")
    assert workers() == []
    assert list(tmp_path.iterdir()) == []
