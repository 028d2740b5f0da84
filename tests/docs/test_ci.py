"""The workflow of docs/ci.md does what it says: its commands are run, on a small repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.records import load
from tests.readme import ROOT

PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load(PAGE.partition("```yaml\n")[2].partition("```")[0])
STEPS = {step["name"]: step for step in WORKFLOW["jobs"]["compare"]["steps"] if "name" in step}
SMALL = "--hidden-size 8 --batch-size 1 --steps 20 --workload generate --processes 2 --rounds 2"
ENTRIES = ("bench", "impls", "tasks")


def git(folder, *words):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    """What the workflow finds: a checkout whose base branch is known as origin/main."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ENTRIES:
        subprocess.run(["cp", "-r", ROOT / name, folder / name], check=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "base")
    git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")
    cell = folder / "impls" / "manual_cell.py"
    cell.write_text(cell.read_text() + "\n# the pull request\n")
    git(folder, "commit", "--quiet", "--all", "--message", "pull request")
    return folder


def run(step, folder, **changes):
    """A step as the runner runs it: with bash -e, where python is this one."""
    here = {
        "RUNNER_TEMP": str(folder.parent),
        "GITHUB_BASE_REF": "main",
        "GITHUB_STEP_SUMMARY": str(folder.parent / "summary.md"),
        "BENCH": f"{WORKFLOW['jobs']['compare']['env']['BENCH']} {SMALL}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", STEPS[step]["run"]],
        cwd=folder,
        env=os.environ | here | changes,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_pull_request_is_compared_with_its_base(repository):
    for step in ("Time the base branch", "Time the pull request"):
        done = run(step, repository)
        assert done.returncode == 0, done.stderr
    base, new = (load(repository.parent / f"{name}.json") for name in ("base", "pull-request"))
    assert [case.implementation for case in base.cases] == ["torch_rnn", "manual_cell", "fused_cpu"]
    # Each measured its own checkout.
    assert base.environment.git_commit != new.environment.git_commit
    assert {base.environment.git_dirty, new.environment.git_dirty} == {False}
    compared = run("Compare", repository)
    assert compared.returncode in (0, 1), compared.stderr  # so few samples may say anything
    summary = (repository.parent / "summary.md").read_text()
    assert "| workload | batch | implementation |" in summary
    assert "| generate | 1 | manual\\_cell | cpu |" in summary


def test_a_row_that_is_gone_fails_the_job(repository):
    gone = f"--preset quick --recipe none --impl torch_rnn {SMALL}"
    assert run("Time the base branch", repository).returncode == 0
    assert run("Time the pull request", repository, BENCH=gone).returncode == 0
    compared = run("Compare", repository)
    assert compared.returncode in (1, 3)
    assert "is missing" in compared.stderr


def test_the_steps_that_are_not_run_here_name_files_that_are_there():
    install = STEPS["Install"]["run"].split()
    assert (ROOT / install[install.index("--constraint") + 1]).is_file()
    assert WORKFLOW[True] == "pull_request"  # YAML takes the key `on` for a truth value
    kept = STEPS["Keep the files"]["with"]["path"]
    assert kept == "${{ runner.temp }}/*.json"
