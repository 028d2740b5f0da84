"""Who says that it multiplies in less than its dtype is held to that, and everybody is told."""

import pytest
import torch

from bench import parity, runner, tables
from bench.config import LONG_FACTOR, REDUCED_TOLERANCE, TOLERANCE, RunConfig
from bench.progress import Silent
from bench.remote import Inline
from impls import Entry, GeneratorConfig
from impls.manual_cell import ManualCell

CPU = torch.device("cpu")
CONFIG = RunConfig(
    implementations=("rounds", "manual_cell"),
    baseline="manual_cell",
    model=GeneratorConfig(hidden_size=16),
    recipe="none",
    steps=8,
    processes=1,
    rounds=1,
    batch_sizes={"generate": (2,), "train_step": (2,)},
)


class Rounds(ManualCell):
    """Its weights as bfloat16 has them, with the gradients of the rounded ones."""

    precision = "bfloat16"

    def rollout(self, inputs, forced, h0):
        kept = {name: weight.detach().clone() for name, weight in self.weights().items()}
        for weight in self.weights().values():
            weight.data = weight.data.bfloat16().to(weight.dtype)
        outcome = super().rollout(inputs, forced, h0)
        # What autograd has saved are views of the rounded data, which stays as it is.
        for name, weight in self.weights().items():
            weight.data = kept[name]
        return outcome


class Silently(Rounds):
    """It, and not a word of it."""

    precision = None


class Unknown(Rounds):
    """A word that nobody knows."""

    precision = "fp8"


@pytest.fixture(params=["Rounds"])
def registered(request, monkeypatch):
    entry = Entry(f"{__name__}:{request.param}", "rounds")
    monkeypatch.setitem(parity.impls.REGISTRY, "rounds", entry)


def checked():
    return parity.check("rounds", GeneratorConfig(hidden_size=16), CPU, torch.float32, 0)


def test_it_is_judged_by_its_own_precision(registered):
    found = checked()
    assert (found.passed, found.precision) == (True, "bfloat16")
    assert found.tolerance == REDUCED_TOLERANCE["bfloat16"]
    assert found.output_error > 10 * TOLERANCE["float32"]


@pytest.mark.parametrize("registered", ["Silently"], indirect=True)
def test_who_does_not_say_so_fails(registered):
    found = checked()
    assert (found.passed, found.precision) == (False, None)
    assert "above 1e-05" in found.reason


@pytest.mark.parametrize("registered", ["Unknown"], indirect=True)
def test_a_precision_that_nobody_knows_is_named(registered):
    [case, other] = runner.run(CONFIG, None, Silent(), start=Inline).cases
    assert (case.status, other.status) == ("failed", "ok")
    assert "its precision is 'fp8'; it must be None or one of tf32x3, tf32, bf" in case.reason


def test_a_run_times_it_and_says_what_it_multiplies_in(registered):
    result = runner.run(CONFIG, None, Silent(), start=Inline)
    case, other = result.cases
    assert (case.status, other.status) == ("ok", "ok")
    assert other.parity.precision is None
    for row in case.throughput:
        assert LONG_FACTOR * TOLERANCE["float32"] < row.output_error
        assert row.output_error <= LONG_FACTOR * REDUCED_TOLERANCE["bfloat16"]
    for table in (
        tables.overview(result),
        *tables.result_tables(result, "throughput"),
        tables.check_table(result.cases),
    ):
        assert "rounds multiplies in bfloat16, and is judged by that." in table.notes
