"""What the registry does by itself: checks when they are due, and forgets what is old."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated

import httpx
from fastapi import Depends, Request

from devflow.services.errors import RefusedError
from devflow.services.logs import logger
from devflow.services.model_registry.checking import (
    Checked,
    ask_all,
    callable_providers,
    due,
    record_round,
    waited_s,
)
from devflow.services.model_registry.metrics import forget, roll_up
from devflow.services.model_registry.providers import register
from devflow.services.settings import Settings
from devflow.services.store import Store

__all__ = ["Registry", "RegistryOf", "running"]

_CLEAN_EVERY_S = 3_600.0
_LOOK_EVERY_S = 5.0  # a provider that was just added does not wait for the others
_PAUSE_S = 1.0
_log = logger()


class Registry:
    """Checks providers, on request and when they are due.

    What is due is decided by the database's `last_checked`: after a restart, a check is made
    neither at once again nor an interval late.
    """

    def __init__(self, store: Store, settings: Settings, client: httpx.AsyncClient) -> None:
        """Take what it works with; nothing is started yet."""
        self._store = store
        self._settings = settings
        self._client = client
        self._one_round = asyncio.Lock()

    async def check_all(self) -> list[Checked]:
        """Ask every callable provider now, and record what they said."""
        async with self._one_round:
            return await self._round(None)

    async def check_due(self) -> float:
        """Ask those that are due; return the seconds until the next one is."""
        async with self._one_round:
            interval_s = self._settings.health_interval_s
            await self._round(interval_s)
            known = await self._store.read(callable_providers)
            now = dt.datetime.now(dt.UTC)
            return min(_LOOK_EVERY_S, waited_s(known, interval_s=interval_s, now=now))

    async def _round(self, interval_s: float | None) -> list[Checked]:
        known = await self._store.read(callable_providers)
        if interval_s is not None:
            known = due(known, interval_s=interval_s, now=dt.datetime.now(dt.UTC))
        if not known:
            return []
        checks = await ask_all(self._client, known)
        await self._store.write(lambda connection: record_round(connection, checks))
        return checks

    async def clean(self) -> int:
        """Count what no day counts yet, forget what is older than the retention; say how much."""
        done = 0
        kept = dt.timedelta(days=self._settings.retention_days)
        before = (dt.datetime.now(dt.UTC) - kept).isoformat(timespec="seconds")
        for step in (roll_up, lambda connection: forget(connection, before=before)):
            while number := await self._store.write(step):
                done += number
        return done


async def _registry_of(request: Request) -> Registry:
    registry: Registry = request.app.state.running
    return registry


RegistryOf = Annotated[Registry, Depends(_registry_of)]


@asynccontextmanager
async def running(store: Store, settings: Settings) -> AsyncIterator[Registry]:
    """Take the settings in, then check and clean until the service stops."""
    await store.write(lambda connection: register(connection, settings))
    # No proxy of the environment: what is asked is on this machine, or named by the operator.
    async with httpx.AsyncClient(trust_env=False) as client:
        registry = Registry(store, settings, client)
        tasks = [
            asyncio.create_task(_for_ever(registry.check_due)),
            asyncio.create_task(_for_ever(registry.clean, every_s=_CLEAN_EVERY_S)),
        ]
        try:
            yield registry
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


async def _for_ever(work: Callable[[], Awaitable[float]], *, every_s: float | None = None) -> None:
    """Do `work` again and again; it returns in how many seconds, where `every_s` does not say."""
    told = ""
    while True:
        wait_s = every_s or _PAUSE_S
        try:
            answer = await work()
            wait_s, told = every_s or max(0.01, answer), ""
        except RefusedError as error:  # a lock, a full disk, a way back: it is tried again
            if str(error) != told:
                _log.warning("put off", error=str(error))
            told = str(error)
        except Exception as error:  # nothing may end it while the service runs
            _log.error("failed", exc_info=error)
        await asyncio.sleep(wait_s)
