"""A real Ray cluster of two nodes on this machine, and commands at work on it."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
NODE = {"num_cpus": 2, "resources": {"timing": 1}, "include_dashboard": False}
# A process for every processor before anybody asks for one takes as long as a cell.
QUICK = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}
LONGEST_SECONDS = 400.0  # a cell takes seconds, and on a busy machine a minute


def two_nodes():
    """Start it, give it, end it."""
    pytest.importorskip("ray", reason="needs ray, the extra of that name", exc_type=ImportError)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        found = Cluster(initialize_head=True, head_node_args=NODE)
        found.add_node(**NODE)
        yield found
        found.shutdown()


def started(cluster, *arguments):
    """A command, at work on the cluster; on one of its own where there is None."""
    where = ("--address", cluster.address) if cluster else ()
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments), "--on", "ray", *where],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process):
    """What it has said, once it is over."""
    out, err = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == 0, err
    return out, err


def workers_of(node):
    """The processes of runs on a node."""
    (raylet,) = node.all_processes["raylet"]
    found = psutil.Process(raylet.process.pid).children(recursive=True)
    return [process for process in found if "spawn_main" in " ".join(process.cmdline())]


def lose_a_node(cluster, process, ready=lambda: True):
    """Kill the second node while it works for ``process``; gives the workers that it had."""
    (node,) = cluster.worker_nodes
    began = time.monotonic()
    while not ((lost := workers_of(node)) and ready()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < LONGEST_SECONDS
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)
    return lost
