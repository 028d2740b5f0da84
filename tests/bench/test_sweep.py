"""Sweeps: a file is checked whole, cells go on where they were stopped, none stops the others."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench import launch, plugins, records, runner
from bench.cli import main
from bench.cluster import connection
from bench.errors import BenchError
from bench.recipe_files import as_toml
from bench.recipes import RECIPES
from bench.sweeping import driver, estimate, grid, log, on_ray, sweep_file
from bench.sweeping.cell import Cell

ROOT = Path(__file__).parents[2]
TINY = """
implementations = ["manual_cell"]
baseline = "manual_cell"
hidden_sizes = [4]
iterations = 1
seeds = [0, 1]
workloads = ["generate"]
batch_sizes = [1]
processes = 1
rounds = 1
"""
FIRST, SECOND = "h4-l1-float32-quick-s0", "h4-l1-float32-quick-s1"


@pytest.fixture
def written(tmp_path):
    def write(text, name="tiny.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def cells_of(path, **options):
    return grid.cells(path, sweep_file.load(path), plugins.Plugins(), **options)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hidden_sizes", "hidden_size", "unknown key 'hidden_size'; did you mean 'hidden_sizes'?"),
        ("= [4]", "= 4", "hidden_sizes must be a list of whole numbers from 1 to 16,384, such as"),
        ("= [4]", "= [4, '8']", "hidden_sizes must be a list of whole numbers"),
        ("= [4]", "= [0]", "hidden_sizes must be a list of whole numbers"),
        ("= [4]", "= []", "such as [16, 64], got []"),
        ("= [4]", "= [4", "is not TOML"),
        ("[0, 1]", "[-1]", "seeds must be a list of whole numbers from 0"),
        ("[0, 1]", f"[{', '.join(map(str, range(10_001)))}]", "10,001 cells; a sweep has 10,000"),
        ('["generate"]', '["generat"]', "workloads must be a list of generate, train_step, seq"),
        ("rounds = 1", "rounds = true", "rounds must be a whole number from 1 to 10,000"),
        ("rounds = 1", 'preset = "quik"', "unknown preset 'quik'; did you mean 'quick'?"),
        ("rounds = 1", 'task = "cosin"', "unknown task 'cosin'; did you mean 'cosine'?"),
        ("rounds = 1", 'recipes = ["quik"]', "unknown recipe 'quik'; did you mean 'quick'?"),
        ("rounds = 1", 'recipes = ["a.toml"]', "there is no recipe file"),
        ("rounds = 1", 'recipes = ["none"]', "iterations 1: recipes none trains nothing"),
        ("rounds = 1", "threads = [9999]", "threads 9999: this machine has"),
        ("rounds = 1", 'devices = ["cpus"]', "devices must be cpu, cuda, cuda:N or all"),
        ("rounds = 1", "dropout = 1.0", "dropout must be a number from 0 to below 1"),
        ("rounds = 1", "time_budget = 0", "time_budget must be seconds above 0"),
        ("rounds = 1", "lengths = [1]", "lengths must be a list of whole numbers from 2"),
        ('["manual_cell"]', '["manual_cel"]', "unknown implementation 'manual_cel'; did you"),
        ('["manual_cell"]', '"manual_cell"', 'or ["all"], got "manual_cell"'),
        ('["manual_cell"]', '["a,b"]', "implementations must be a list of names"),
        ('"manual_cell"\n', '"torch_rn"\n', "unknown baseline 'torch_rn'; did you mean"),
    ],
)
def test_a_wrong_file_is_one_line_and_nothing_runs(bench, written, old, new, said):
    assert old in TINY
    path = written(TINY.replace(old, new, 1))
    status, out, err = bench("sweep", path)
    assert (status, out) == (2, "")
    assert said in err
    assert (str(path) if "recipe file" not in said else "error:") in err
    assert err.count("\n") == 1
    assert not Path("results").exists()


def test_what_is_no_file_of_a_sweep_is_told(bench, tmp_path, written):
    for path, said in {
        tmp_path / "none.toml": "there is no sweep file",
        tmp_path: "is a folder; name a sweep file in it",
        written("", "a b.toml"): "rename the file",
    }.items():
        status, _, err = bench("sweep", path)
        assert (status, err.count("\n")) == (2, 1)
        assert said in err


def test_where_it_runs_is_checked_first(bench, written, monkeypatch):
    path = written(TINY)
    for options, said in {
        ("--on", "rey"): "unknown --on 'rey'; did you mean 'ray'?",
        ("--address", "10.0.0.5:6379"): "add --on ray",
        ("--output", "no/folder"): "--output no/folder cannot be written to",
    }.items():
        status, _, err = bench("sweep", path, *options)
        assert (status, err.count("\n")) == (2, 1)
        assert said in err
    monkeypatch.setattr(launch, "missing_reason", lambda *_: "needs ray, which is not installed")
    assert bench("sweep", path, "--on", "ray")[2] == (
        "error: --on ray needs ray, which is not installed\n"
    )


def test_a_cell_is_the_run_of_the_same_options(written, monkeypatch):
    found = []

    def stop(config, *_):
        found.append(config)
        raise BenchError("that was all")

    monkeypatch.setattr(launch, "execute", stop)
    options = {
        "--impl": "manual_cell,torch_cell",
        "--hidden-size": 8,
        "--num-layers": 2,
        "--nonlinearity": "relu",
        "--dropout": 0.5,
        "--dtype": "float64",
        "--task": "phasor",
        "--iterations": 7,
        "--seed": 3,
        "--workload": "train_step,generate",
        "--batch-size": "2,1",
        "--steps": 50,
        "--preset": "rigorous",
        "--processes": 2,
        "--time-budget": 9.0,
        "--time-limit": 60.0,
    }
    with pytest.raises(SystemExit):
        main(["run", "--no-bias", *(str(word) for pair in options.items() for word in pair)])
    path = written("""
        implementations = ["manual_cell", "torch_cell"]
        hidden_sizes = [8]
        layers = [2]
        nonlinearity = "relu"
        bias = false
        dropout = 0.5
        dtypes = ["float64"]
        task = "phasor"
        iterations = 7
        seeds = [3]
        workloads = ["train_step", "generate"]
        batch_sizes = [2, 1, 2]
        lengths = [50]
        preset = "rigorous"
        processes = 2
        time_budget = 9
        time_limit = 60
    """)
    (cell,) = cells_of(path)
    assert cell.config == found[0]
    assert cell.name == "h8-l2-float64-quick-t50-s3"


def test_a_file_that_says_nothing_is_a_plain_run(written, monkeypatch):
    found = []
    monkeypatch.setattr(launch, "execute", lambda config, *_: found.append(config) or sys.exit(0))
    with pytest.raises(SystemExit):
        main(["run"])
    (cell,) = cells_of(written(""))
    assert cell.config == found[0]


def test_the_grid_is_a_file_each_and_what_is_compared_is_in_all(written):
    path = written("""
        implementations = ["torch_rnn", "manual_cell"]
        hidden_sizes = [16, 64, 16]
        layers = [1, 2]
        dtypes = ["float32", "float64"]
        recipes = ["none", "quick"]
        lengths = [10, 20]
        seeds = [0, 1, 2]
        batch_sizes = [1, 8]
    """)
    cells = cells_of(path)
    assert len({cell.name for cell in cells}) == len(cells) == 2 * 2 * 2 * 2 * 2 * 3
    for cell in cells:
        assert cell.config.implementations == ("torch_rnn", "manual_cell")
        assert cell.config.batch_sizes == {"generate": (1, 8), "train_step": (1, 8)}
    assert Counter(cell.config.model.hidden_size for cell in cells) == {16: 48, 64: 48}


def test_a_recipe_lies_beside_the_sweep_and_brings_its_sizes(written):
    recipe = as_toml(RECIPES["quick"], {"hidden_size": 24, "nonlinearity": "relu"}, "own")
    written(recipe, "own.toml")
    cells = cells_of(written('recipes = ["own.toml", "quick"]'))
    assert [cell.name for cell in cells] == ["h24-l1-float32-own-s0", "h128-l1-float32-quick-s0"]
    assert cells[0].config.own_recipe == RECIPES["quick"]
    assert [cell.config.model.nonlinearity for cell in cells] == ["relu", "tanh"]
    (cell,) = cells_of(written('recipes = ["own.toml"]\nhidden_sizes = [8]'))
    assert cell.config.model.hidden_size == 8


def test_a_cluster_s_devices_and_cores_are_not_ours(written):
    path = written('devices = ["cuda"]\nthreads = [999]')
    (cell,) = cells_of(path, elsewhere=True)
    assert (cell.config.devices, cell.config.threads) == (("cuda",), (999,))
    assert on_ray.demand(cell).resources() == {"CPU": 999.0, "GPU": 1.0, "timing": 1.0}
    with pytest.raises(BenchError, match="devices of a cluster must be cpu or cuda, got 'all'"):
        cells_of(written('devices = ["all"]'), elsewhere=True)


def test_a_dry_run_tells_and_touches_nothing(bench, written):
    status, out, err = bench("sweep", written(TINY), "--dry-run")
    assert (status, err) == (0, "")
    assert "Sweep: 2 cells; about" in out
    assert out.count("to do  about") == 2
    assert not Path("results").exists()


def test_the_paper_s_figure_is_one_file_and_one_command(bench):
    path = ROOT / "docs" / "sweeps" / "paper.toml"
    cells = cells_of(path)
    assert [cell.config.model.hidden_size for cell in cells] == [16, 32, 64, 128, 256, 512, 1024]
    everyone = plugins.register("all", plugins.Plugins(), cells[0].config.devices)
    for cell in cells:
        assert cell.config.implementations == everyone
        for sizes in cell.config.batch_sizes.values():
            assert (min(sizes), max(sizes)) == (1, 4096)
    status, out, _ = bench("sweep", path, "--dry-run")
    assert status == 0
    assert "7 cells; about" in out


def test_the_estimate_is_about_right():
    """Of the reference run; a factor of three is what anybody may rely on."""
    result = records.load(ROOT / "results" / "reference" / "cpu.json")
    took = sum(process.seconds for process in result.processes)
    took += sum(case.training.seconds for case in result.cases if case.training)
    assert took / 3.0 < estimate.cell_seconds(result.config) < 3.0 * took
    short = result.config.model_copy(update={"time_budget": 60.0, "recipe": "none"})
    assert estimate.cell_seconds(short) < estimate.cell_seconds(result.config) / 2.0
    assert [estimate.in_words(each) for each in (0.2, 89, 100, 8000, 1e6)] == [
        "about 1 s", "about 89 s", "about 1.7 min", "about 2.2 h", "about 12 days",
    ]  # fmt: skip


class Runs:
    """In place of real ones: each writes a file that somebody else has measured."""

    def __init__(self, golden):
        self.template = records.load(golden)
        self.seeds, self.earlier = [], []
        self.trouble = {}

    def __call__(self, config, path, progress, *, entries=None, earlier=None):
        self.seeds.append(config.seed)
        self.earlier.append(earlier)
        if error := self.trouble.get(config.seed):
            raise error
        result = self.template.model_copy(update={"config": config})
        records.save(result, path)
        return result


@pytest.fixture
def runs(golden, monkeypatch):
    found = Runs(golden)
    monkeypatch.setattr(runner, "run", found)
    return found


def test_a_cell_that_fails_stops_no_other_and_is_tried_again(bench, written, runs):
    path = written(TINY)
    runs.trouble[0] = BenchError("the worker process keeps ending")
    status, out, err = bench("sweep", path)
    assert (status, runs.seeds) == (1, [0, 1])
    assert f"{FIRST} failed: the worker process keeps ending" in err
    assert "1 of 2 cells are done and ok" in out
    assert f"{FIRST}: the worker process keeps ending" in out
    found = log.load(Path("results/tiny/sweep.json"))
    assert {cell.name: cell.status for cell in found.cells} == {FIRST: "failed", SECOND: "done"}
    runs.trouble.clear()
    status, out, _ = bench("sweep", path)
    assert (status, runs.seeds) == (0, [0, 1, 0])
    assert "2 of 2 cells are done and ok" in out
    bench("sweep", path)
    assert runs.seeds == [0, 1, 0]


def test_a_case_that_failed_shows_in_the_status(bench, written, runs):
    first, *others = runs.template.cases
    failed = first.model_copy(update={"status": "failed", "reason": "out of kernels"})
    runs.template = runs.template.model_copy(update={"cases": (failed, *others)})
    for _ in range(2):  # also when all is there already
        status, out, _ = bench("sweep", written(TINY))
        assert status == 1
        assert "0 of 2 cells are done and ok" in out
    assert runs.seeds == [0, 1]


def test_ctrl_c_keeps_what_is_finished(bench, written, runs):
    runs.trouble[1] = KeyboardInterrupt()
    status, _, err = bench("sweep", written(TINY))
    assert status == 130
    assert "1 of 2 cells done; all so far is in results/tiny; the same command goes on" in err
    assert log.load(Path("results/tiny/sweep.json")).find(FIRST).ok
    runs.trouble.clear()
    assert bench("sweep", written(TINY))[0] == 0
    assert runs.seeds == [0, 1, 1]


def test_a_full_disk_is_one_line(bench, written, runs, monkeypatch):
    monkeypatch.setattr(
        driver.records, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    )
    status, _, err = bench("sweep", written(TINY))
    assert status == 2
    assert err.splitlines()[-1] == "error: cannot write into results/tiny: full"


def test_a_file_of_another_sweep_is_refused_before_anything_runs(bench, written, runs):
    bench("sweep", written(TINY.replace("[0, 1]", "[1]")))
    status, _, err = bench("sweep", written(TINY.replace("iterations = 1", "iterations = 2")))
    assert (status, runs.seeds) == (2, [1])
    assert "s1.json was made with iterations 1, this sweep says 2; choose another folder" in err
    assert err.count("\n") == 1


def test_a_sweep_that_grows_does_what_is_new(bench, written, runs):
    bench("sweep", written(TINY))
    bench("sweep", written(TINY.replace("[0, 1]", "[2, 1, 0]")))
    assert runs.seeds == [0, 1, 2]


def test_files_are_what_counts_not_the_log(bench, written, runs):
    path, folder = written(TINY), Path("results/tiny")
    bench("sweep", path)
    (folder / f"{FIRST}.json").unlink()
    status, out, _ = bench("sweep", path, "--dry-run")
    assert (status, out.count("to do"), out.count("done")) == (0, 1, 2)
    bench("sweep", path)
    assert runs.seeds == [0, 1, 0]
    (folder / "sweep.json").unlink()
    assert bench("sweep", path)[0] == 0
    assert runs.seeds == [0, 1, 0]
    assert {cell.name for cell in log.load(folder / "sweep.json").cells} == {FIRST, SECOND}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "is not the log of a sweep"),
        ('{"kind": "sweep"', "is not JSON, or was cut short"),
        ('{"kind": "sweep", "cells": [{"name": "a b"}]}', "field cells.0.name"),
    ],
)
def test_a_damaged_log_is_one_line(bench, written, runs, text, said):
    folder = Path("results/tiny")
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(text)
    status, _, err = bench("sweep", written(TINY))
    assert (status, runs.seeds, err.count("\n")) == (2, [], 1)
    assert said in err


def test_a_log_is_no_result_and_no_trouble_to_a_folder(bench, written, runs):
    bench("sweep", written(TINY))
    status, _, err = bench("show", "results/tiny/sweep.json")
    assert (status, err.count("\n")) == (2, 1)
    assert "is the log of a sweep: take one of the result files beside it" in err
    status, _, err = bench("leaderboard", "results/tiny", "--hidden-size", "all")
    assert (status, err) == (0, "")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a small sweep that really ran."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "tiny.toml").write_text(TINY)
    with pytest.raises(SystemExit) as end:
        main(["sweep", str(folder / "tiny.toml"), "--output", str(folder / "out")])
    assert end.value.code == 0
    return folder


def test_every_cell_is_a_whole_run_in_a_file_of_its_own(swept):
    cells = cells_of(swept / "tiny.toml")
    for cell in cells:
        result = records.load(cell.file(swept / "out"))
        assert result.config == cell.config
        (case,) = result.cases
        assert case.status == "ok"
        assert case.accuracy
        assert len(case.throughput[0].samples) == 1
        assert list((swept / "out" / cell.name).glob("*.safetensors"))
    first, second = (records.load(cell.file(swept / "out")).cases[0] for cell in cells)
    assert first.weights_digest != second.weights_digest


def test_the_log_says_where_and_when(swept):
    found = log.load(swept / "out" / "sweep.json")
    assert [cell.name for cell in found.cells] == [FIRST, SECOND]
    for cell in found.cells:
        assert (cell.node, cell.cases, cell.ok) == ("here", {"ok": 1}, True)
        assert cell.started_at < cell.ended_at
        assert cell.machine.startswith(
            records.load(swept / "out" / f"{FIRST}.json").environment.cpu
        )
    assert found.cells[0].ended_at <= found.cells[1].started_at
    assert str(swept) not in (swept / "out" / "sweep.json").read_text()


def test_what_was_cut_short_goes_on(swept, tmp_path, capsys):
    """The training stays, and what was not timed is timed; the other file is not touched."""
    folder = tmp_path / "out"
    shutil.copytree(swept / "out", folder)
    whole = records.load(folder / f"{FIRST}.json")
    (case,) = whole.cases
    cut = case.model_copy(update={"status": "pending", "throughput": ()})
    gone = {"cases": (cut,), "controls": (), "canaries": (), "processes": ()}
    records.save(whole.model_copy(update=gone), folder / f"{FIRST}.json")
    other = (folder / f"{SECOND}.json").stat().st_mtime_ns
    with pytest.raises(SystemExit) as end:
        main(["sweep", str(swept / "tiny.toml"), "--output", str(folder)])
    assert end.value.code == 0
    assert "2 cells, 1 of them done; about" in capsys.readouterr().err
    (again,) = records.load(folder / f"{FIRST}.json").cases
    assert (again.status, again.training) == ("ok", case.training)
    assert len(again.throughput[0].samples) == 1
    assert (folder / f"{SECOND}.json").stat().st_mtime_ns == other


def test_nothing_of_json_is_lost(swept):
    """What other tools read is there, under the names of the fields."""
    found = json.loads((swept / "out" / "sweep.json").read_text())
    assert (found["kind"], found["schema_version"]) == ("sweep", 1)
    assert set(found["cells"][0]) == set(log.CellRecord.model_fields)


NODE = {"CPU": 2.0, "timing": 1.0}


def cell_with(**changes):
    config = runner.RunConfig().model_copy(update=changes)
    return Cell("one", config)


@pytest.mark.parametrize(
    ("nodes", "changes", "said"),
    [
        ([{"CPU": 2.0}], {}, "offers the slot that a cell takes; start one with ray start"),
        ([{"CPU": 2.0, "timing": 2.0}], {}, "offers 2 slots, which timings would share"),
        ([NODE], {"devices": ("cuda",)}, "what one needs: 1 CPU, 1 slot (timing), 1 GPU"),
        ([NODE], {"threads": (1, 4)}, "what one needs: 4 CPU, 1 slot (timing)"),
        ([NODE, {"GPU": 1.0}], {"devices": ("cuda",)}, "no node of the Ray cluster has what"),
        ([NODE], {"devices": ("cuda:1",)}, "a GPU of its own, cuda; it cannot name cuda:1"),
    ],
)
def test_a_cluster_that_lacks_something_is_told_at_once(nodes, changes, said):
    with pytest.raises(BenchError) as caught:
        on_ray.check([cell_with(**changes)], nodes)
    assert said in str(caught.value)


def test_a_cell_goes_where_what_it_needs_is():
    gpu = NODE | {"GPU": 4.0}
    assert on_ray.check([cell_with(devices=("cpu", "cuda")), cell_with()], [NODE, gpu]) is None
    line = on_ray.check([cell_with()], [NODE, {"CPU": 8.0}])
    assert line.startswith("1 of 2 nodes offer no slot and get no cells")


def test_trainings_share_a_node_and_timings_never_do():
    both = cell_with(), cell_with(batch_sizes={})
    timing, training = (on_ray.demand(cell).resources() for cell in both)
    assert timing["timing"] == 1.0
    assert 0.0 < 100 * training["timing"] < 1.0


def test_why_ray_brings_nothing_names_no_machine():
    died = type("NodeDiedError", (Exception,), {})("Node IP: 192.0.2.1, node ID: 1234")
    assert connection.reason(died) == "its node died, 6 times in a row"
    raised = Exception("ray::there() (pid=1, ip=192.0.2.1)\n  File x\nModuleNotFoundError: bench\n")
    assert connection.reason(raised) == "on its node: ModuleNotFoundError: bench"


def test_the_readme_s_grid_is_one(written):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (part.partition("```")[0] for part in text.split("```toml\n# grid.toml")[1:])
    written(as_toml(RECIPES["quick"], {}, "own"), "own.toml")
    assert len(cells_of(written(f"#{block}"))) == 30
