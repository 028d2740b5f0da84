"""Processes that tests start and interrupt."""

import signal
import subprocess
from contextlib import contextmanager


@contextmanager
def started_in_a_terminal(command, **options):
    """A process that Ctrl-C reaches, also where the tests run in a shell's background.

    There SIGINT is ignored, and who is started inherits that. It never outlives the test.
    """
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    with subprocess.Popen(command, text=True, preexec_fn=heed, **options) as process:  # noqa: PLW1509
        try:
            yield process
        finally:
            process.kill()
