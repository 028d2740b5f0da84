"""Many to one, with a long memory: the adding problem (Hochreiter and Schmidhuber, 1997).

As in Le, Jaitly and Hinton (2015): each step reads a value, uniform in [0, 1), and a marker, which
is 1 at two steps, one in each half, and 0 at all others. The target, at the last step alone, is the
sum of the two marked values. Its mean is 1 and its variance 1/6: whoever always says 1 has an MSE
of 1/6, and that is where a network stays which cannot carry a value so far.
"""

from dataclasses import dataclass

import numpy as np

from tasks.task import Array, Sequences


@dataclass(frozen=True, slots=True)
class Adding:
    """Inputs (value, marker); only feature 0 of the last prediction is judged.

    The length is that of ``points``: ``Adding(points=401)`` is the problem of 400 steps. By default
    it is one that a plain network learns in a short training; each further step is harder.
    """

    name: str = "adding"
    problem: str = "many to one"
    input_size: int = 2
    feedback: bool = False
    points: int | None = 31

    def draw(self, rng: np.random.Generator, batch: int, points: int) -> Sequences:
        """Draw values, then the places of the markers; (points - 1, batch, 2) each.

        Raises:
            ValueError: fewer than 3 points, which have no room for two markers.
        """
        steps = points - 1
        if steps < 2:
            raise ValueError(f"two marked values need at least 3 points, got {points}")
        values = rng.random((steps, batch))
        first, second = rng.integers(0, steps // 2, batch), rng.integers(steps // 2, steps, batch)
        time = np.arange(steps)[:, None]
        markers = (time == first) | (time == second)
        inputs, targets = np.stack([values, markers], axis=2), np.zeros((steps, batch, 2))
        targets[-1, :, 0] = (values * markers).sum(axis=0)
        judged = np.zeros(targets.shape, dtype=np.bool_)
        judged[-1, :, 0] = True
        return Sequences(inputs, targets, judged, forced_steps=steps)

    def trivial(self, sequences: Sequences, forced_steps: int) -> dict[str, Array]:
        """Always 1, the mean."""
        del forced_steps
        return {"one": np.ones_like(sequences.targets)}


adding = Adding()
