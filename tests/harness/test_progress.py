"""What a run says while it happens: plain lines, and a terminal's."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from harness.progress import Happening, nobody, on_terminal, plain_printer, printer


def test_plain_lines_have_time_mark_text_duration_and_share() -> None:
    stream = io.StringIO()
    tell = plain_printer(stream)
    tell(Happening(text="rows: valid", mark="ok", elapsed_s=0.25, share=0.5))
    tell(Happening(text="rows: invalid", mark="bad"))
    tell(Happening(text="rows: unknown", mark="open"))
    tell(Happening(text="apply"))
    lines = [line.split(" s  ", 1)[1] for line in stream.getvalue().splitlines()]
    assert lines == [
        "ok   rows: valid  (0.25 s)  50 %",
        "FAIL rows: invalid",
        "?    rows: unknown",
        "     apply",
    ]


def test_without_a_terminal_lines_are_plain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    printer()(Happening(text="[bold]hello"))
    nobody(Happening(text="unheard"))
    assert capsys.readouterr().err.endswith("[bold]hello\n")


def test_a_terminal_shows_marks_and_a_bar_that_ends() -> None:
    stream = io.StringIO()
    tell = on_terminal(Console(file=stream, force_terminal=True, width=100))
    tell(Happening(text="[bold]x", mark="ok", elapsed_s=1.0, share=0.5))
    tell(Happening(text="done", mark="bad", share=1.0))
    shown = stream.getvalue()
    assert "✓" in shown
    assert "✗" in shown
    assert "[bold]x" in shown
    assert "left" in shown
