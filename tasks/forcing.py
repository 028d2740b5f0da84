"""Teacher-forcing schedules: which steps read the true value, and which the last prediction.

Every schedule gives (T,) bools whose first is True, since no prediction precedes the first step.
The flips are drawn here, once, so that every implementation does the same work.
"""

import numpy as np
from numpy.typing import NDArray

Forced = NDArray[np.bool_]


def warm_up(steps: int, forced_steps: int) -> Forced:
    """The first ``forced_steps`` of ``steps`` forced, all others free-running.

    Raises:
        ValueError: ``forced_steps`` is below 1.
    """
    if forced_steps < 1:
        raise ValueError(f"at least the first step must be forced, got {forced_steps}")
    return np.arange(steps) < forced_steps


def coin_flips(rng: np.random.Generator, steps: int, free_probability: float) -> Forced:
    """Each step forced with probability 1 - ``free_probability``, as the lecture's model does.

    One flip is drawn for every step, the first too, whose outcome does not matter: the lecture's
    loop starts from the first true value either way.
    """
    forced = rng.random(steps) > free_probability
    forced[0] = True
    return forced


def lab_free_probability(iteration: int) -> float:
    """The lecture's p: 0.5, and 0.1 more at iterations 0, 100, 200, ..., at most 0.85."""
    return min(0.5 + 0.1 * (iteration // 100 + 1), 0.85)
