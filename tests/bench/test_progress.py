"""Bars on a terminal, lines elsewhere, and nothing drawn while the clock runs."""

import io
import threading

from rich.console import Console

from bench.progress import BarProgress, LineProgress, progress


def console(*, terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, highlight=False)


def test_what_fits_the_console():
    assert isinstance(progress(console(terminal=True)), BarProgress)
    assert isinstance(progress(console(terminal=False)), LineProgress)


def test_lines():
    plain = console(terminal=False)
    with progress(plain) as lines:
        lines.start("training", 1000)
        for _ in range(1000):
            lines.advance()
        lines.start("timing", 3)
        lines.advance()
        lines.note("x failed: [red]why[/red]")
    assert plain.file.getvalue().splitlines() == [
        "training: 1,000 steps",
        "training: 250 of 1,000",
        "training: 500 of 1,000",
        "training: 750 of 1,000",
        "timing: 3 steps",
        "x failed: [red]why[/red]",
    ]


def test_bars_show_the_time_left_and_start_no_thread():
    terminal = console(terminal=True)
    threads = threading.active_count()
    with progress(terminal) as bars:
        assert threading.active_count() == threads
        bars.start("a stage with a long name on cuda:1", 1000)
        for _ in range(1000):
            bars.advance()
        bars.note("x failed: [red]why[/red]")
    shown = terminal.file.getvalue()
    assert "a stage with a long name on cuda:1" in shown
    assert "1000/1000" in shown
    assert "left" in shown
    assert "x failed: [red]why[/red]" in shown
    assert shown.count("a stage") < 60
