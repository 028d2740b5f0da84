"""The workloads under pytest-benchmark: ``pytest --benchmark-only``.

The callables are the CLI's own (`bench.workloads`), and so are threads, precision and weights. The
fixture `workload` holds the parity gate: what is wrong fails there, before any time is taken.
"""

from dataclasses import asdict

import pytest
import torch

import impls
from bench import cases, environment, parity, plugins, workloads
from bench.config import RunConfig
from bench.measure import synchronise
from bench.worker import timed_seed
from tasks import TASKS

CONFIG = RunConfig()
DTYPE = getattr(torch, CONFIG.dtype)
CELLS = [(name, size) for name, sizes in CONFIG.batch_sizes.items() for size in sizes]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
PLUGINS = plugins.discover().entries
_passed: dict[tuple[str, str], parity.Parity] = {}


@pytest.fixture(autouse=True)
def pinned():
    with environment.pinned(*CONFIG.threads), impls.registered(PLUGINS):
        yield


@pytest.fixture
def model(implementation, device):
    """A generator with its initial weights, of an implementation that is right."""
    place = torch.device(device)
    if reason := impls.missing(impls.REGISTRY[implementation]):
        pytest.skip(reason)
    if reason := impls.load(implementation).unsupported(CONFIG.model, place, DTYPE):
        pytest.skip(reason)
    key = (implementation, device)
    if key not in _passed:
        _passed[key] = parity.check(implementation, CONFIG.model, place, DTYPE, CONFIG.seed)
    if not _passed[key].passed:
        pytest.fail(f"{implementation} on {device} is not timed: {_passed[key].reason}")
    return impls.create(implementation, CONFIG.model, device=place, dtype=DTYPE, seed=CONFIG.seed)


@pytest.fixture
def facts(model, implementation, device):
    """What the times are those of, and what they rest on, in the words of the result file."""
    return {
        "implementation": implementation,
        "device": device,
        "dtype": CONFIG.dtype,
        "model": asdict(CONFIG.model),
        "task": CONFIG.task,
        "threads": torch.get_num_threads(),
        "tolerance": parity.tolerance_of(type(model), DTYPE),
        "weights_digest": cases.weights_digest(model.weights()),
    }


@pytest.fixture
def workload(facts, model, cell):
    workloads.load_timed_weights(model, timed_seed(CONFIG.seed, process=0))
    name, batch_size = cell
    if name == "train_step" and not model.differentiable:
        pytest.skip(f"{facts['implementation']} computes no gradients")
    if name != "sequence" and not model.closed_loop:
        pytest.skip(f"{facts['implementation']} runs no free steps")
    return workloads.build(name, model, TASKS[CONFIG.task], batch_size, CONFIG.seed)


@pytest.mark.parametrize("implementation", [*impls.REGISTRY, *PLUGINS])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]}-{cell[1]}")
def test_throughput(benchmark, workload, facts, device):
    place = torch.device(device)

    def call():
        outcome = workload.call()
        synchronise(place)
        return outcome

    benchmark.group = f"{workload.name}, batch {workload.batch_size}, {device}"
    outcome = benchmark(call)
    error = workload.error(workload.freeze(outcome))
    assert error <= facts["tolerance"]
    work = workload.steps * workload.batch_size
    benchmark.extra_info.update(
        facts,
        workload=workload.name,
        batch_size=workload.batch_size,
        steps=workload.steps,
        steps_per_second=work / benchmark.stats.stats.median,
        output_error=error,
    )
