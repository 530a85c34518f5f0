"""Sends a load to services and writes its history: clients in a process beside the driver.

    with Load({"database-manager": url}, log=path, seed=3, rate=800) as load:
        load.mark("hold")
        ...
    history = read_history(path)

The clients are a process of their own, so that what the driver does costs them no time, and so that
they end with it: they stop when their standard input ends. Requests are never sent twice.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from harness.errors import BadInputError, EnvironmentFaultError, InvariantError
from harness.generators.load import Session, Shared
from harness.history import History, Log, read_history

__all__ = ["Counts", "Load"]

_START_S = 20.0
_POLL_S = 0.005
_QUIET_S = 0.25


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests were sent, and how many ended how, so far."""

    sent: int = 0
    ok: int = 0
    fail: int = 0
    info: int = 0


class Load:
    """Clients that send operations to `urls` from `start` to `stop`; also a context manager.

    `urls` are base URLs by the legacy service's name: `database-manager`, `vector-memory`,
    `model-registry`. `connections` clients keep one connection to each; `rate` is in requests a
    second over all of them, as fast as they are answered where it is None. `mix` are weights by
    kind of operation, beside `harness.generators.load.MIX`. A request without an answer for
    `timeout_s` is indefinite. `log` is made, and must not be there yet. `name` and `seed` begin
    every key: two loads on the same databases need another of either.
    """

    def __init__(
        self,
        urls: Mapping[str, str],
        *,
        log: Path,
        seed: int = 1,
        connections: int = 32,
        rate: float | None = None,
        mix: Mapping[str, int] | None = None,
        timeout_s: float = 10.0,
        name: str = "load",
    ) -> None:
        """Check what is given; BadInputError says what cannot be. Nothing is sent yet."""
        for service, url in urls.items():
            if not url.startswith("http://"):
                raise BadInputError(f"the URL of {service} is {url!r}; it must begin with http://")
        if connections < 1 or timeout_s <= 0 or (rate is not None and rate <= 0):
            raise BadInputError("connections, rate and timeout of a load must be more than 0")
        self.path = log
        if not (name.isascii() and name.isalnum()):
            raise BadInputError(f"the name of a load is {name!r}; it may have letters and digits")
        self.prefix = f"{name}{seed}-"
        Session(0, seed=seed, prefix=self.prefix, services=urls, shared=Shared(), mix=mix)
        self._seed = seed
        self._given: dict[str, Any] = {
            "log": str(log),
            "urls": {service: url.rstrip("/") for service, url in urls.items()},
            "connections": connections,
            "rate": rate,
            "mix": None if mix is None else dict(mix),
            "timeout_s": timeout_s,
        }
        self._log: Log | None = None
        self._child: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._counts = Counts()
        self._said: str | None = None
        self._ready = threading.Event()
        self._killed = False

    @property
    def counts(self) -> Counts:
        """What was sent and answered, as the clients told at most a twentieth of a second ago."""
        return self._counts

    @property
    def alive(self) -> bool:
        """Whether the clients' process runs."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Begin the history and start the clients; EnvironmentFaultError where they do not come."""
        self._log = Log.begin(
            self.path, prefix=self.prefix, seed=self._seed, services=self._given["urls"]
        )
        command = [sys.executable, "-m", "harness.load_worker"]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,  # an interrupt from the terminal is the driver's alone
        )
        assert self._child.stdout is not None  # noqa: S101 - it is a pipe
        self._reader = threading.Thread(
            target=self._listen, args=(self._child.stdout,), daemon=True, name="load"
        )
        self._reader.start()
        self._tell(self._given)
        if not self._ready.wait(_START_S):
            self.kill()
            raise EnvironmentFaultError(
                self._said or "the clients of a load did not start in time; try it again"
            )
        self._whole()

    def mark(self, name: str, note: str | None = None, *, at_ns: int | None = None) -> int:
        """Write a mark of this moment, or of another, into the history; return its time in ns."""
        return self._history().mark(name, note, at_ns=at_ns)

    def now_ns(self) -> int:
        """The history's time now."""
        return self._history().now_ns()

    def pace(self, rate: float | None) -> None:
        """Change the rate, in requests a second; None is as fast as possible, 0 a pause."""
        self._tell({"rate": rate})

    def point(self, urls: Mapping[str, str]) -> None:
        """Send later requests of these services elsewhere, as where nobody stands in front."""
        self._tell({"urls": {name: url.rstrip("/") for name, url in urls.items()}})

    def wait(self, *, answered: int, timeout_s: float) -> bool:
        """Wait until so many more operations were acknowledged; False where they were not."""
        deadline = time.monotonic() + timeout_s
        wanted = self._counts.ok + answered
        while self._counts.ok < wanted:
            self._whole()
            if time.monotonic() > deadline or not self.alive:
                return False
            time.sleep(_POLL_S)
        return True

    def quiesce(self, *, timeout_s: float) -> bool:
        """Pause, and wait until nothing is under way; False where something still is."""
        self.pace(0.0)
        deadline = time.monotonic() + timeout_s
        since, last = time.monotonic(), self._counts
        while time.monotonic() < deadline:
            counts = self._counts
            if counts != last or counts.sent != counts.ok + counts.fail + counts.info:
                since, last = time.monotonic(), counts
            elif time.monotonic() - since > _QUIET_S:
                return True
            time.sleep(_POLL_S)
        return False

    def stop(self) -> Counts:
        """Send nothing more, let what is under way end, and return the counts.

        EnvironmentFaultError where the clients could not go on, as on a full disk, or did not end:
        what was under way would pass for requests that were never answered.
        """
        if self._child is None:
            return self._counts
        self._tell({"stop": True})
        with contextlib.suppress(subprocess.TimeoutExpired):  # told below, once they are ended
            self._child.wait(self._given["timeout_s"] + _START_S)
        code = self._child.poll()
        was_killed = self._killed
        self.kill()
        self._whole()
        if code is None:
            raise EnvironmentFaultError("the clients of a load did not end in time; try it again")
        if code and not was_killed:
            raise InvariantError(f"the clients of a load ended with exit code {code}")
        return self._counts

    def kill(self) -> None:
        """End the clients at once; the history stays readable."""
        if self._child is None:
            return
        self._killed = True
        self._child.kill()
        self._child.wait()
        if self._reader is not None:
            self._reader.join(_START_S)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(
                    OSError
                ):  # what was not yet read, of a process that has gone
                    pipe.close()
        if self._log is not None:
            self._log.close()

    def history(self) -> History:
        """Read what was written so far; of what is under way nothing is known yet."""
        return read_history(self.path)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; at once where the driver has failed."""
        if error is None:
            self.stop()
        else:
            self.kill()

    def _history(self) -> Log:
        if self._log is None:
            raise BadInputError("the load has not started yet; enter it with `with`, or start it")
        return self._log

    def _tell(self, said: Mapping[str, Any]) -> None:
        if self._child is None or self._child.stdin is None:
            raise BadInputError("the load has not started yet; enter it with `with`, or start it")
        with contextlib.suppress(OSError, ValueError):  # it has ended: `stop` says why
            self._child.stdin.write(json.dumps(said) + "\n")
            self._child.stdin.flush()

    def _listen(self, lines: IO[str]) -> None:
        with contextlib.suppress(ValueError):  # closed under it
            for line in lines:
                said = json.loads(line)
                if "error" in said:
                    self._said = said["error"]
                else:
                    self._counts = Counts(**said)
                self._ready.set()
        self._ready.set()

    def _whole(self) -> None:
        if self._said is not None:
            raise EnvironmentFaultError(self._said)
