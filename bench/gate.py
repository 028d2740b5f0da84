"""The gate before a study or a search: what is wrong, or cannot be trained, is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.remote import CaseError, NodeLostError, Worker, WorkerLostError

if TYPE_CHECKING:
    from bench.schema import Case, Parity


def check(worker: Worker, name: str) -> None:
    """Look at an implementation, the only one of the worker's run.

    Raises:
        BenchError: it cannot run or train here, or fails parity.
        NodeLostError: nobody can tell yet.
    """
    with told(name):
        if fault := worker.ask("fault", name):
            raise BenchError(fault)
        case: Case = worker.ask("plan", name)[0]
        if case.status != "pending":
            raise BenchError(f"--impl {name} cannot train here: {case.reason}")
        parity: Parity = worker.ask("parity", case)
    if not parity.passed:
        raise BenchError(f"--impl {name} is not right: {parity.reason or 'parity failed'}")
    if not case.model_copy(update={"parity": parity}).trainable:
        raise BenchError(f"--impl {name} cannot train: choose another, such as manual_cell")


@contextmanager
def told(name: str) -> Iterator[None]:
    """What becomes of a worker that is asked of an implementation, in one line that names it.

    Raises:
        BenchError: it raised, or took the worker down.
        NodeLostError: nobody can tell.
    """
    try:
        yield
    except NodeLostError:
        raise
    except (CaseError, WorkerLostError) as error:
        raise BenchError(f"--impl {name}: {error}") from None
