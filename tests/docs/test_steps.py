"""docs/fused_cpu.md: its steps are right, its floor the harness's, its files its commands'."""

import re
import shlex
from itertools import pairwise

import pytest
import torch

import impls
from bench import parity, records
from bench.summary import throughput_rows
from docs.steps import floor
from docs.steps.one_product import THREADS
from impls import Entry, GeneratorConfig
from tests.readme import ROOT

PAGE = ROOT / "docs" / "fused_cpu.md"
RUNS = [
    dict(pairwise(words))
    for line in re.findall(
        r"python -m bench run (.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    if (words := shlex.split(line.replace("\\\n", "")))
]
STEPS = [name for name in RUNS[0]["--impl"].split(",") if ":" in name]
FILE = records.load(ROOT / RUNS[0]["--output"])
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setenv(THREADS, "1")
    with impls.registered({name: Entry(name, "a step") for name in STEPS}):
        yield


def test_the_page_has_all_steps():
    folder = ROOT / "docs" / "steps"
    classes = {
        f"docs.steps.{path.stem}:{name}"
        for path in folder.glob("*.py")
        for name in re.findall(r"^class (\w+)\((?:Step|FusedCPU)\)", path.read_text(), re.MULTILINE)
    }
    assert classes == set(STEPS)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(
    "config",
    [GeneratorConfig(hidden_size=20), GeneratorConfig(input_size=2, hidden_size=5, bias=False)],
    ids=["one feature", "two features, no bias"],
)
def test_a_step_is_right(name, config):
    found = parity.check(name, config, CPU, torch.float32, seed=0)
    assert found.passed, found.reason
    assert (found.gradient_error is not None) == impls.load(name).differentiable


def test_what_a_step_cannot_do_is_refused(monkeypatch):
    def reason(name, config=GeneratorConfig(), device=CPU):  # noqa: B008 - a frozen one
        return impls.load(name).unsupported(config, device, torch.float32)

    plain, product = "docs.steps.plain_loops:PlainLoops", "docs.steps.one_product:OneProduct"
    assert reason(plain) is None
    assert "one layer" in reason(plain, GeneratorConfig(num_layers=2))
    assert "tanh" in reason(plain, GeneratorConfig(nonlinearity="relu"))
    assert "not for cuda" in reason(plain, device=torch.device("cuda"))
    assert reason(product) is None
    monkeypatch.delenv(THREADS)
    assert reason(product) == f"the library would choose its own threads: set {THREADS}=1"


def test_the_floor_is_that_of_the_file():
    """One step of one sequence by hand, the rest as the file's own rows have it."""
    table = floor.floors(FILE)
    cells = {(row[0], row[1]): row for row in table.sections[0]}
    assert len(cells) == sum(row.implementation == "fused_cpu" for row in throughput_rows(FILE))
    H, T, free = 128, 999, 899
    work = 2 * H * H * (T - 1) + 2 * H * T + 2 * H * (T - free)
    [ceilings] = FILE.ceilings
    assert cells["generate", "1"][2] == f"{work / T / 1e3:.1f}k"
    assert float(cells["generate", "1"][3]) == pytest.approx(
        work / T / ceilings.flops_per_second * 1e6, rel=0.01
    )
    for row in cells.values():
        share = float(row[3].replace(",", "")) / float(row[5].replace(",", ""))
        assert float(row[6].rstrip("%")) / 100 == pytest.approx(share, rel=0.05)
    assert floor.sizes(FILE).sections[0][0][1] == "64.0 KiB"


@pytest.mark.parametrize("options", RUNS, ids=lambda options: options["--output"])
def test_the_files_are_those_of_the_commands(options):
    result = records.load(ROOT / options["--output"])
    config = result.config
    assert list(config.implementations) == options["--impl"].split(",")
    assert {case.status for case in result.cases} == {"ok"}
    sizes = {row.batch_size for row in throughput_rows(result)}
    assert sizes == {int(size) for size in options["--batch-size"].split(",")}
    assert config.recipe == options["--recipe"]
    assert ",".join(map(str, config.threads)) == options.get("--threads", "1")


def test_the_tables_are_of_those_files():
    shown = set(re.findall(r"<!-- output of: .*?(results/\S+)", PAGE.read_text(encoding="utf-8")))
    assert shown == {options["--output"] for options in RUNS}
