"""What is registered, and whether it can run here; without importing torch."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench import environment
from bench.plugins import Broken
from bench.render import Table
from impls import REGISTRY, Entry, missing

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Listing:
    """An implementation, and for each kind of device None or the reason why it cannot run here.

    ``origin`` is the distribution that brings it; None for this project.
    """

    name: str
    summary: str
    devices: dict[str, str | None]
    origin: str | None = None


def listing(broken: Iterable[Broken] = ()) -> list[Listing]:
    """Every registered implementation, then the plugins that are ``broken``.

    Nothing is imported, so what only an import would show stays unseen: `bench check` shows it.

    Raises:
        BenchError: torch is not installed.
    """
    no_cuda = environment.no_cuda_reason()
    known = [
        Listing(
            name,
            entry.summary,
            {device: _reason(entry, device, no_cuda) for device in DEVICES},
            entry.origin,
        )
        for name, entry in REGISTRY.items()
    ]
    return known + [
        Listing(each.name, each.summary, dict.fromkeys(DEVICES, each.reason), each.origin)
        for each in broken
    ]


def listing_table(entries: list[Listing]) -> Table:
    """In words; each reason once, beneath."""
    torch_version, _ = environment.torch_build()
    reasons = [reason for entry in entries for reason in entry.devices.values() if reason]
    distinct = list(dict.fromkeys(reasons))
    rows = tuple(
        (
            entry.name,
            *(_word(entry.devices[device], distinct) for device in DEVICES),
            entry.summary,
        )
        for entry in entries
    )
    notes = tuple(f"({number}) {reason}" for number, reason in enumerate(distinct, start=1))
    gpus = ", ".join(environment.gpu_names()) or "none"
    return Table(
        title=f"Implementations (torch {torch_version}; GPUs: {gpus})",
        columns=("implementation", *DEVICES, "what it is"),
        sections=(rows,),
        notes=notes,
    )


def _word(reason: str | None, distinct: list[str]) -> str:
    return "yes" if reason is None else f"no ({distinct.index(reason) + 1})"


def _reason(entry: Entry, device: str, no_cuda: str | None) -> str | None:
    if device == "cuda" and device in entry.devices and no_cuda:
        return no_cuda
    return missing(entry, device)
