"""Studies: what several seeds say, files, tables and figures of known cells; small real ones."""

import json
import math
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import evaluation, figures, records
from bench.errors import BenchError, WrongWorkError
from bench.recipes import RECIPES, batches
from bench.remote import Inline
from bench.render import to_markdown
from bench.studies import engine, files, trained
from bench.studies.forcing import SCHEDULES
from bench.studies.init import Scaled, circumstances
from bench.studies.registry import STUDIES
from bench.studies.schema import CellResult, StudyResult
from bench.studies.spread import spread
from bench.training import restart
from tasks import TASKS
from tests.bench.started import started_in_a_terminal
from tests.bench.synthetic import place

ERRORS = st.lists(st.floats(1e-12, 1e6), min_size=2, max_size=9)
OURS = ("data", "init", "forcing")
SIZES = ("--vary", "hidden_size=4", "--test-sequences", "3")


def made(name, *vary, seeds=3, lost=()):
    """A study whose cells were never trained: the error is 10 ** -(seed + 1) everywhere.

    ``lost``: the numbers of the cells that diverged.
    """
    config = files.configured(name, vary, {}, seeds=seeds)
    study = STUDIES[name]
    cells = []
    for number, cell in enumerate(study.cells(config)):
        if number in lost:
            reason = "training diverged: the loss of iteration 3 is nan"
            cells.append(CellResult(**dict(cell), status="diverged", reason=reason))
        else:
            values = dict.fromkeys(study.measures, 10.0 ** -(cell.seed + 1))
            cells.append(CellResult(**dict(cell), status="ok", seconds=1.0, values=values))
    return StudyResult(
        created_at="2026-01-01T00:00:00+00:00",
        config=config,
        environment=place(),
        jobs=2,
        planned=len(cells),
        trivial={"zero": 0.5},
        cells=tuple(cells),
    )


@given(ERRORS, st.floats(1e-3, 1e3), st.randoms())
def test_a_spread_is_of_ratios_whatever_the_unit_and_the_order(values, unit, random):
    found, shuffled = spread(values), list(values)
    random.shuffle(shuffled)
    scaled = spread([unit * value for value in shuffled])
    assert found.low <= found.mean * (1 + 1e-9)
    assert found.mean <= found.high * (1 + 1e-9)
    assert min(values) <= found.mean * (1 + 1e-9)
    assert found.mean <= max(values) * (1 + 1e-9)
    assert math.isclose(scaled.mean, unit * found.mean, rel_tol=1e-9)
    if found.high < 1e40:  # beyond, the interval says only: anything
        assert math.isclose(scaled.high, unit * found.high, rel_tol=1e-6)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = [spread([*map(float, rng.lognormal(-3.0, 2.0, 5))]) for _ in range(2000)]
    share = sum(each.low <= math.exp(-3.0) <= each.high for each in draws) / len(draws)
    assert 0.93 <= share <= 0.97


def test_seeds_in_another_basin_are_counted():
    assert spread([1e-6, 2e-6, 3e-6, 0.04]).apart == 1
    assert spread([1e-6, 2e-6, 3e-6, 9e-6]).apart == 0
    assert spread([]) is None
    alone = spread([0.5], without=2)
    assert (alone.mean, alone.low, alone.high, alone.without) == (0.5, None, None, 2)
    assert spread([0.0, 1.0]).mean > 0.0


def test_every_start_meets_one_circumstance_at_a_time():
    study = STUDIES["init"]
    config = files.configured("init", (), {}, seeds=1)
    centre, *others = circumstances(config.axes)
    assert [sum(centre[name] != other[name] for name in centre) for other in others] == [1] * 5
    cells = study.cells(config)
    assert len(cells) == 7 * 6
    assert len({cell.key for cell in cells}) == len(cells)


def test_a_scaled_task_draws_the_same_sequences_times_the_scale():
    task = TASKS["cosine"]
    plain = task.draw(np.random.default_rng(5), 3, 20)
    scaled = Scaled(task, 10.0).draw(np.random.default_rng(5), 3, 20)
    assert np.array_equal(scaled.inputs, 10.0 * plain.inputs)
    assert np.array_equal(scaled.targets, 10.0 * plain.targets)


