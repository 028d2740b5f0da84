"""The only place that reads a clock."""

import time
from datetime import UTC, datetime


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Seconds until now."""
        return time.perf_counter() - self._start


def now() -> str:
    """This second, in UTC, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
