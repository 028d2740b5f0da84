"""Sweeps on a real Ray cluster of two nodes, which the tests start on this machine."""

import socket
import time
from itertools import pairwise

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from bench import records
from bench.cli import main
from bench.cluster import connection
from bench.sweeping import log
from tests.bench.clusters import finished, lose_a_node, started

COMMON = """
implementations = ["manual_cell"]
baseline = "manual_cell"
hidden_sizes = [4]
"""
TRAINING = (
    COMMON
    + """
iterations = 2
seeds = [0, 1]
workloads = []
"""
)
TIMING = (
    COMMON
    + """
recipes = ["none"]
seeds = [0, 1, 2]
workloads = ["generate"]
batch_sizes = [1]
lengths = [10]
processes = 1
rounds = 1
"""
)


def begun(cluster, text, folder):
    """The command, at work on the cluster."""
    path = folder / "some.toml"
    path.write_text(text)
    return started(cluster, "sweep", path, "--output", folder / "out")


def files(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_the_same_cells_and_the_same_figures_as_here(cluster, tmp_path):
    out, err = finished(begun(cluster, TRAINING, tmp_path))
    assert "2 of 2 cells are done and ok" in out
    # Nothing of Ray's own: the total, and a line a cell.
    assert len(err.splitlines()) == 3, err
    here = tmp_path / "here"
    with pytest.raises(SystemExit) as end:
        main(["sweep", str(tmp_path / "some.toml"), "--output", str(here)])
    assert end.value.code == 0
    assert files(tmp_path / "out") == files(here)
    for file in sorted(here.glob("h*.json")):
        mine, its = records.load(file), records.load(tmp_path / "out" / file.name)
        assert its.config == mine.config
        assert its.cases[0].weights_digest == mine.cases[0].weights_digest
        assert its.cases[0].accuracy == mine.cases[0].accuracy
        assert its.environment.cpu == mine.environment.cpu
        weights = f"{file.stem}/weights_manual_cell_cpu.safetensors"
        ours, theirs = load_file(here / weights), load_file(tmp_path / "out" / weights)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def after_a_death(cluster, tmp_path_factory):
    """A sweep that lost one of the two nodes in the middle: folder, output, lost processes."""
    folder = tmp_path_factory.mktemp("death")
    process = begun(cluster, TIMING, folder)
    lost = lose_a_node(cluster, process)
    return folder / "out", *finished(process), lost


def test_a_node_that_dies_loses_nothing(after_a_death):
    folder, out, err, lost = after_a_death
    assert out.startswith("\nSweep: 3 of 3 cells are done and ok")
    said = [line for line in err.splitlines() if " is done (" not in line]
    assert said[1:] == ["1 of 2 nodes gone; what was there begins anew"]
    assert psutil.wait_procs(lost, timeout=5.0)[1] == []
    files = sorted(folder.glob("h*.json"))
    assert [file.stem for file in files] == [f"h4-l1-float32-none-t10-s{n}" for n in range(3)]
    for file in files:
        (case,) = records.load(file).cases
        assert len(case.throughput[0].samples) == 1


def test_two_timings_never_overlap_on_a_node(after_a_death):
    """The node that is left has processors for two cells at once, and a slot for one."""
    cells = log.load(after_a_death[0] / "sweep.json").cells
    assert len({cell.node for cell in cells}) == 1
    times = sorted((cell.started_at, cell.ended_at) for cell in cells)
    assert len(times) == 3
    assert all(end <= start for (_, end), (start, _) in pairwise(times))


def test_a_cluster_that_cannot_be_reached_is_one_line(bench, tmp_path):
    pytest.importorskip("ray", reason="needs ray, the extra of that name", exc_type=ImportError)
    path = tmp_path / "some.toml"
    path.write_text(TRAINING)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        began = time.monotonic()
        status, out, err = bench("sweep", path, "--on", "ray", "--address", address)
    assert time.monotonic() - began < 20.0
    assert (status, out) == (2, "")
    (error,) = err.splitlines()
    assert error.startswith(f"error: no Ray cluster answers at {address} (Connection refused)")
    for wrong in ("10.0.0.5", ":6379", "10.0.0.5:99999", "10.0.0.5:ray"):
        status, _, err = bench("sweep", path, "--on", "ray", "--address", wrong)
        assert status == 2
        assert err.startswith("error: --address must be HOST:PORT, such as")
    assert not (tmp_path / "results").exists()


def test_what_listens_but_is_no_cluster_is_one_line(bench, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="needs ray, the extra of that name", exc_type=ImportError)
    monkeypatch.setattr(connection, "LONGEST_PROBE_SECONDS", 4.0)
    path = tmp_path / "some.toml"
    path.write_text(TRAINING)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        status, out, err = bench("sweep", path, "--on", "ray", "--address", address)
    assert (status, out, err.count("\n")) == (2, "", 1)
    said = "something listens, but did not let Ray in for 4 s"
    assert err.startswith(f"error: no Ray cluster answers at {address} ({said}); start one")
