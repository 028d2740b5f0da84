"""An implementation that does 5 % more work than it must: how the harness tests itself.

    rollout = the hand-written cell over T steps, and over T / 20 of them once more, thrown away

The extra work is the same work again, with the same share of forced steps, so that it costs the
same share of the time on every machine, at every clock; only what a call costs whatever its length
is not in it.
"""

from torch import Tensor

from impls.manual_cell import ManualCell

EXTRA = 0.05


class SlowedCell(ManualCell):
    """`ManualCell`, and a twentieth of it once more."""

    def rollout(self, inputs: Tensor, forced: list[bool], h0: Tensor) -> tuple[Tensor, Tensor]:
        outcome = super().rollout(inputs, forced, h0)
        steps, free = repeated(forced)
        super().rollout(inputs[:steps], [t < steps - free for t in range(steps)], h0)
        return outcome


def repeated(forced: list[bool]) -> tuple[int, int]:
    """Steps to repeat, and how many of them free-running."""
    steps = max(1, round(EXTRA * len(forced)))
    return steps, min(steps - 1, round(EXTRA * (len(forced) - sum(forced))))


def true_ratio(forced: list[bool]) -> float:
    """The time of such a rollout over that of a plain one."""
    return 1.0 + repeated(forced)[0] / len(forced)
