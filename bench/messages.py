"""What a run and its worker tell each other; free of any framework, so that the run starts fast."""

from dataclasses import dataclass
from typing import Literal

from bench.config import CaseKey

CANARY = "canary"
# How a question can fail: the implementation's own code raised; an error of ours that needs no
# further word; it did other work than was timed.
Kind = Literal["raised", "told", "wrong"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing that takes its turn: a case's row, the same of the A/A control, or the canary.

    Attributes:
        kind: which of the three.
        implementation: its name; ``canary`` for the canary.
        device: its name.
        hidden_size: H; the canary has none, 0.
        workload: its name.
        batch_size: B.
        threads: of the CPU.
    """

    kind: Literal["case", "control", "canary"]
    implementation: str
    device: str
    hidden_size: int
    workload: str
    batch_size: int
    threads: int

    @property
    def case(self) -> CaseKey:
        """What the arms of a case and its control have in common: the case's key."""
        return self.implementation, self.device, self.hidden_size


@dataclass(frozen=True, slots=True)
class Prepared:
    """An arm after its warm-up in one process."""

    steps: int
    forced: tuple[bool, ...]
    first_call_seconds: float
    seconds: float
    windows: int
    agreed: bool
    calls_per_sample: int


@dataclass(frozen=True, slots=True)
class Block:
    """One timed block of ``calls`` calls, ``seconds`` each."""

    seconds: float
    calls: int
    throttled: bool
    joules_per_call: float | None


@dataclass(frozen=True, slots=True)
class DeviceWork:
    """What a GPU did for one call: seconds that it was at work, and how many operations."""

    seconds: float
    operations: int


Verdict = Literal["ok", "FAIL", "not checked"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at in an implementation.

    Attributes:
        name: what it is.
        verdict: how it came out.
        text: what was wrong and what would be right, or why it was not checked.
    """

    name: str
    verdict: Verdict
    text: str = ""
