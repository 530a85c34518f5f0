"""Runs services on free loopback ports: waited for, stopped, killed, begun anew.

`Live` is what the checks of services know of one; here it is a process.

A service that does not come up is the candidate's fault: a `ServiceError`, which checkers turn
into a finding. What it prints goes into a file beside the run.
"""

from __future__ import annotations

import abc
import contextlib
import http.client
import itertools
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.candidate_services import Service
from harness.errors import EnvironmentFaultError

__all__ = ["Live", "Running", "ServiceError", "free_port", "running"]

_HOST = "127.0.0.1"
_START_S = 60.0
_STOP_S = 10.0
_POLL_S = 0.02
_TAIL_BYTES = 1_500
# Below what Linux gives to connections that go out, above what well-known services listen on.
_NEVER_GIVEN = (12_000, 32_000)
# Each is drawn once before any is drawn again: two services are chosen for before either listens.
# The order is this process's own, whatever seeds the others draw from.
_PORTS = itertools.cycle(
    random.SystemRandom().sample(range(*_NEVER_GIVEN), len(range(*_NEVER_GIVEN)))
)
# What somebody's shell says of databases and providers is none of a run's business.
_NOT_INHERITED = frozenset(
    {
        "DATABASE_PATH", "DEVFLOW_DB_PATH", "OLLAMA_HOST", "OLLAMA_URL", "SYNTHETIC_BASE_URL",
        "VECTOR_DATABASE_PATH", "VECTOR_DB_PATH",
    }
)  # fmt: skip


class ServiceError(Exception):
    """A service did not start, or went away; the text says which, and the end of its log."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now, and that no client is given.

    A service may begin to listen long after its port was chosen: by then one of those that the
    system gives to connections that go out may be in use.
    """
    return next(port for port in _PORTS if _is_free(port))


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as taken:
        taken.bind((_HOST, port))
        return True
    return False


class Live(abc.ABC):
    """One service that answers at a port of this machine, however it is run.

    `start` runs it and waits for its health; `stop` or `kill` end it, and all its kind. `log` is
    appended to. Whoever stops it asks first; whoever kills it does not.
    """

    def __init__(self, service: Service, *, log: Path) -> None:
        """Choose a port; nothing is started yet."""
        self.service = service
        self.log = log
        self.port = free_port()

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{_HOST}:{self.port}"

    @property
    @abc.abstractmethod
    def alive(self) -> bool:
        """Whether it runs."""

    @abc.abstractmethod
    def launch(self) -> None:
        """Start it without waiting; ServiceError where that cannot be."""

    @abc.abstractmethod
    def stop(self) -> int | None:
        """Ask it to end, end it after a while; return its exit code, None if it did not run."""

    @abc.abstractmethod
    def kill(self) -> int | None:
        """End it by SIGKILL, with all that it started, and wait for its end."""

    def start(self, *, timeout_s: float = _START_S) -> None:
        """Start it and wait until its health path answers 200; ServiceError where it does not."""
        deadline = time.monotonic() + timeout_s
        self.launch()
        self.wait(until=deadline)

    def restart(self) -> None:
        """Kill it, where it still runs, and start it on the same port."""
        self.kill()
        self.start()

    def wait(self, *, until: float) -> None:
        """Wait for health until a moment of `time.monotonic()`."""
        said = "nothing"
        while time.monotonic() < until:
            if not self.alive:
                raise ServiceError(f"the service {self.service.name} ended at once{self._tail()}")
            status = self._health()
            if status == 200:
                return
            said = "nothing" if status is None else f"status {status}"
            time.sleep(_POLL_S)
        self.kill()
        raise ServiceError(
            f"the service {self.service.name} was not healthy in time: {self.service.health}"
            f" answered {said}{self._tail()}"
        )

    def _health(self) -> int | None:
        try:
            with urllib.request.urlopen(self.url + self.service.health, timeout=5) as answer:  # noqa: S310 - a loopback address
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            return error.code
        except (OSError, ValueError, http.client.HTTPException):
            return None

    def _tail(self) -> str:
        try:
            end = self.log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace").strip()
        except OSError:
            return ""
        return f"; it said: {end}" if end else ""


class Running(Live):
    """One service as a process. `environment` is added to what the service declares."""

    def __init__(self, service: Service, *, environment: Mapping[str, str], log: Path) -> None:
        """Choose a port; nothing is started yet."""
        super().__init__(service, log=log)
        self._given = environment
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Its process id; of what was launched only."""
        assert self._child is not None  # noqa: S101 - callers saw to it
        return self._child.pid

    def launch(self) -> None:
        """Start the process without waiting for it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            try:
                self._child = subprocess.Popen(
                    self.service.on(self.port),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment(),
                    cwd=self.service.directory,
                    start_new_session=True,
                )
            except OSError as error:
                raise ServiceError(
                    f"the service {self.service.name} cannot be started:"
                    f" {self.service.command[0]!r} ({error.strerror})"
                ) from error

    def stop(self) -> int | None:
        """Ask it to end, end it after a while; return its exit code, None if it did not run."""
        if self._child is None:
            return None
        if self.alive:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_STOP_S)
        return self.kill()

    def kill(self) -> int | None:
        """Send SIGKILL to the process and its children, and wait for its end."""
        if self._child is None:
            return None
        self._signal(signal.SIGKILL)
        return self._child.wait()

    def freeze(self) -> None:
        """Send SIGSTOP to the process and its children: they stand still until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on after `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._child is not None  # noqa: S101 - callers saw to it
        with contextlib.suppress(ProcessLookupError):  # it has ended, with all of its group
            os.killpg(self._child.pid, number)

    def _environment(self) -> dict[str, str]:
        inherited_ones = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
        made = {**inherited_ones, **self.service.environment, **self._given}
        if self.service.pythonpath:
            inherited = [made["PYTHONPATH"]] if made.get("PYTHONPATH") else []
            made["PYTHONPATH"] = os.pathsep.join([*map(str, self.service.pythonpath), *inherited])
        return made


@contextlib.contextmanager
def running(
    services: Iterable[Service], *, environment: Mapping[str, str], logs: Path
) -> Iterator[dict[str, Running]]:
    """Start `services` side by side and yield them by name, healthy; all are stopped at the end.

    Each writes to a file of its own name in `logs`. ServiceError where one does not come up.
    """
    found = {
        service.name: Running(service, environment=environment, log=logs / f"{service.name}.log")
        for service in services
    }
    try:
        deadline = time.monotonic() + _START_S
        for one in found.values():
            one.launch()
        for one in found.values():
            one.wait(until=deadline)
        yield found
    finally:
        _stop_all(found.values())


def _stop_all(found: Iterable[Running]) -> None:
    """Stop them side by side: each may take its time to finish what it is at."""
    ones = list(found)
    if not ones:
        return
    with ThreadPoolExecutor(len(ones)) as pool:
        codes = list(pool.map(Running.stop, ones))
    if any(one.alive for one in ones):
        raise EnvironmentFaultError(f"a service did not end (exit codes {codes}); end it by hand")
