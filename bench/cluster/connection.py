"""A Ray cluster: reached or started, what its nodes have, and what its errors mean."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.cluster.needs import SLOT, Resources
from bench.errors import BenchError, telling_line
from bench.remote import MOST_RETRIES

# How often it is looked whether anything has come in, and which nodes there still are.
GLANCE_SECONDS = 2.0
# How long work waits for a node that has what it needs, once the last such node has gone.
LONGEST_WAIT_SECONDS = 60.0
LONGEST_CONNECT_SECONDS, LONGEST_PROBE_SECONDS = 5.0, 30.0
OBJECT_STORE_BYTES = 200_000_000
NOWHERE_LEFT = "no node that is left has what it needs"
_PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"
_OPENMP = "OMP_NUM_THREADS"
# Ray's errors that no exception of a task is behind, by their names.
_ENDINGS = {
    "NodeDiedError": f"its node died, {MOST_RETRIES + 1} times in a row",
    "WorkerCrashedError": f"Ray's process for it ended, {MOST_RETRIES + 1} times in a row",
    "OutOfMemoryError": "Ray ended it, for its node ran out of memory",
}


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster, or to one that is started here and ends with this.

    Raises:
        BenchError: there is none at the address, or it cannot be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Where work has no GPU the others are still there, as they are here.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is not None:
        _check_answers(address)
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    where: dict[str, Any] = {
        "address": "local",  # one of our own, though another may be at work on this machine
        "resources": {SLOT: 1.0},
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    if address is not None:
        where = {"address": address}
    try:
        ray.init(**where, **quiet)
    except Exception as error:  # noqa: BLE001 - whatever Ray raises, there is no cluster
        what = f"no Ray cluster at {address}" if address else "Ray does not start here"
        raise BenchError(f"{what}: {telling_line(str(error)) or type(error).__name__}") from None
    with _no_output():
        try:
            yield ray
        finally:
            with contextlib.suppress(Exception):
                ray.shutdown()


def alive(ray: Any) -> list[Resources]:
    """What each node that is alive has in all.

    Raises:
        OSError: the head is gone; Ray itself would wait, and end this process after a minute.
    """
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    with socket.create_connection((host, int(port)), LONGEST_CONNECT_SECONDS):
        pass
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def looked(ray: Any, references: list[Any]) -> tuple[list[Any], list[Resources]]:
    """What of these has come in, or nothing for a while, and the nodes there are.

    Raises:
        BenchError: the cluster has gone.
    """
    try:
        finished, _ = ray.wait(references, num_returns=1, timeout=GLANCE_SECONDS)
        return finished, alive(ray)
    except Exception as error:  # noqa: BLE001 - whatever Ray raises, nothing comes in any more
        raise BenchError(f"the Ray cluster has gone ({type(error).__name__})") from None


def this_node() -> str:
    """On a node: Ray's id of it, which names no machine."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def reason(error: Exception) -> str:
    """Why Ray brings nothing, in a few words: its own name machines, and fill a screen."""
    name = type(error).__name__
    if name in _ENDINGS:
        return _ENDINGS[name]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # What a task raises is a traceback, which ends with what was wrong.
    return f"on its node: {lines[-1]}" if lines else f"on its node: {name}"


@contextmanager
def as_anywhere(threads: int) -> Iterator[None]:
    """On a node: workers that start in here are as those of any run, and inherit nothing of Ray's.

    A spawned process would import its main module, Ray with it; and Ray sets the threads of OpenMP
    to the CPUs of the task, ``threads``.
    """
    main, set_threads = sys.modules["__main__"], os.environ.get(_OPENMP)
    sys.modules["__main__"] = ModuleType("__main__")
    if set_threads == str(threads):
        del os.environ[_OPENMP]
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if set_threads is not None:
            os.environ[_OPENMP] = set_threads


@contextmanager
def _no_output() -> Iterator[None]:
    """A thread of Ray's writes to standard output whatever happens to a node, and none can stop it.

    Nobody has anything to say there meanwhile.
    """
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield


def _check_answers(address: str) -> None:
    """Whether a cluster is there that this Ray can join.

    A process of its own tries: of an address where something else listens Ray never lets go, and of
    what it cannot join it may end the process.

    Raises:
        BenchError: there is none, or it is no address.
    """
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise BenchError(f"--address must be HOST:PORT, such as 10.0.0.5:6379, got '{address}'")
    try:
        with socket.create_connection((host, int(port)), LONGEST_CONNECT_SECONDS):
            pass
        command = [sys.executable, "-c", _PROBE, address]
        subprocess.run(command, capture_output=True, check=True, timeout=LONGEST_PROBE_SECONDS)  # noqa: S603 - our own code; the address is an argument
    except OSError as error:
        fault = error.strerror or str(error)
    except subprocess.TimeoutExpired:
        fault = f"something listens, but did not let Ray in for {LONGEST_PROBE_SECONDS:g} s"
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        fault = said[-1].strip()[:300] if said else f"Ray ended with status {error.returncode}"
    else:
        return
    raise BenchError(
        f"no Ray cluster answers at {address} ({fault}); start one with ray start --head "
        f"--resources='{{\"{SLOT}\": 1}}', or leave --address out"
    )
