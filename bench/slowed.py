"""An implementation that takes 5 % longer than it must: how the harness tests itself.

    forward = the hand-written cell's, then busy for a twentieth of the time that this took

Busy, not asleep, and for a share of what this very call took: the true ratio is 1.05 then whatever
the CPU, and whatever state it is in, which repeated work would not give (a call costs something
whatever its length).
"""

from torch import Tensor

from bench.clock import Stopwatch
from impls.manual_cell import ManualCell

TRUE_RATIO = 1.05


class SlowedCell(ManualCell):
    """`ManualCell`, and a twentieth of its time in a busy loop."""

    def forward(
        self, inputs: Tensor, forced: Tensor, h0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        watch = Stopwatch()
        outcome = super().forward(inputs, forced, h0)
        until = TRUE_RATIO * watch.seconds()
        while watch.seconds() < until:
            pass
        return outcome
