"""The README and docs/*.md tell the truth: outputs are their commands', numbers are measured."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import selftest
from bench.config import PRESETS, RunConfig
from bench.records import load
from impls import REGISTRY
from tests.readme import CONSOLE, MARKDOWN, PAGES, README, ROOT, output

TEXT = README.read_text(encoding="utf-8")
REFERENCE = ROOT / "results" / "reference" / "cpu.json"
SELF_TEST = REFERENCE.with_name("selftest.json")
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
PLACES = [
    (m[2], m[3])
    for text in TEXTS.values()
    for m in [*MARKDOWN.finditer(text), *CONSOLE.finditer(text)]
]


@pytest.mark.parametrize(("command", "shown"), PLACES, ids=[command for command, _ in PLACES])
def test_outputs_are_real(command, shown):
    if command == "python -m docs.kernels":
        pytest.importorskip("triton", reason="needs triton, the extra of that name")
    found = output(command)
    # What is installed and what is plugged in differs from machine to machine.
    if command.startswith("python -m bench list"):
        shown, found = (re.sub(r"torch \S+|GPUs: .*", "", text) for text in (shown, found))
    # Rounding differs in the last bit from processor to processor.
    if command.startswith("python -m bench check"):
        shown, found = (re.sub(r"\d\.\de-\d\d", "#", text) for text in (shown, found))
    assert shown.split() == found.split()


def test_every_command_is_there():
    for command in ("run", "list", "check", "show", "compare", "selftest"):
        assert any(f"python -m bench {command}" in place for place, _ in PLACES), command


def test_the_reference_is_a_whole_default_run():
    result = load(REFERENCE)
    seconds = PRESETS["default"].seconds
    everyone = tuple(name for name, entry in REGISTRY.items() if "cpu" in entry.devices)
    assert result.config == RunConfig(implementations=everyone, sampling_seconds=seconds)
    assert result.environment.git_dirty is False
    assert {case.status for case in result.cases} == {"ok"}
    assert all(case.accuracy.mse_mean <= 2e-4 for case in result.cases if case.differentiable)


def test_the_self_test_holds_what_it_is_quoted_for():
    found = selftest.load(SELF_TEST)
    assert found.environment.git_dirty is False
    assert found.config.runs >= 40
    assert found.config.pairs >= 200
    rates = selftest.judge(found)
    assert rates.false_files.share <= 0.05
    assert rates.false_arms.share <= 0.05
    assert rates.power_arms.share >= 0.9
    assert rates.coverage_arms.share >= 0.9


def test_the_first_screen():
    screen = "\n".join(TEXT.splitlines()[:50])
    for words in ("make bench", "make test", "tanh", "Timed", "Not timed"):
        assert words in screen
    assert screen.count("<!-- output of: python -m bench show results/reference/cpu.json") == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", TEXTS[page]):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_example_implementation_works(tmp_path):
    """The README's new implementation, pasted as it stands, passes the gate."""
    [code] = re.findall(r"```python\n# impls/my_cell.py\n(.*?)```", TEXT, re.DOTALL)
    [line] = re.findall(r'^    ("my_cell": Entry\(.*\)),$', TEXT, re.MULTILINE)
    module = tmp_path / "my_cell.py"
    module.write_text(code)
    entry = line.partition(": ")[2].replace("impls.my_cell", "my_cell")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import impls; from impls import Entry\n"
        f"impls.REGISTRY['my_cell'] = {entry}\n"
        "from bench.cli import main; main(['check', '--impl', 'my_cell', '--num-layers', '2'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass" in done.stdout


def test_no_trace_of_this_machine():
    for text in TEXTS.values():
        assert str(Path.home()) not in text
        assert str(ROOT) not in text
