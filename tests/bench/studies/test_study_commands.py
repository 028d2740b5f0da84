"""The studies gradients, horizon and capacity: small real ones, and tables of known cells."""

import math
import threading
import time
from typing import ClassVar

import matplotlib as mpl
import numpy as np
import pytest
import torch

import impls
from bench import environment, figures, records, weights
from bench.cli import main
from bench.errors import WrongWorkError
from bench.recipes import RECIPES, batches
from bench.studies import engine, files, gradients, rates
from bench.studies.capacity import alone
from bench.studies.checkpoints import Checkpoints
from bench.studies.horizon import summed_up
from bench.studies.phases import drift
from bench.studies.registry import STUDIES
from bench.studies.schema import Cell, CellResult, StudyResult
from bench.training import batch_loss
from impls import GeneratorConfig
from tasks import TASKS
from tasks.waves import STEP
from tests.bench.synthetic import place
from tests.bench.test_studies import Here

OURS = ("gradients", "horizon", "capacity")


@pytest.fixture
def bench(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder, its worker in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "Remote", Here)

    def command(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["study", *map(str, arguments)])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


SMALL = ("--impl", "manual_cell", "--jobs", "1", "--test-sequences", "4", "--output", "s.json")


def test_gradients_from_end_to_end(bench, tmp_path, monkeypatch):
    for name, fewer in {"WARM_UP": 20, "DISTANCES": 100, "SEQUENCES": 2}.items():
        monkeypatch.setattr(gradients, name, fewer)
    options = ("--seeds", "1", "--iterations", "2", "--vary", "clip=0.01,unlimited")
    status, out, err = bench("gradients", *options, *SMALL)
    assert status == 0, err
    result = files.load(tmp_path / "s.json")
    assert len(result.cells) == 3 * 2
    back = {}
    for start in gradients.STARTS:
        curves = result.curves("forced_0", start=start, clip=0.01)
        back[start] = [curve[100] / curve[0] for curve in curves]
        assert all(len(curve) == 101 for curve in curves)
    # The lecture's start vanishes, twice the normal one explodes, and orthogonal does neither.
    assert max(back["uniform"]) < 1e-15
    assert all(1e-6 < each < 1.0 for each in back["orthogonal"])
    assert min(back["normal_x2"]) > 1e3
    assert result.values("radius_forced_0", start="orthogonal") == pytest.approx([1.0] * 2)
    # Before the first step clipping has changed nothing, after it has.
    both = [result.at(start="uniform", clip=clip)[0].values for clip in (0.01, None)]
    assert both[0]["forced_0"] == both[1]["forced_0"]
    assert both[0]["forced_100"] != both[1]["forced_100"]
    assert "uniform     0.01" in out
    assert {path.name for path in (tmp_path / "s").glob("*.png")} == {
        "forced.png", "free.png", "radius.png",
    }  # fmt: skip


def test_the_norms_are_of_the_gradient_before_it_is_clipped():
    recipe, model = RECIPES["quick"], impls.create("manual_cell", GeneratorConfig(hidden_size=5))
    sequences = TASKS["cosine"].draw(np.random.default_rng(0), 2, 4)
    seen = Checkpoints(model, sequences, {"forced": [True] * 3}, 2, {0: 0, 100: 1})
    [batch] = batches(recipe, TASKS["cosine"], 0, 1)
    batch_loss(model, batch, 20).backward()
    exact = math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters()))
    torch.nn.utils.clip_grad_norm_(model.parameters(), exact / 10.0)
    seen.ticking(lambda: None)()
    found = seen.values()
    assert found["norm_largest"] == pytest.approx(exact, rel=1e-6)
    assert found["above_one"] == float(exact > 1.0)
    assert found["forced_0"] == found["forced_100"]
    assert len(found["forced_0"]) == 3


def test_horizon_from_end_to_end_and_resumed(bench, tmp_path):
    vary = ("--vary", "recipe=quick", "--vary", "percent=1", "--vary", "free_steps=200")
    status, _, err = bench("horizon", "--seeds", "2", *vary, *SMALL)
    assert status == 0, err
    result = files.load(tmp_path / "s.json")
    assert [cell.status for cell in result.cells] == ["ok", "ok"]
    values = result.cells[0].values
    assert values["steps"] == tuple(30.5 + 31.0 * window for window in range(5))
    assert len(values["mse"]) == 5
    assert (tmp_path / "s" / "horizon.png").is_file()
    records.save(result.model_copy(update={"cells": result.cells[1:]}), tmp_path / "s.json")
    assert bench("--resume", "s.json", "--jobs", "1", "--no-plots")[0] == 0
    again = files.load(tmp_path / "s.json")
    assert [cell.values for cell in again.cells] == [cell.values for cell in result.cells]


