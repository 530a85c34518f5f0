"""How an operation is told: its steps as lines, and on streams whose failures stop nothing.

What is done to databases does not end because nobody listens: a reader that has gone, a full disk
under the file that the lines go to.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Narrator", "forgiving", "what_was_lost"]


class Narrator:
    """Tells each event as a line, and on a terminal keeps a bar with the time left below them."""

    def __init__(self, console: Console, *, steps: int) -> None:
        """Take where to tell it, and how many steps there will be."""
        self.changed = False
        self.counts: dict[str, Mapping[str, int]] = {}
        self._console = console
        self._skipped = 0
        self._begun = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps ·"),
            TimeElapsedColumn(),
            TextColumn("gone ·"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=steps)

    def __enter__(self) -> Narrator:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def tell(self, event: Mapping[str, object]) -> None:
        """Take in one event of the contract."""
        kind, step = event["event"], str(event.get("step", ""))
        if kind == "step_started":
            self._begun = time.monotonic()
            self._bar.update(self._task, description=step)
        elif kind == "step_done":
            self._bar.advance(self._task)
            counts = event.get("counts")
            self.counts[step] = counts if isinstance(counts, Mapping) else {}
            if event.get("skipped"):
                self._skipped += 1
            else:
                self.changed = True
                self._say(_line(step, self.counts[step], time.monotonic() - self._begun))
        elif kind == "phase_done" and self._skipped:
            self._say(f"{event['phase']}: {self._skipped} steps were done before")
            self._skipped = 0

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _line(step: str, counts: Mapping[str, int], seconds: float) -> str:
    told = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
    return f"{step:<45} {seconds:7.2f} s  {told}".rstrip()


class _Forgiving:
    """A text stream that takes everything: from its first failure on, what is told is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write, as far as that goes; a byte of a path that is no text is shown as its number."""
        if not isinstance(text, str):  # by that, click tells streams of text from those of bytes
            raise TypeError("a stream of text takes text")
        if self.lost is None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                shown = text.encode(error.encoding, "backslashreplace").decode(error.encoding)
                return self.write(shown)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, as far as that goes."""
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.lost = error
        # What is still in the stream would fail once more when the process ends, and change its
        # exit code.
        with suppress(OSError):
            number = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def forgiving() -> Iterator[None]:
    """Let no failure of stdout or stderr reach anybody in the block."""
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        stream and cast("TextIO", _Forgiving(stream))  # None where it was closed from the start
        for stream in kept
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


def what_was_lost() -> OSError | None:
    """Return why stdout could not be written to, None where it could, or its reader has gone."""
    lost = getattr(sys.stdout, "lost", None)
    return lost if isinstance(lost, OSError) and not isinstance(lost, BrokenPipeError) else None
