"""A study's worker: a run's, that measures cells too."""

from collections.abc import Mapping
from dataclasses import replace

from bench.clock import Stopwatch
from bench.config import RunConfig
from bench.studies.registry import STUDIES
from bench.studies.schema import Cell, CellResult, StudyConfig
from bench.studies.study import Tick
from bench.studies.trained import DIVERGED
from bench.worker import Session as RunSession
from impls import Entry, GeneratorConfig
from tasks import TASKS


class Session(RunSession):
    """One worker's life."""

    def __init__(self, config: StudyConfig, entries: Mapping[str, Entry], tick: Tick) -> None:
        sizes = [size for size in config.axes.get("hidden_size", ()) if isinstance(size, int)]
        model = GeneratorConfig(input_size=TASKS[config.task].input_size)
        run = RunConfig(
            implementations=(config.implementation,),
            baseline=config.implementation,
            dtype=config.dtype,
            task=config.task,
            model=replace(model, hidden_size=sizes[0]) if sizes else model,
            seed=config.seed,
            evaluation=config.evaluation,
        )
        super().__init__(run, entries, tick)
        self._study = config

    def measure(self, cell: Cell) -> CellResult:
        """One cell's work; what it raises, unless it diverged, goes to the study."""
        study, watch = STUDIES[self._study.study], Stopwatch()
        known = dict(cell)
        try:
            values = study.measure(cell, self._study, self.tick)
        except DIVERGED as error:
            return CellResult(
                **known, status="diverged", reason=str(error), seconds=watch.seconds()
            )
        return CellResult(**known, status="ok", seconds=watch.seconds(), values=values)

    def trivial(self) -> dict[str, float]:
        """Trivial predictors' mean squared errors on the test set, by name."""
        return {name: found.mse_mean for name, found in dict(self.baselines()).items()}
