"""From a config to its cases: which can run here, and why the others cannot."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

import impls
from bench.config import RunConfig
from bench.parity import one_line
from bench.schema import Case
from impls.generator import Generator


@dataclass(frozen=True, slots=True)
class Target:
    """Where a case runs, in PyTorch's own types."""

    device: torch.device
    dtype: torch.dtype


def target(case: Case) -> Target:
    """The device and dtype that a case names."""
    return Target(torch.device(case.device), getattr(torch, case.dtype))


def plan(config: RunConfig, names: Sequence[str] = ()) -> tuple[Case, ...]:
    """Every implementation on every device with every size, pending or why it is not supported.

    Args:
        config: of the run.
        names: plan these of its implementations alone.
    """
    return tuple(
        _planned(name, device, hidden_size, config)
        for hidden_size in config.hidden_sizes
        for device in config.devices
        for name in names or config.implementations
    )


def fault(name: str) -> str | None:
    """Why what is registered under ``name`` is no implementation, or None when it is one."""
    try:
        impls.load(name)
    except impls.TargetError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - the plan tells of it
        return None
    return None


def create(case: Case, seed: int) -> Generator:
    """The case's generator with its initial weights."""
    where = target(case)
    return impls.create(
        case.implementation, case.model, device=where.device, dtype=where.dtype, seed=seed
    )


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the weights' names and float64 bytes, in the contract's order."""
    digest = hashlib.sha256()
    for name, weight in weights.items():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().double().numpy().astype("<f8").tobytes())
    return digest.hexdigest()


def _planned(name: str, device: str, hidden_size: int, config: RunConfig) -> Case:
    case = Case(
        implementation=name,
        device=device,
        dtype=config.dtype,
        model=config.model_of(hidden_size),
        task=config.task,
        status="pending",
    )
    where, entry = target(case), impls.REGISTRY[name]
    if reason := impls.missing(entry, where.device.type):
        return case.model_copy(update={"status": "unsupported", "reason": reason})
    try:
        reason = impls.load(name).unsupported(case.model, where.device, where.dtype)
    except impls.MissingError as error:
        reason = str(error)
    except ImportError as error:
        reason = one_line(error)
    except impls.TargetError as error:
        return case.model_copy(update={"status": "failed", "reason": str(error)})
    except Exception as error:  # noqa: BLE001 - whatever an implementation raises is its result
        return case.model_copy(update={"status": "failed", "reason": one_line(error)})
    if reason:
        return case.model_copy(update={"status": "unsupported", "reason": reason})
    return case