def silent(path):
    """A file of weights that predict 0 whatever they read."""
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=3), dtype=torch.float64)
    model.load_weights({name: torch.zeros_like(each) for name, each in model.weights().items()})
    weights.save(model, path, weights.Origin(task="cosine"))
    return path


def test_weights_from_a_file_are_looked_at_once(bench, tmp_path):
    path = silent(tmp_path / "w.safetensors")
    status, out, err = bench(
        "horizon", "--weights", path.name, "--vary", "free_steps=200", *SMALL, "--no-plots"
    )
    assert status == 0, err
    result = files.load(tmp_path / "s.json")
    [cell] = result.cells  # whatever the number of seeds
    assert cell.settings["recipe"] == "weights"
    assert cell.values["training_loss"] is None
    # Amplitudes of 1 are missing, and what is no wave has no phase.
    assert set(cell.values["with_a_wave"]) == {0.0}
    assert cell.values["phase"] == ()
    assert cell.values["period_error"] is None
    assert cell.values["amplitude"] == pytest.approx([1.0] * 5)
    assert "weights: w.safetensors." in out


def test_a_planted_period_is_told_with_its_sign():
    steps, phases = np.arange(3000.0)[:, None], np.linspace(0.0, 6.0, 7)
    truth = np.cos(STEP * steps + phases)
    slow = 0.9 * np.cos(STEP / 1.002 * steps + phases)  # a period of 1.002 times the true one
    found = summed_up(drift(slow, truth, STEP))
    assert found["period_bias"] == pytest.approx(2e-3, rel=1e-3)
    assert found["period_error"] == pytest.approx(2e-3, rel=1e-3)
    assert found["amplitude"] == pytest.approx([0.1] * len(found["steps"]), abs=1e-4)
    fast = summed_up(drift(np.cos(STEP * 1.01 * steps + phases), truth, STEP))
    assert fast["period_bias"] == pytest.approx(1.0 / 1.01 - 1.0, rel=1e-3)
    until = (np.pi / 2.0) / (0.01 * STEP)
    assert until - 31.0 <= fast["in_phase_until"] <= until
    assert found["in_phase_until"] == found["steps"][-1]


class Witness(Here):
    """A worker that trains and times nothing, and tells who was asked for what."""

    asked: ClassVar = []
    there: ClassVar = []
    busy: ClassVar = threading.Lock()

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.there.append(self)

    def ask(self, question, *arguments, **options):
        if question != "measure":
            return super().ask(question, *arguments, **options)
        [cell] = arguments
        self.asked.append((self.there.index(self), cell))
        if alone(cell.settings):
            assert self.busy.acquire(blocking=False), "two are timed at once"
            time.sleep(0.005)  # so that another would be seen
            self.busy.release()
        values = dict.fromkeys(STUDIES["capacity"].measures, 1.0)
        return CellResult(**dict(cell), status="ok", values=values)


def test_what_is_timed_comes_last_and_alone_in_a_fresh_process_a_seed(bench, monkeypatch):
    monkeypatch.setattr(engine, "Remote", Witness)
    monkeypatch.setattr(Witness, "asked", [])
    monkeypatch.setattr(Witness, "there", [])
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    vary = ("--vary", "hidden_size=2,3", "--vary", "timed=manual_cell,torch_cell")
    status, _, err = bench("capacity", "--seeds", "3", *vary, "--jobs", "2",
                           "--output", "s.json", "--impl", "manual_cell")  # fmt: skip
    assert status == 0, err
    timed = [alone(cell.settings) for _, cell in Witness.asked]
    assert timed == sorted(timed)
    assert (timed.count(False), timed.count(True)) == (24, 48)
    workers = {
        seed: {who for who, cell in Witness.asked if alone(cell.settings) and cell.seed == seed}
        for seed in range(3)
    }
    assert all(len(each) == 1 for each in workers.values())
    assert len(set.union(*workers.values())) == 3
    trained = {who for who, cell in Witness.asked if not alone(cell.settings)}
    assert not trained & set.union(*workers.values())


