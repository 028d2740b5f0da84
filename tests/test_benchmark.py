"""The workloads under pytest-benchmark: ``pytest --benchmark-only``.

The callables are the CLI's own (`bench.workloads`), and so are threads and precision. The fixture
`workload` holds the parity gate: what is wrong fails there, before any time is taken.
"""

import pytest
import torch

import impls
from bench import environment, parity, workloads
from bench.config import RunConfig
from tasks import TASKS

CONFIG = RunConfig()
CELLS = [(name, size) for name, sizes in CONFIG.batch_sizes.items() for size in sizes]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
_passed: dict[tuple[str, str], parity.Parity] = {}


@pytest.fixture(autouse=True)
def pinned():
    with environment.pinned(CONFIG.threads):
        yield


@pytest.fixture
def workload(implementation, device, cell):
    place = torch.device(device)
    if reason := impls.load(implementation).unsupported(CONFIG.model, place, torch.float32):
        pytest.skip(reason)
    key = (implementation, device)
    if key not in _passed:
        _passed[key] = parity.check(implementation, CONFIG.model, place, torch.float32, seed=0)
    if not _passed[key].passed:
        pytest.fail(f"{implementation} on {device} is not timed: {_passed[key].reason}")
    model = impls.create(implementation, CONFIG.model, device=place)
    name, batch_size = cell
    return workloads.build(name, model, TASKS[CONFIG.task], batch_size, CONFIG.seed)


@pytest.mark.parametrize("implementation", impls.REGISTRY)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]}-{cell[1]}")
def test_throughput(benchmark, workload, device):
    from bench.measure import synchronise

    place = torch.device(device)

    def call():
        outcome = workload.call()
        synchronise(place)
        return outcome

    benchmark.group = f"{workload.name}, batch {workload.batch_size}, {device}"
    outcome = benchmark(call)
    error = workload.error(outcome)
    assert error <= parity.TOLERANCE[torch.float32]
    work = workload.steps * workload.batch_size
    seconds = benchmark.stats.stats.median
    benchmark.extra_info.update(
        steps=workload.steps,
        batch_size=workload.batch_size,
        steps_per_second=work / seconds,
        output_error=error,
        threads=torch.get_num_threads(),
    )
