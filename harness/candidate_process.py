"""A child process that speaks in lines: in its own process group, with every wait bounded."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import BadInputError, EnvironmentFaultError

__all__ = ["DeadlineError", "LineProcess"]

_LINE_LIMIT_BYTES = 8 << 20
_STDERR_TAIL_BYTES = 4_000


class DeadlineError(Exception):
    """The child did not answer in time, or its line had no end."""


class LineProcess:
    """One child process: lines go in, lines come out, nothing waits for longer than told.

    stderr goes into an unnamed file, so that a talkative child never blocks. The child leads a
    process group of its own, and `kill` ends the whole group.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], directory: Path
    ) -> None:
        """Start `command` in `directory`; BadInputError where there is no such program."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._buffer = bytearray()
        try:
            self._child = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                env=dict(environment),
                cwd=directory,
                start_new_session=True,
            )
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            self._stderr.close()
            raise BadInputError(
                f"the candidate's command {command[0]!r} cannot be started in {directory}"
                f" ({error.strerror}); correct `command` in its manifest"
            ) from error
        except OSError as error:
            self._stderr.close()
            raise EnvironmentFaultError(
                f"this machine starts no more programs ({error.strerror}); end some and try again"
            ) from error

    @property
    def pid(self) -> int:
        """The child's process id, which is its group's too."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child has not ended yet."""
        return self._child.poll() is None

    def send(self, line: str) -> None:
        """Write one line to the child; a child that has gone is noticed by `read_line`."""
        assert self._child.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._child.stdin.write(line.encode() + b"\n")

    def end_input(self) -> None:
        """Close the child's stdin."""
        assert self._child.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(
            BrokenPipeError
        ):  # what was not yet read, of a child that has gone
            self._child.stdin.close()

    def read_line(self, *, until: float) -> bytes | None:
        """Return the next line without its end, None at the end of output.

        `until` is a moment of `time.monotonic()`; DeadlineError when it passes.
        """
        assert self._child.stdout is not None  # noqa: S101 - a pipe was asked for
        descriptor = self._child.stdout.fileno()
        while True:
            end = self._buffer.find(b"\n")
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                return line
            if len(self._buffer) > _LINE_LIMIT_BYTES:
                raise DeadlineError(f"a line of more than {_LINE_LIMIT_BYTES} bytes")
            remaining_s = until - time.monotonic()
            if remaining_s <= 0 or not select.select([descriptor], [], [], remaining_s)[0]:
                raise DeadlineError("no answer in time")
            chunk = os.read(descriptor, 65_536)
            if not chunk:
                rest = bytes(self._buffer)
                self._buffer.clear()
                return rest or None
            self._buffer += chunk

    def drain(self) -> bytes:
        """Return what the child has said and nobody has read, without waiting for more."""
        assert self._child.stdout is not None  # noqa: S101 - a pipe was asked for
        descriptor = self._child.stdout.fileno()
        while len(self._buffer) <= _LINE_LIMIT_BYTES and select.select([descriptor], [], [], 0)[0]:
            chunk = os.read(descriptor, 65_536)
            if not chunk:
                break
            self._buffer += chunk
        unread = bytes(self._buffer)
        self._buffer.clear()
        return unread

    def wait(self, *, until: float) -> int:
        """Return the child's exit code (negative: the signal); DeadlineError when it stays."""
        try:
            return self._child.wait(timeout=max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise DeadlineError("no end in time") from error

    def freeze(self) -> None:
        """Send SIGSTOP to the whole group: it stands still until `thaw`."""
        if self.running:
            self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the group go on after `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, with all of its group
            os.killpg(self._child.pid, number)

    def kill(self) -> int:
        """Send SIGKILL to the whole group, wait for the child, return its exit code."""
        self._signal(signal.SIGKILL)
        return self._child.wait()

    def stderr_tail(self) -> str:
        """Return the end of what the child wrote to stderr."""
        size = os.fstat(self._stderr.fileno()).st_size
        start = max(0, size - _STDERR_TAIL_BYTES)
        return os.pread(self._stderr.fileno(), size - start, start).decode("utf-8", "replace")

    def close(self) -> None:
        """End the child if it still runs, with its group, and free what it held."""
        if self.running:
            self.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # as in `end_input`
                    pipe.close()
        self._stderr.close()