def test_the_forcing_schedules_are_what_they_are_called():
    def share(name, part):
        """Of the steps that are free, in the first or the last of ten iterations."""
        schedule = SCHEDULES[name]
        how = replace(
            RECIPES["quick"],
            points=(4001, 4001),
            batch_size=1,
            free_probability=schedule.free_probability,
            forced_steps=schedule.forced_steps,
        )
        drawn = list(batches(how, TASKS["cosine"], seed=0, iterations=10))
        return 1.0 - drawn[part].forced.mean()

    for name, (first, last) in {
        "always": (0.0, 0.0),
        "free_25": (0.25, 0.25),
        "free_50": (0.5, 0.5),
        "free_75": (0.75, 0.75),
        "lecture": (0.6, 0.6),
        "curriculum": (0.0, 1.0),
        "warm_up": (0.9875, 0.9875),
        "never": (1.0, 1.0),
    }.items():
        assert abs(share(name, 0) - first) < 0.03, name
        assert abs(share(name, -1) - last) < 0.03, name
    assert share("never", 0) > share("warm_up", 0)


@pytest.mark.parametrize("name", OURS)
def test_a_table_says_what_the_cells_say(name):
    """Errors of 0.1, 0.01 and 0.001: 0.01 on average, whatever else the row has."""
    result = made(name, lost=(0,))
    found = STUDIES[name].tables(result)
    rows = [row for table in found.values() for section in table.sections for row in section]
    assert rows
    assert all(len(row) == len(t.columns) for t in found.values() for s in t.sections for row in s)
    whole = [row for row in rows if "3 of 3" in row]
    assert whole
    assert all(row.count("0.0100") >= 2 for row in whole), whole  # mean and median
    assert sum("2 of 3" in row for row in rows) == 1  # the seed that diverged is told of
    text = "".join(map(to_markdown, found.values()))
    assert "1 cell diverged in the training." in text
    assert "always zero 0.5000" in text


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("done", [0, 1, None])
def test_figures_are_drawn_of_any_part_of_a_study(name, done):
    result = made(name, seeds=2)
    result = result.model_copy(update={"cells": result.cells[:done]})
    STUDIES[name].tables(result)
    with mpl.rc_context(figures.STYLE):
        found = STUDIES[name].figures(result)
    dots = [
        line
        for figure in found.values()
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() == "o"
    ]
    assert bool(dots) == (done != 0)
    if done is None:
        assert all(len(line.get_ydata()) == 2 for line in dots)


def test_a_file_comes_back_as_it_was(tmp_path):
    result = made("data", lost=(1, 4))
    path = tmp_path / "s.json"
    records.save(result, path)
    assert files.load(path) == result


