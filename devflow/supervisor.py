"""Runs the services, each as a process of its own, and keeps them running.

A service that ends, or that gives no answer any more, is started again: at once where it had been
well for a while, else after pauses that double. A stop lets every service finish
the requests that it is at. The services end with the supervisor, whatever ends it: each watches a
pipe that only the supervisor holds open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import httpx

from devflow.services.errors import ConfigurationError
from devflow.services.logs import configure, logger
from devflow.services.settings import Settings

__all__ = ["Patience", "claim", "pauses", "reachable", "serve"]

_log = logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long what is waited for, in seconds; `unanswered` counts questions in a row."""

    start_s: float = 60.0
    ask_every_s: float = 3.0
    answer_s: float = 5.0
    unanswered: int = 3
    stop_s: float = 15.0
    pause_s: float = 0.5
    longest_pause_s: float = 30.0
    well_s: float = 60.0


def pauses(ran_s: float, before_s: float, patience: Patience) -> float:
    """Return how long to pause before a start, after a run of `ran_s` that came after `before_s`.

    0 after a run that was long enough; else twice the pause before, within the limits.
    """
    if ran_s >= patience.well_s:
        return 0.0
    return min(max(2 * before_s, patience.pause_s), patience.longest_pause_s)


def claim(settings: Settings, names: Iterable[str]) -> None:
    """Raise ConfigurationError where a service's port is taken, by another program or service."""
    owners: dict[int, str] = {}
    for name in names:
        port = settings.port(name)
        if port in owners:
            raise ConfigurationError(
                f"{owners[port]} and {name} have the same port, {port}; set DEVFLOW_PORTS otherwise"
            )
        owners[port] = name
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((settings.host, port))
            except OSError as error:
                raise ConfigurationError(
                    f"{name} cannot listen on {settings.host}:{port} ({error.strerror}); end what"
                    f" listens there, or choose another port: DEVFLOW_PORTS={name}={port + 1000}"
                ) from error


def reachable(settings: Settings, name: str) -> str:
    """Return the URL of a service's health on this machine, whatever address it listens on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{settings.port(name)}/health"


async def serve(
    settings: Settings,
    names: Sequence[str],
    *,
    ready: Callable[[], None],
    patience: Patience | None = None,
) -> None:
    """Run the services of those names until SIGTERM or SIGINT; a second signal cuts them off.

    `ready` is called once, as soon as all of them are well.
    """
    configure("serve", settings.log_level)
    async with httpx.AsyncClient(trust_env=False) as client:
        services = [_Supervised(n, settings, client, patience or Patience()) for n in names]
        stop, cut = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def signalled() -> None:
            (cut if stop.is_set() else stop).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)
        running = [asyncio.create_task(service.run(stop, cut)) for service in services]
        announcing = asyncio.create_task(_announce(services, ready))
        await asyncio.gather(*running)
        announcing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await announcing
    _log.info("stopped")


async def _announce(services: Iterable[_Supervised], ready: Callable[[], None]) -> None:
    for service in services:
        await service.well.wait()
    ready()


class _Supervised:
    """One service: its process, and what is known of it."""

    def __init__(
        self, name: str, settings: Settings, client: httpx.AsyncClient, patience: Patience
    ) -> None:
        self.name = name
        self.well = asyncio.Event()
        self._settings = settings
        self._client = client
        self._patience = patience
        self._health = reachable(settings, name)

    async def run(self, stop: asyncio.Event, cut: asyncio.Event) -> None:
        """Start it, again and again, until `stop` is set; then end it, at once if `cut` is."""
        pause_s = 0.0
        while not stop.is_set():
            began = time.monotonic()
            process = await self._launch()
            ended = asyncio.create_task(process.wait())
            unanswering = asyncio.create_task(self._watch())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({ended, unanswering, stopping}, return_when=asyncio.FIRST_COMPLETED)
            unanswering.cancel()
            stopping.cancel()
            if not ended.done():
                if not stop.is_set():
                    _log.error("gives no answer; ending it", of=self.name, pid=process.pid)
                await self._end(process, cut)
            await ended
            if stop.is_set():
                return
            pause_s = pauses(time.monotonic() - began, pause_s, self._patience)
            _log.warning(
                "ended; starting it again",
                of=self.name,
                exit_code=process.returncode,
                after_s=pause_s,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)

    async def _launch(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "devflow.services", self.name, str(self._settings.port(self.name))),
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, "DEVFLOW_SUPERVISED": "1"},
        )
        _log.info("launched", of=self.name, pid=process.pid)
        return process

    async def _watch(self) -> None:
        """Return when it gives no answer, at its start or later, as often as patience has it."""
        began, silent = time.monotonic(), 0
        while not await self._answers():
            if time.monotonic() - began > self._patience.start_s:
                return
            await asyncio.sleep(0.05)
        _log.info("well", of=self.name)
        self.well.set()
        while silent < self._patience.unanswered:
            await asyncio.sleep(self._patience.ask_every_s)
            silent = 0 if await self._answers() else silent + 1

    async def _answers(self) -> bool:
        """Return whether it answers at all: what it says it lacks, a start would not bring."""
        try:
            await self._client.get(self._health, timeout=self._patience.answer_s)
        except httpx.HTTPError:
            return False
        return True

    async def _end(self, process: asyncio.subprocess.Process, cut: asyncio.Event) -> None:
        """Ask it to finish; kill it when it does not, or when there is no time."""
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        ended = asyncio.create_task(process.wait())
        cutting = asyncio.create_task(cut.wait())
        await asyncio.wait(
            {ended, cutting}, timeout=self._patience.stop_s, return_when=asyncio.FIRST_COMPLETED
        )
        cutting.cancel()
        if not ended.done():
            _log.warning("cut off", of=self.name, pid=process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await ended
