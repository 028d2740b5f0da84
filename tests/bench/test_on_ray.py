"""Studies and tunings on a real Ray cluster of two nodes: the same answers as here."""

import json
import re

import psutil
import pytest

from bench import records
from bench.studies import files
from tests.bench.clusters import NODE, ROOT, finished, lose_a_node, started, workers_of
from tests.bench.test_tune import TINY, wait_until

STUDY = ("study", "init", "--impl", "manual_cell", "--test-sequences", "3", "--iterations", "2")
VARIED = ("init=normal,orthogonal", "hidden_size=4", "nonlinearity=tanh", "input_scale=1")
SIZES = ("--seeds", "3", *(part for each in VARIED for part in ("--vary", each)))


@pytest.fixture
def both(cluster):
    """The cluster, whole again after whatever the last test did to it."""
    if not cluster.worker_nodes:
        cluster.add_node(**NODE)
    return cluster


def values(path):
    """What each cell of a study found."""
    return [(cell.key, cell.status, cell.values) for cell in files.load(path).cells]


def test_a_study_says_there_what_it_says_here(both, bench, tmp_path):
    there, here = tmp_path / "there.json", tmp_path / "here.json"
    out, err = finished(started(both, *STUDY, *SIZES, "--output", there))
    assert f"study file: {there}" in out
    assert len(err.splitlines()) == 1, err  # nothing of Ray's own
    status, _, err = bench(*STUDY, *SIZES, "--output", here)
    assert status == 0, err
    assert values(there) == values(here)
    assert {cell.machine for cell in files.load(there).cells} == {None}
    assert files.load(there).environment.cpu == files.load(here).environment.cpu
    # And goes on from there.
    whole = files.load(there)
    records.save(whole.model_copy(update={"cells": whole.cells[2:]}), there)
    finished(started(both, "study", "--resume", there))
    assert values(there) == values(here)


def test_times_of_a_study_have_a_node_to_themselves(both, tmp_path):
    path = tmp_path / "s.json"
    vary = ("hidden_size=4", "num_layers=1", "nonlinearity=tanh", "timed=manual_cell",
            "batch_size=1,2", "iterations=1")  # fmt: skip
    options = [option for each in vary for option in ("--vary", each)]
    finished(started(both, "study", "capacity", "--impl", "manual_cell", "--seeds", "2",
                     "--test-sequences", "3", *options, "--output", path))  # fmt: skip
    cells = files.load(path).cells
    assert [cell.status for cell in cells] == ["ok"] * 6
    assert sum(bool(cell.values["steps_per_second"]) for cell in cells) == 4


def test_a_study_loses_nothing_with_a_node(both, bench, tmp_path):
    there, here = tmp_path / "there.json", tmp_path / "here.json"
    process = started(both, *STUDY, *SIZES, "--output", there)
    lost = lose_a_node(both, process)
    finished(process)
    assert psutil.wait_procs(lost, timeout=5.0)[1] == []
    assert bench(*STUDY, *SIZES, "--output", here)[0] == 0
    assert values(there) == values(here)


def test_the_weights_of_a_study_go_along(both, bench, tmp_path):
    there, here = tmp_path / "there.json", tmp_path / "here.json"
    weights = ROOT / "results/reference/best_seed_0/weights_fused_cpu_cpu.safetensors"
    study = ("study", "horizon", "--impl", "manual_cell", "--weights", weights,
             "--test-sequences", "3")  # fmt: skip
    finished(started(both, *study, "--output", there))
    assert bench(*study, "--output", here)[0] == 0
    assert values(there) == values(here)


def tuned(folder):
    """Options of a search of six trials."""
    folder.mkdir()
    return ("tune", *TINY, "--study", "s", "--trials", "6", "--json",
            "--storage", f"sqlite:///{folder}/s.db", "--output", folder / "r.toml")  # fmt: skip


def test_trials_are_the_same_there_one_after_the_other(both, bench, tmp_path):
    out, err = finished(started(both, *tuned(tmp_path / "there"), "--jobs", "1"))
    status, here, _ = bench(*tuned(tmp_path / "here"))
    assert status == 0
    told = [re.sub(r"^trial \d+: ", "", line) for line in err.splitlines()]
    assert all(line.startswith(("tuning, s: ", "MSE ")) for line in told), err
    found, expected = json.loads(out), json.loads(here)
    assert found["points"] == expected["points"]
    assert found["best"] == expected["best"]
    assert (tmp_path / "there" / "r.toml").exists()


@pytest.mark.usefixtures("both")
def test_without_an_address_it_has_a_cluster_of_its_own(tmp_path):
    """Though another is at work on this machine."""
    out, err = finished(started(None, *tuned(tmp_path / "s"), "--jobs", "2"))
    assert len(json.loads(out)["points"]) == 6
    assert err.startswith("tuning, s: 6 steps\n")


def test_a_search_loses_no_trial_with_a_node(both, tmp_path):
    process = started(both, *tuned(tmp_path / "s"))
    lost = lose_a_node(both, process)
    out, _ = finished(process)
    assert psutil.wait_procs(lost, timeout=5.0)[1] == []
    found = json.loads(out)
    assert len(found["points"]) == 6
    assert found["failed"] == 0
    assert len({str(point) for point in found["points"]}) == len(found["points"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((*STUDY, "--jobs", "5"), "--jobs must be from 1 to the 4 cores of the cluster, got 5"),
        (("tune", *TINY, "--jobs", "5"), "--jobs must be from 1 to 4, as many trials as the"),
        (("tune", *TINY, "--device", "cuda"), "no node of the Ray cluster has what a trial needs"),
        (
            ("tune", *TINY, "--device", "all"),
            "of a cluster must be cpu or cuda, got 'all'",
        ),
    ],
)
def test_what_the_cluster_has_not_is_one_line(both, options, said, tmp_path):
    where = ("--output", tmp_path / ("r.toml" if options[0] == "tune" else "s.json"))
    if options[0] == "tune":
        where += ("--storage", f"sqlite:///{tmp_path}/s.db")
    process = started(both, *options, *where)
    out, err = process.communicate(timeout=100.0)
    assert (process.returncode, out) == (2, "")
    assert said in err.splitlines()[-1]
    assert not list(tmp_path.glob("*.json"))


def test_a_place_that_is_none_is_one_line(bench):
    for command in ("study", "tune"):
        for options, said in (
            (("--on", "moon"), "unknown --on 'moon'"),
            (("--address", "1.2.3.4:5"), "is that of a Ray cluster: add --on ray"),
            (("--on", "ray", "--address", "nowhere"), "--address must be HOST:PORT"),
        ):
            name = ("init",) if command == "study" else ()
            status, out, err = bench(command, *name, *options)
            assert (status, out, err.count("\n")) == (2, "", 1)
            assert said in err


def test_a_head_that_has_gone_is_one_line(both, tmp_path):
    """The last test: what is left of the cluster is of no use."""
    process = started(both, *tuned(tmp_path / "s"), "--iterations", "100000")
    wait_until(lambda: (tmp_path / "s" / "s.db").exists() and workers_of(both.head_node))
    (head,) = both.head_node.all_processes["gcs_server"]
    psutil.Process(head.process.pid).kill()
    _, err = process.communicate(timeout=50.0)  # Ray would end it after a minute
    assert process.returncode == 2
    said = "error: the Ray cluster has gone (ConnectionRefusedError)"
    assert err.splitlines()[-1].startswith(said)