DAMAGES = {
    "another kind": (("kind",), "selftest", "is not a file of a study: its kind is not study"),
    "newer": (("schema_version",), 2, "field schema_version: Input should be 1, got 2"),
    "no config": (("config",), 1, "field config: "),
    "unknown study": (("config", "study"), "dara", "unknown study 'dara'; did you mean 'data'?"),
    "unknown task": (("config", "task"), "tangent", "unknown task 'tangent'"),
    "another axis": (("config", "axes"), {"x": [1]}, "field config.axes: must be sequences, "),
    "an impossible value": (
        ("config", "axes", "sequences"),
        [-1],
        "field config.axes.sequences: not what study data varies, got (-1,)",
    ),
    "an unplanned cell": (("cells", 0, "seed"), 77, "field cells.0: none of the study's settings"),
    "a cell twice": (("cells", 0, "seed"), 1, "must not have the same settings and seed twice"),
    "no values": (("cells", 0, "values"), {}, "field cells.0.values: must be mse_mean, "),
    "a word": (("cells", 0, "values", "mse_mean"), "x", "field cells.0.values.mse_mean.float: "),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_file_is_one_line(what, tmp_path, bench):
    where, value, message = DAMAGES[what]
    path = tmp_path / "s.json"
    result = made("data", "sequences=1,4", "iterations=5", seeds=2)
    damaged = json.loads(records.dumps(result.model_dump(mode="json")))
    inner = damaged
    for part in where[:-1]:
        inner = inner[part]
    inner[where[-1]] = value
    path.write_text(json.dumps(damaged))
    status, out, err = bench("study", "--show", path)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_study_is_no_result_file(tmp_path, bench):
    path = tmp_path / "s.json"
    records.save(made("data"), path)
    status, _, err = bench("show", path)
    assert status == 2
    assert err == f"error: {path} is a study's file: python -m bench study --show {path}\n"


BAD_OPTIONS = {
    "unknown study": (("dara",), "unknown study 'dara'; did you mean 'data'?"),
    "unknown task": (("data", "--task", "tangent"), "unknown task 'tangent'"),
    "unknown recipe": (("data", "--recipe", "slow"), "unknown recipe 'slow'"),
    "unknown axis": (("data", "--vary", "x=1"), "study data does not vary x; it varies sequences,"),
    "no axis": (("data", "--vary", "4"), "--vary must be such as sequences=VALUES, got '4'"),
    "no number": (
        ("data", "--vary", "sequences=few"),
        "--vary sequences: must be whole numbers from 1 to 1,000,000 or unlimited, such as 1,4,16",
    ),
    "unlimited iterations": (("data", "--iterations", "unlimited"), "--vary iterations: must be"),
    "half an iteration": (("data", "--iterations", "1.5"), "must be whole numbers from 1 to"),
    "no iterations": (("data", "--iterations", "0"), "must be whole numbers from 1 to"),
    "no scale": (("init", "--vary", "input_scale=0"), "--vary input_scale: must be numbers from 0"),
    "scale nan": (("init", "--vary", "input_scale=nan"), "--vary input_scale: must be numbers"),
    "unknown name": (("init", "--vary", "init=ortogonal"), "did you mean 'orthogonal'?"),
    "no seeds": (("data", "--seeds", "0"), "--seeds: Input should be greater than or equal to 1"),
    "no test": (("data", "--test-sequences", "0"), "--test-sequences: Input should be greater"),
    "no jobs": (("data", "--jobs", "0"), "--jobs must be from 1 to the "),
    "all": (("data", "--impl", "all"), "--impl must be one implementation, got 'all'"),
    "unknown impl": (("data", "--impl", "torch_rn"), "did you mean 'torch_rnn'?"),
    "output": (("data", "--output", "x.txt"), "--output must end in .json, got x.txt"),
    "no such file": (("--resume", "none.json"), "there is no result file none.json"),
}


@pytest.mark.parametrize("what", BAD_OPTIONS)
def test_bad_options_are_one_line_and_no_file(what, bench, tmp_path):
    options, message = BAD_OPTIONS[what]
    status, out, err = bench("study", *options)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("*.json"))


def test_going_on_with_other_settings_is_refused(tmp_path, bench):
    path = tmp_path / "s.json"
    records.save(made("data"), path)
    before = path.read_bytes()
    for options, message in {
        ("--seeds", "4"): "it was begun with seeds 3, not 4",
        ("--iterations", "7"): "it was begun with axes ",
        ("--impl", "manual_cell"): "it was begun with implementation fused_cpu, not manual_cell",
        ("--output", "x.json"): "goes on in ",
    }.items():
        status, _, err = bench("study", "--resume", path, *options)
        assert status == 2
        assert message in err
    status, _, err = bench("study", "init", "--resume", path)
    assert "it was begun with study data, not init" in err
    assert path.read_bytes() == before


class Here(Inline):
    """A worker in this process."""

    def kill(self):
        pass