def test_capacity_from_end_to_end(bench, tmp_path):
    vary = ("--vary", "hidden_size=3,4", "--vary", "num_layers=1", "--vary", "nonlinearity=tanh")
    vary += ("--vary", "timed=manual_cell,onnx_runtime,fused_cpu", "--iterations", "2")
    status, out, err = bench("capacity", "--seeds", "1", *vary, *SMALL)
    assert status == 0, err
    result = files.load(tmp_path / "s.json")
    assert len(result.values("mse_mean")) == 2
    found = result.values("steps_per_second", timed="manual_cell")
    assert len(found) == 2
    assert all(100.0 < rate < 1e7 for rate in found)
    front = [line for line in out.splitlines() if line.rstrip().endswith(" front")]
    assert any("fused_cpu" in line for line in front[1:])
    assert (tmp_path / "s" / "front_batch_1.png").is_file()


def timed_cell(name):
    settings = {"hidden_size": 4, "num_layers": 1, "nonlinearity": "tanh", "timed": name,
                "batch_size": 1}  # fmt: skip
    return Cell(settings=settings, seed=0)


SIZE = {"hidden_size": 4, "num_layers": 1, "nonlinearity": "tanh"}


def test_who_cannot_run_here_has_no_rate_and_who_is_wrong_none_either(register, monkeypatch):
    config = files.configured("capacity", (), {})
    monkeypatch.setitem(impls.REGISTRY, "absent", impls.Entry("x:Y", "", requires=("no_such_one",)))
    assert rates.steps_per_second(timed_cell("absent"), config, SIZE, 2, lambda: None) is None
    assert rates.steps_per_second(timed_cell("fused_cuda"), config, SIZE, 2, lambda: None) is None
    liar = register("skips_free_steps")
    with environment.pinned(1), pytest.raises(WrongWorkError, match="of what was timed, above"):
        rates.steps_per_second(timed_cell(liar), config, SIZE, 2, lambda: None)


def made(name, seeds=3):
    """A study whose cells were never measured: every number is 10 ** -(seed + 1)."""
    config = files.configured(name, (), {}, seeds=seeds)
    study = STUDIES[name]
    cells = []
    for cell in study.cells(config):
        number = 10.0 ** -(cell.seed + 1)
        curve = tuple(number * 0.9**step for step in range(201))
        values = {
            each: curve if each in CURVES or each.startswith(("forced", "free")) else number
            for each in study.measures
        }
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


CURVES = ("steps", "mse", "phase", "amplitude", "with_a_wave")


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("done", [0, 1, None])
def test_tables_and_figures_of_any_part_of_a_study(name, done):
    result = made(name)
    result = result.model_copy(update={"cells": result.cells[:done]})
    tables = STUDIES[name].tables(result)
    assert all(len(row) == len(t.columns) for t in tables.values() for s in t.sections for row in s)
    with mpl.rc_context(figures.STYLE):
        assert STUDIES[name].figures(result)
    if done is None:
        rows = [row for table in tables.values() for section in table.sections for row in section]
        told = {"gradients": f"{0.9**10:.1e}", "horizon": "0.0100", "capacity": "0.0100"}
        assert any(told[name] in row for row in rows)


BAD = {
    "no weights": (("horizon", "--vary", "recipe=weights"), "needs --weights FILE"),
    "weights elsewhere": (("data", "--weights", "w.safetensors"), "--weights is for horizon"),
    "weights unasked": (
        ("horizon", "--weights", "w.safetensors", "--vary", "recipe=quick"),
        "--weights needs weights among --vary recipe=VALUES",
    ),
    "no file": (("horizon", "--weights", "none.safetensors"), "there is no file none.safetensors"),
    "unknown start": (("gradients", "--vary", "start=unifrm"), "did you mean 'uniform'?"),
    "cannot be timed": (("capacity", "--vary", "timed=torch_rn"), "did you mean 'torch_rnn'?"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_options_are_one_line_and_no_file(what, bench, tmp_path):
    options, message = BAD[what]
    status, out, err = bench(*options)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("*.json"))
