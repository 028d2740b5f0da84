"""What all tests share: no pool of threads, steady hypothesis, benchmarks apart, a small result."""

import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

import impls
from bench import plugins
from impls import Entry

settings.register_profile(
    "rnn-bench",
    deadline=None,  # the first call of a shape is slower than the others
    derandomize=True,  # a red test is red again on the next machine
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("rnn-bench")

# Whatever is plugged in on this machine: the commands are tested as they come. For all processes.
os.environ[plugins.SWITCH] = "1"

# What torch.compile makes is kept for all tests and the processes that they start: in a folder of
# this run alone, so that a test never sees what another version left.
_COMPILED = tempfile.TemporaryDirectory(prefix="rnn-bench-compiled-")
os.environ["TORCHINDUCTOR_CACHE_DIR"] = _COMPILED.name

GOLDEN = Path(__file__).parent / "bench" / "golden"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A plain ``pytest`` checks; only ``--benchmark-only`` times.

    What a GPU's tests compile for minutes comes last: when their time is over, the others are done.
    """
    items.sort(key=_compiles_for_a_gpu)  # all else stays in its order
    if config.getoption("--benchmark-only"):
        return
    timed = [item for item in items if "benchmark" in getattr(item, "fixturenames", ())]
    if timed:
        config.hook.pytest_deselected(items=timed)
        items[:] = [item for item in items if item not in timed]


def _compiles_for_a_gpu(item: pytest.Item) -> bool:
    asked = getattr(item, "callspec", None)
    entry = impls.REGISTRY.get(asked.params.get("name")) if asked else None
    return bool(entry and entry.compiles and item.get_closest_marker("gpu"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip(f"needs a CUDA device; torch {torch.__version__} sees none")


@pytest.fixture(autouse=True, scope="session")
def no_worker_of_ours():
    """A pytest that a test starts is its own: as one of several it would time nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_XDIST_WORKER", raising=False)
        yield


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def same_registry():
    """No test leaves anything in the registry for the next."""
    before = dict(impls.REGISTRY)
    yield
    assert before == impls.REGISTRY, "a test left something in the registry"


@pytest.fixture
def golden() -> Path:
    """A result file of today's schema, as it must stay readable."""
    return GOLDEN / "result-5.json"


@pytest.fixture
def golden_4() -> Path:
    """A result file of schema 4, as it must stay readable."""
    return GOLDEN / "result-4.json"


@pytest.fixture
def golden_3() -> Path:
    """A result file of schema 3, as it must stay readable."""
    return GOLDEN / "result-3.json"


@pytest.fixture
def golden_2() -> Path:
    """A result file of schema 2, as it must stay readable."""
    return GOLDEN / "result-2.json"


@pytest.fixture
def golden_1() -> Path:
    """A result file of schema 1, as it must stay readable."""
    return GOLDEN / "result-1.json"


@pytest.fixture
def register(monkeypatch):
    """Put an implementation of tests/liars into the registry for one test."""

    def add(name: str) -> str:
        entry = Entry(f"tests.liars.{name}:Liar", "cheats")
        monkeypatch.setitem(impls.REGISTRY, name, entry)
        return name

    return add


@pytest.fixture
def bench(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder; gives (status, standard output, standard error)."""
    from bench.cli import main

    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command
