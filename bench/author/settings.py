"""What one call can change for all that come after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

RANDOM = "the global random numbers"


def settings() -> dict[str, Any]:
    """Their values now, by what they are called."""
    return {
        "the default dtype": torch.get_default_dtype(),
        "the default device": torch.get_default_device(),
        "the grad mode": torch.is_grad_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        RANDOM: bytes(torch.get_rng_state().numpy()),
    }


@contextmanager
def settings_kept() -> Iterator[None]:
    """Have the settings afterwards as they were before, so that a check meets only its own."""
    before, random = settings(), torch.get_rng_state()
    try:
        yield
    finally:
        if settings() != before:
            torch.set_default_dtype(before["the default dtype"])
            torch.set_default_device(None)
            torch.set_grad_enabled(before["the grad mode"])
            torch.autograd.set_detect_anomaly(before["anomaly detection"])
            torch.use_deterministic_algorithms(before["deterministic algorithms"])
            torch.backends.cudnn.benchmark = before["cudnn.benchmark"]
            torch.set_rng_state(random)
