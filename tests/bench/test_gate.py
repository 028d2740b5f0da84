"""Whoever cheats is caught, and by the gate: without it each of them would end as "ok".

The model is large enough for the floor, which counts operations, to be far above a look-up.
"""

import re

import numpy as np
import pytest
import torch

from bench import ceilings, environment, evaluation, measure, parity, runner, worker, workloads
from bench.arms import Arms
from bench.config import EvaluationConfig, RunConfig
from bench.progress import Silent
from bench.remote import Inline
from impls import Entry, GeneratorConfig

CONFIG = RunConfig(
    implementations=("manual_cell",),
    baseline="manual_cell",
    model=GeneratorConfig(hidden_size=128),
    recipe="lab",
    iterations=1,
    processes=1,
    rounds=2,
    batch_sizes={"generate": (4,)},
    evaluation=EvaluationConfig(sequences=4, points=120),
)
BOTH = {"batch_sizes": {"generate": (4,), "train_step": (2,)}}
SIXTEEN = {"batch_sizes": {"generate": (16,)}}
SMALL = {"model": GeneratorConfig(hidden_size=8)}
RELU = {"model": GeneratorConfig(hidden_size=128, nonlinearity="relu")}

NOT_DONE = r"^generate at batch 4: \S+ s a call is less than .*: the work was not done$"
WRONG = r"^generate at batch \d+: error \S+ of the timed work"

# liar, what the reason must say, changes to the config.
CAUGHT = [
    ("caches_by_address", WRONG, {}),
    ("caches_by_address", WRONG, SMALL),
    ("works_on_the_side", WRONG, {}),
    ("skips_free_steps", WRONG, {}),
    ("skips_free_steps", WRONG, RELU),
    ("lazy_when_long", WRONG, {}),
    ("lazy_every_other_block", WRONG, {}),
    ("right_for_parity_seeds", WRONG, {}),
    ("nan_when_timed", "^generate at batch 4: error nan of the timed work$", {}),
    ("wrong_gradient_when_timed", r"^train_step at batch 2: error \S+ of the timed work$", BOTH),
    ("float16_quietly", r"^parity: output error \S+, above 1e-05$", {}),
    ("mutates_when_timed", "generate at batch 4: the inputs were changed$", BOTH),
    ("works_on_eight", WRONG, SIXTEEN),
    ("works_when_looked_at", "gave a Later, not a plain tensor$", {}),
    ("takes_more_threads", r"set the number of threads to \d+$", {}),
    ("ignores_biases_when_long", WRONG, {}),
    ("predicts_by_law", r"^evaluation: error \S+ of the predictions", {}),
]


@pytest.fixture(autouse=True)
def short_measurements(monkeypatch):
    """Less patience in what is not tested here; the floor stays a measurement.

    A tenth of the block: it is filled with look-ups that get new data, so each is real work once.
    """
    monkeypatch.setattr(measure, "SHORTEST_BLOCK_SECONDS", 0.002)
    monkeypatch.setattr(ceilings, "REPEATS", 3)
    monkeypatch.setattr(ceilings, "PRODUCT_SIZES", (256,))
    monkeypatch.setattr(ceilings, "LARGE_COPY_BYTES", 1 << 24)
    monkeypatch.setattr(measure, "LONGEST_WARM_UP_SECONDS", 0.1)
    monkeypatch.setattr(measure, "WINDOW_SECONDS", 0.02)
    monkeypatch.setattr(worker, "peak_memory_bytes", lambda *_: None)


