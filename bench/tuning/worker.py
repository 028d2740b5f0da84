"""A tuning's worker: a run's, that trains by one recipe after another, with looks at it."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

from bench.errors import BenchError, WrongWorkError
from bench.evaluation import NotFiniteError
from bench.recipes import Recipe
from bench.training import DivergedError
from bench.tuning.plan import Look
from bench.worker import Session as RunSession

LOOKS = 5  # at a trial's error while it trains, and one at its end
SMALLEST_ERROR = 1e-30  # has a logarithm


class Session(RunSession):
    """One worker's life."""

    _going: Iterator[None] = iter(())
    _left, _every = 0, 1

    def begin(self, name: str, recipe: Recipe, hidden_size: int) -> None:
        """Begin to train by a recipe, whatever was trained before.

        Raises:
            BenchError: such a model cannot run here.
        """
        model = replace(self.config.model, hidden_size=hidden_size)
        self.config = self.config.model_copy(
            update={"recipe": name, "own_recipe": recipe, "model": model}
        )
        (case,) = self.plan()
        if case.status != "pending":
            raise BenchError(f"--impl {case.implementation}: {case.reason}")
        self._going = self.training_of(case)
        self._left, self._every = recipe.iterations, -(-recipe.iterations // (LOOKS + 1))

    def look(self) -> Look:
        """Train on for a part of the iterations, and evaluate."""
        try:
            for _ in itertools.islice(self._going, self._every):
                self.tick()
                self._left -= 1
            mse = self.accuracy().mse_mean
        except (DivergedError, NotFiniteError, WrongWorkError) as error:
            # Parity has passed: what cannot be held against the reference lets rounding grow.
            return Look(reason=str(error), over=True)
        return Look(math.log10(max(mse, SMALLEST_ERROR)), over=self._left == 0)
