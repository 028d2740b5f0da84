"""scripts/on_gpu.sh as far as it goes without a GPU: in little, on the CPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import records
from impls import REGISTRY
from tests.impls.fitting import ON_CUDA

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "on_gpu.sh"
PARTS = ["tests", "check", "selftest", "benchmark"]
NINE_MINUTES = 540
# Of a rehearsal on whatever machine; the tests are to run out of theirs.
LIMITS = {
    "TESTS_SECONDS": "1", "CHECK_SECONDS": "400", "SELFTEST_SECONDS": "400",
    "BENCHMARK_SECONDS": "600",
}  # fmt: skip
# What compiles for a minute is rehearsed by its own tests.
UNCOMPILED = tuple(name for name in ON_CUDA if not REGISTRY[name].compiles)
COMPILED = tuple(name for name in ON_CUDA if REGISTRY[name].compiles)


def on_gpu(*arguments, **environment):
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHON": sys.executable} | environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """A rehearsal whose tests get one second: what it printed, and its folder."""
    folder = tmp_path_factory.mktemp("rehearsal") / "gpu"
    asked = ["--impl", ",".join(UNCOMPILED)]
    return on_gpu("--device", "cpu", "--rehearse", *asked, folder, **LIMITS), folder


def test_it_goes_the_whole_way_and_names_what_failed(rehearsed):
    done, _ = rehearsed
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.findall(r"^== (\w+), at most", done.stdout, re.MULTILINE) == PARTS
    assert done.stdout.endswith("failed:\n  tests (not done in 1 s)\n")


def test_it_leaves_a_result_file_of_what_was_asked_for(rehearsed):
    _, folder = rehearsed
    result = records.load(folder / "gpu.json")
    assert tuple(case.implementation for case in result.cases) == UNCOMPILED
    statuses = {case.implementation: case.status for case in result.cases}
    assert statuses["torch_rnn"] == "ok"
    assert statuses["cuda_graph"] == "unsupported"
    assert set(result.environment.precision.values()) == {"ieee"}


def test_it_leaves_plots_and_a_log(rehearsed):
    done, folder = rehearsed
    assert (folder / "gpu" / "throughput.png").stat().st_size > 0
    assert (folder / "log.txt").read_text(encoding="utf-8") == done.stdout


def test_an_earlier_result_stays(rehearsed):
    _, folder = rehearsed
    before = (folder / "gpu.json").read_bytes()
    done = on_gpu("--device", "cpu", "--rehearse", folder)
    assert done.returncode == 2
    assert done.stderr == f"error: {folder} has a gpu.json already; give another folder\n"
    assert (folder / "gpu.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devise"], "unknown option --devise"),
        (["--device"], "--device needs a name"),
        (["--impl"], "--impl needs a comma list of names"),
        (["a", "b"], "one folder, not two: a and b"),
    ],
)
def test_bad_arguments(arguments, message):
    done = on_gpu(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")


def test_the_help_is_the_scripts_own():
    done = on_gpu("--help")
    assert done.returncode == 0
    options = "[--device cuda] [--impl NAME,NAME] [--rehearse] [FOLDER]"
    assert f"scripts/on_gpu.sh {options}" in done.stdout
    assert "set -uo" not in done.stdout


def test_all_parts_together_take_less_than_nine_minutes():
    boxes = re.findall(r"^\w+_seconds=(?:\$\{\w+:-)?(\d+)", SCRIPT.read_text(), re.MULTILINE)
    assert len(boxes) == len(PARTS) + 2  # of what compiles, and of the tables
    assert sum(map(int, boxes)) < NINE_MINUTES


def test_every_cuda_implementation_is_asked_for_unless_names_are_given(tmp_path):
    stand_in = tmp_path / "python"
    stand_in.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\necho "$@"\n')
    stand_in.chmod(0o755)
    done = on_gpu(tmp_path / "gpu", PYTHON=str(stand_in))
    for some in (UNCOMPILED, COMPILED):
        assert f"-m bench check --impl {','.join(some)} --device cuda\n" in done.stdout
    assert f"-m bench run --impl {','.join(ON_CUDA)} --device cuda --recipe none" in done.stdout
