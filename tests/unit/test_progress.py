"""Progress where nobody sees a bar move: lines, not too many, with the time left."""

import io

import pytest
from rich.console import Console

from subnet.cli import calibrate


@pytest.fixture
def clock(monkeypatch):
    """An instant that the test sets."""
    now = [0.0]
    monkeypatch.setattr(calibrate.time, "monotonic", lambda: now[0])
    return now


def test_a_pipe_gets_lines_with_the_time_left(clock):
    out = io.StringIO()
    with calibrate.progress_bars(Console(file=out)) as watch:
        advance = watch("runs", 100)
        advance(20)
        for _ in range(8):
            clock[0] += 3
            advance(10)
    assert out.getvalue().splitlines() == [
        "runs: 20 of 100, ? left",
        "runs: 40 of 100, 0:00:18 left",
        "runs: 60 of 100, 0:00:12 left",
        "runs: 80 of 100, 0:00:06 left",
        "runs: 100 of 100, 0:00:00 left",
    ]


def test_a_terminal_gets_a_bar(clock):
    out = io.StringIO()
    with calibrate.progress_bars(Console(file=out, force_terminal=True)) as watch:
        watch("runs", 2)(2)
    assert "2/2" in out.getvalue()
