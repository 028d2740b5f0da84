"""The README's table of a GPU: what a committed file says, or that nobody has measured it."""

import shutil

import pytest

from bench import records
from docs import gpu
from tests.impls.fitting import ON_CUDA
from tests.readme import ROOT

REFERENCE = ROOT / "results" / "reference"


def test_without_a_file_nothing_is_measured(tmp_path):
    shutil.copy(REFERENCE / "cpu_lab.json", tmp_path)
    shutil.copy(REFERENCE / "selftest.json", tmp_path)
    assert gpu.measured(tmp_path) == []
    [text] = gpu.page([])
    rows = [line for line in text.splitlines() if line.endswith("| not measured yet |")]
    assert [row.split(" | ")[0].strip("| ").replace("\\", "") for row in rows] == list(ON_CUDA)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_file_with_cases_on_cuda_is_shown(device, tmp_path):
    result = records.load(REFERENCE / "cpu_lab.json")
    cases = tuple(case.model_copy(update={"device": device}) for case in result.cases)
    records.save(result.model_copy(update={"cases": cases}), tmp_path / "h.json")
    shutil.copy(REFERENCE / "cpu.json", tmp_path)
    [found] = gpu.measured(tmp_path)
    assert {case.device for case in found.cases} == {device}
    head, table = gpu.page([found])
    assert "not measured" not in head + table
    assert "**Overview**" in table
    assert f"| {device} |" in table
