"""The paper's sweep as it was measured: whole, by the committed file; its page says the same."""

import re

import pytest
import torch

from bench import plugins
from bench.leaderboard import load
from bench.merged import merged
from bench.reporting import page
from bench.sweeping import driver, grid, sweep_file
from tests.readme import ROOT

SWEEP = ROOT / "docs" / "sweeps" / "paper.toml"
FOLDER, PAGE = ROOT / "results" / "reference" / "paper", ROOT / "docs" / "paper" / "index.html"


@pytest.fixture(scope="module")
def results():
    found, damaged = load([FOLDER])
    assert damaged == []
    return found


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the sweep has more cases")
def test_the_files_are_those_of_the_sweep():
    cells = grid.cells(SWEEP, sweep_file.load(SWEEP), plugins.Plugins())
    known = driver.known(cells, FOLDER)
    assert all(map(known.is_done, cells))
    assert all(record.ok for record in driver.of_cells(cells, known.log))


def test_they_are_of_one_machine_and_of_a_commit(results):
    assert len(merged(results)) == 1
    for result in results.values():
        assert result.environment.git_dirty is False
        assert all(case.parity.passed for case in result.cases)


def test_the_page_holds_their_numbers(results):
    (one,) = merged(results).values()
    made = page.page({str(FOLDER.relative_to(ROOT)): one})
    assert _lasting(PAGE.read_text(encoding="utf-8")) == _lasting(made)


def _lasting(text):
    """A page without its date, and without its figures: matplotlib draws them as it likes."""
    return re.sub(r"<p>Made [^,]*, rnn-bench \S+|<svg.*?</svg>", "", text, flags=re.DOTALL)
