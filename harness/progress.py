"""What a run says while it happens: events for whoever listens, printed on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Happening", "Tell", "nobody", "on_terminal", "plain_printer", "printer", "unheard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that just happened, in words; `mark` is `ok`, `bad`, `open` or nothing.

    `share` is how much of the whole is done, 0..1, where somebody knows.
    """

    text: str
    mark: str = ""
    elapsed_s: float | None = None
    share: float | None = None


_STYLES = {"ok": ("✓", "green"), "bad": ("✗", "bold red"), "open": ("?", "yellow")}

Tell = Callable[[Happening], None]


def nobody(_happening: Happening) -> None:
    """Listen to nothing."""


def plain_printer(stream: TextIO | None = None) -> Tell:
    """Return a listener that prints one line for each happening, with the time since the start."""
    out = stream or sys.stderr
    began = time.monotonic()

    def tell(happening: Happening) -> None:
        mark = {"ok": "ok   ", "bad": "FAIL ", "open": "?    "}.get(happening.mark, "     ")
        took = "" if happening.elapsed_s is None else f"  ({happening.elapsed_s:.2f} s)"
        took += "" if happening.share is None else f"  {100 * happening.share:.0f} %"
        out.write(f"{time.monotonic() - began:7.2f} s  {mark}{happening.text}{took}\n")
        out.flush()

    return tell


def printer() -> Tell:
    """Return a listener with colours and the time left on a terminal, a plain one elsewhere.

    What it cannot print, since nobody reads it any more, is dropped: the run goes on.
    """
    if not sys.stderr.isatty():
        return _while_heard(plain_printer())
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

    return _while_heard(on_terminal(Console(stderr=True)))


def _while_heard(tell: Tell) -> Tell:
    def told(happening: Happening) -> None:
        try:
            tell(happening)
        except OSError:
            unheard(sys.stderr)

    return told


def unheard(stream: TextIO) -> None:
    """Send what is still written to `stream` nowhere, so that neither it nor the exit fails."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)


def on_terminal(console: Console) -> Tell:
    """Return a listener that prints on `console`, above a bar where shares are told."""
    from rich.progress import BarColumn, Progress, TimeRemainingColumn  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    bar = Progress(
        "{task.percentage:3.0f} %", BarColumn(), TimeRemainingColumn(), "left",
        console=console, transient=True,
    )  # fmt: skip
    task = bar.add_task("", total=1.0)
    began = time.monotonic()

    def tell(happening: Happening) -> None:
        mark, style = _STYLES.get(happening.mark, ("·", "dim"))
        line = Text(f"{time.monotonic() - began:7.2f} s  ", style="dim")
        line.append(f"{mark} ", style=style)
        line.append(happening.text)
        if happening.elapsed_s is not None:
            line.append(f"  {happening.elapsed_s:.2f} s", style="dim")
        console.print(line)
        if happening.share is not None:
            bar.start()
            bar.update(task, completed=happening.share)
            if happening.share >= 1.0:
                bar.stop()

    return tell