REFUSED = {
    "wrong": ("tests.liars.no_input_gradient:Liar", "is not right: "),
    "inference only": ("tests.liars.faults:NotDifferentiable", "cannot train: choose another"),
    "not for the CPU": ("cuda_graph", "cannot train here: not written for cpu"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_who_cannot_train_or_is_wrong_is_never_studied(what, tmp_path, bench, monkeypatch):
    impl, message = REFUSED[what]
    path = tmp_path / "s.json"
    monkeypatch.setattr(engine, "Remote", Here)
    status, out, err = bench("study", "data", "--impl", impl, *SIZES, "--output", path)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: --impl {impl} {message}")
    assert not path.exists()


def test_a_small_one_from_end_to_end(tmp_path, bench, monkeypatch):
    """One size trains, one takes its process down, one diverges: each cell has its row."""
    path = tmp_path / "s.json"
    monkeypatch.syspath_prepend(str(files.__file__).partition("/bench/")[0])
    options = (
        *("study", "data", "--impl", "tests.liars.depends_on_size:Liar", "--seeds", "1"),
        *("--vary", "hidden_size=4,3,5", "--vary", "sequences=2"),
        *("--iterations", "2", "--test-sequences", "3", "--jobs", "1", "--output", path),
    )
    status, out, err = bench(*options)
    assert status == 1, err
    result = files.load(path)
    assert [(c.settings["hidden_size"], c.status) for c in result.cells] == [
        (4, "ok"),
        (3, "failed"),
        (5, "diverged"),
    ]
    assert result.cells[1].reason == "the process ended itself with status 7"
    assert "1 cell failed: the process ended itself with status 7." in out
    assert "1 cell diverged in the training." in out
    assert (tmp_path / "s" / "error.png").is_file()
    assert (tmp_path / "s" / "error.svg").is_file()
    error = result.cells[0].values["mse_mean"]
    assert 0.0 < error < 10.0
    assert result.trivial["zero"] == pytest.approx(0.5, rel=0.5)

    _, text, _ = bench("study", "--show", path, "--markdown", "--table", "error")
    assert f"| 4 | 2 | 2 | {error:.4f} | - | - | {error:.4f} |" in text
    _, text, _ = bench("study", "--show", path, "--json")
    assert json.loads(text)["points"][0]["mse_mean"]["mean"] == pytest.approx(error)
    status, _, err = bench("study", "--show", path, "--table", "errors")
    assert (status, "did you mean 'error'?" in err) == (2, True)

    # Without its first cell it goes on to the same end, in whatever process.
    records.save(result.model_copy(update={"cells": result.cells[1:]}), path)
    monkeypatch.setattr(engine, "Remote", Here)
    assert bench("study", "--resume", path, "--jobs", "1")[0] == 1
    again = files.load(path)
    assert [(c.key, c.status, c.values) for c in again.cells] == [
        (c.key, c.status, c.values) for c in result.cells
    ]


def cells_in(path, process, least):
    """The cells of the file once it has so many."""
    deadline = time.monotonic() + 120.0
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if path.exists() and len(found := files.load(path).cells) >= least:
            return found
        time.sleep(0.02)
    raise AssertionError("no cells")


def test_a_study_that_is_killed_or_interrupted_keeps_its_cells_and_goes_on(tmp_path):
    path = tmp_path / "s.json"
    command = [sys.executable, "-m", "bench", "study"]
    options = ["forcing", "--impl", "manual_cell", "--iterations", "3", "--seeds", "500", *SIZES]
    options += ["--jobs", "1"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with started_in_a_terminal([*command, *options, "--output", str(path)], **pipes) as process:
        cells_in(path, process, 1)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    psutil.wait_procs(workers, timeout=10)
    assert workers
    assert not [worker for worker in workers if worker.is_running()]
    kept = files.load(path).cells
    assert kept
    with started_in_a_terminal([*command, "--resume", str(path)], **pipes) as process:
        cells_in(path, process, len(kept) + 1)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    done = files.load(path)
    assert errors.splitlines()[-1] == (
        f"interrupted: {len(done.cells)} of {done.planned} cells done; all so far is in {path}; "
        f"python -m bench study --resume {path} goes on"
    )
    known = {cell.key: cell for cell in done.cells}
    assert all(known[cell.key] == cell for cell in kept)
    assert len(known) > len(kept)
    psutil.wait_procs(workers, timeout=10)
    assert not [worker for worker in workers if worker.is_running()]


def test_studies_are_listed_with_their_questions(bench):
    status, out, _ = bench("study")
    assert status == 0
    assert all(re.search(rf"^ {name} ", out, re.MULTILINE) for name in STUDIES)
    assert "How much data do you need?" in out


def test_axes_read_what_they_write():
    for name, study in STUDIES.items():
        for axis, each in study.axes.items():
            assert each.values, (name, axis)
            assert all(map(each.holds, each.values)), (name, axis)
    with pytest.raises(BenchError, match="unknown study"):
        files.configured("x", (), {})


def test_weights_whose_states_part_chaotically_are_judged_in_a_study_alone():
    """Rounding grows to the size of the predictions: no reference can tell right from wrong."""
    config = files.configured("init", (), {"sequences": 20}, implementation="manual_cell")
    model = trained.created(config, 0, hidden_size=32)
    restart(model, "kaiming_normal", 0, gain=2.0)
    sequences = evaluation.test_set(TASKS["cosine"], config.evaluation)
    with pytest.raises(WrongWorkError):
        evaluation.evaluate(model, sequences, config.evaluation)
    errors = trained.errors(model, config)
    assert 0.1 < errors["mse_mean"] < errors["mse_worst"] < 100.0
