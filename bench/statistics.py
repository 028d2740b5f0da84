"""Pure functions from samples to estimates.

For now all samples of a row come from one process, and their range over the rounds says how steady
that process was. It is no confidence interval: two processes differ by more than two rounds do.
"""

from collections.abc import Sequence
from statistics import median

from bench.records import Estimate


def rate(seconds: Sequence[float], work: int) -> Estimate:
    """Work done in a second: at the median sample, and at the slowest and the fastest.

    Args:
        seconds: seconds of one call, one value a sample; none may be missing.
        work: sequence-steps of one call, T x B.
    """
    return Estimate(
        estimate=work / median(seconds), low=work / max(seconds), high=work / min(seconds)
    )


def spread(estimate: Estimate) -> float:
    """The range of the samples as a fraction of the estimate; 0.1 reads "ten percent"."""
    return (estimate.high - estimate.low) / estimate.estimate