@pytest.fixture
def without_gate(monkeypatch):
    """Parity passes, what was timed is right, and nothing is too fast: whatever is the case."""
    honest = parity.check

    def passing(*args, **kwargs):
        found = honest(*args, **kwargs)
        return found.model_copy(update={"passed": True, "reason": None})

    monkeypatch.setattr(parity, "check", passing)
    for kind in (workloads.Inference, workloads.TrainStep):
        monkeypatch.setattr(kind, "error", lambda *_: 0.0)
    monkeypatch.setattr(workloads.Workload, "_last", lambda self: self._data[self._turn])
    monkeypatch.setattr(workloads, "_plain", lambda tensor: parity.array(tensor).copy())
    monkeypatch.setattr(evaluation, "_check", lambda *_: None)
    monkeypatch.setattr(environment, "changed", lambda _: None)
    monkeypatch.setattr(Arms, "too_fast", lambda _: iter(()))


def run_with(liar, changes):
    """The liar's case of a run, beside an honest one that must come out whole."""
    config = CONFIG.model_copy(update={"implementations": ("manual_cell", liar), **changes})
    result = runner.run(config, None, Silent(), start=Inline, entries=entries(liar))
    honest, lying = result.cases
    if not is_whole(honest, config):  # no AssertionError, which some tests here expect
        raise RuntimeError(f"the honest case is {honest.status}: {honest.reason}")
    return lying, config


def entries(liar):
    return {
        "manual_cell": Entry("impls.manual_cell:ManualCell", "honest"),
        liar: Entry(f"tests.liars.{liar}:Liar", "cheats"),
    }


def is_whole(case, config):
    """Whether it is ok and has all rows, and these all samples."""
    rows = [(name, size, 1) for name, sizes in config.batch_sizes.items() for size in sizes]
    rounds = list(range(config.rounds))
    return (
        case.status == "ok"
        and case.accuracy is not None
        and [row.key for row in case.throughput] == rows
        and all([sample.round for sample in row.samples] == rounds for row in case.throughput)
    )


def assert_caught(liar, reason, changes):
    lying, _ = run_with(liar, changes)
    assert lying.status == "failed"
    assert re.search(reason, lying.reason)
    assert lying.throughput == ()


def named(rows):
    return [f"{liar}-{number}" for number, (liar, *_) in enumerate(rows)]


@pytest.mark.parametrize(("liar", "reason", "changes"), CAUGHT, ids=named(CAUGHT))
def test_the_gate_catches_it_and_nobody_else(liar, reason, changes):
    assert_caught(liar, reason, changes)


@pytest.mark.parametrize(("liar", "reason", "changes"), CAUGHT, ids=named(CAUGHT))
def test_without_the_gate_it_gets_through(liar, reason, changes, without_gate):
    lying, config = run_with(liar, changes)
    assert is_whole(lying, config)


@pytest.mark.parametrize("changes", [{}, SMALL], ids=["large", "small"])
@pytest.mark.parametrize("liar", ["returns_cached", "works_in_init"])
def test_right_answers_from_before_are_never_asked_for_again(liar, changes):
    """Their cheat is no use: whoever looks known data up has to do the work like anybody else."""
    config = CONFIG.model_copy(update=changes)
    result = runner.run(
        config.model_copy(update={"implementations": ("manual_cell", liar)}),
        None,
        Silent(),
        start=Inline,
        entries=entries(liar),
    )
    honest, lying = (case.throughput[0].steps_per_second.estimate for case in result.cases)
    assert lying < 2.0 * honest


@pytest.mark.parametrize("liar", ["returns_cached", "works_in_init", "works_on_the_side"])
def test_the_floor_alone_would_catch_it(liar, without_gate, monkeypatch):
    """Work that was not done shows in the time, even if all its answers were right."""
    monkeypatch.undo()
    monkeypatch.setattr(workloads.Inference, "error", lambda *_: 0.0)
    monkeypatch.setattr(workloads.Workload, "refresh", unchanging)
    assert_caught(liar, NOT_DONE, {})


def unchanging(self, _):
    """Data that a look-up knows."""
    self._factors = self._tensor(np.ones((self._sets, 1, 1, 1, 1)))
    self._data = self._pool.memory(self._owner, self._sets, self._base)
    torch.mul(self._base, self._factors, out=self._data)
