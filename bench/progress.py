"""How a run shows how far it is: bars with the time left on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class BarProgress:
    """A bar a stage.

    It is drawn only from within `advance`, between two pieces of work, and at most `REDRAWS` times
    a stage: rich's own thread would draw while the clock runs.
    """

    REDRAWS = 50

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
        )
        self._done, self._total = 0, 0
        self._current: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def start(self, stage: str, total: int) -> None:
        """Begin a bar of ``total`` steps."""
        self._current = self._bars.add_task(stage, total=total)
        self._done, self._total = 0, total
        self._bars.refresh()

    def advance(self) -> None:
        """Fill the bar by one step."""
        if self._current is not None:
            self._bars.advance(self._current)
            self._done += 1
            every = -(-self._total // self.REDRAWS)
            if self._done % every == 0 or self._done >= self._total:
                self._bars.refresh()

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._bars.console.print(Text(text))


class LineProgress:
    """A line when a stage begins and one at every quarter of a long one, for logs."""

    LONG = 100

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage, self._done, self._total = "", 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def start(self, stage: str, total: int) -> None:
        """Name the stage."""
        self._stage, self._done, self._total = stage, 0, total
        self.note(f"{stage}: {total:,} {'step' if total == 1 else 'steps'}")

    def advance(self) -> None:
        """Say so when another quarter of a long stage is done."""
        self._done += 1
        quarter = self._total // 4
        if self._total >= self.LONG and self._done % quarter == 0 and self._done < self._total:
            self.note(f"{self._stage}: {self._done:,} of {self._total:,}")

    def note(self, text: str) -> None:
        """One line, however long."""
        self._console.print(Text(text), soft_wrap=True)


class Silent:
    """Says nothing."""

    def start(self, stage: str, total: int) -> None:
        """A stage begins."""

    def advance(self) -> None:
        """A step is done."""

    def note(self, text: str) -> None:
        """Something worth a line."""


def progress(console: Console) -> BarProgress | LineProgress:
    """What fits the console."""
    return BarProgress(console) if console.is_terminal else LineProgress(console)
