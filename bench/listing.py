"""What is registered, and whether it can run here; without importing torch."""

import importlib.util
from dataclasses import dataclass

from bench import environment
from bench.render import Table
from impls import REGISTRY, Entry
from impls.compiler import no_compiler_reason

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Listing:
    """An implementation, and for each kind of device None or the reason why it cannot run here."""

    name: str
    summary: str
    devices: dict[str, str | None]


def listing() -> list[Listing]:
    """Every registered implementation.

    Raises:
        BenchError: torch is not installed.
    """
    no_cuda = environment.no_cuda_reason()
    return [
        Listing(
            name, entry.summary, {device: _reason(entry, device, no_cuda) for device in DEVICES}
        )
        for name, entry in REGISTRY.items()
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
    if device not in entry.devices:
        return f"not written for {device}"
    missing = [name for name in entry.requires if importlib.util.find_spec(name) is None]
    if missing:
        return f"needs {', '.join(missing)}, which is not installed"
    if device == "cuda":
        return no_cuda
    return no_compiler_reason() if entry.compiles else None
