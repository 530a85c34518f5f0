"""Lets requests pass to the side that answers, holds them while it changes, and tells who waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import apsw

__all__ = ["Gate", "HeldTooLongError"]

_ASK_AGAIN_S = 0.02
_NEW_SHARE = 0.05
WAIT_S_MAX = 30.0
"""How long a request is held at most; then it is told to come again."""


class HeldTooLongError(Exception):
    """A request was held until its patience ended."""


class Gate:
    """One service's gate: open towards a side, or held.

    A hold has a lease. When it ends without a release, because whoever held died, the gate asks
    the databases who answers (`ask`), and opens towards that side; as long as nobody does, it
    stays held and asks again.
    """

    def __init__(self, ask: Callable[[], str | None]) -> None:
        """Begin held; `settle` opens it."""
        self._ask = ask
        self.side: str | None = None
        self.in_flight = 0
        self.passed = 0
        self.waiting = 0
        self.holds = 0
        self.latency_ms = 0.0
        self._open = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._lease: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[str]:
        """Wait until the gate is open, and count as in flight within; yields the side."""
        if not self._open.is_set():
            self.waiting += 1
            try:
                await asyncio.wait_for(self._open.wait(), WAIT_S_MAX)
            except TimeoutError:
                raise HeldTooLongError from None
            finally:
                self.waiting -= 1
        assert self.side is not None  # noqa: S101 - an open gate has a side
        self.in_flight += 1
        self.passed += 1
        self._empty.clear()
        try:
            yield self.side
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._empty.set()

    def answered(self, took_s: float) -> None:
        """Take note of how long an answer took; `latency_ms` is a mean that forgets."""
        self.latency_ms += _NEW_SHARE * (took_s * 1000 - self.latency_ms)

    async def hold(self, *, drain_s: float, lease_s: float) -> bool:
        """Let nothing new pass, and wait for what is in flight; return whether that has ended.

        Where it takes longer than `drain_s`, the gate opens again. A hold ends by itself after
        `lease_s`: then the databases say who answers.
        """
        was = self.side
        self._close()
        self.holds += 1
        try:
            await asyncio.wait_for(self._empty.wait(), drain_s)
        except TimeoutError:
            if was is None:
                self.settle()
            else:
                self.release(was)
            return False
        self.settle(after_s=lease_s)
        return True

    def release(self, side: str) -> None:
        """Open towards `side`."""
        self._end_lease()
        self.side = side
        self._open.set()

    def settle(self, *, after_s: float = 0.0) -> None:
        """Open towards the side that the databases name then, as soon as they name one."""
        self._lease = asyncio.create_task(self._settle(after_s))

    def _close(self) -> None:
        self._end_lease()
        self._open.clear()
        self.side = None

    def _end_lease(self) -> None:
        if self._lease is not None and self._lease is not asyncio.current_task():
            self._lease.cancel()
        self._lease = None

    async def _settle(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            side = self._answer()
            if side is not None:
                self.release(side)
                return
            await asyncio.sleep(_ASK_AGAIN_S)

    def _answer(self) -> str | None:
        try:
            return self._ask()
        except apsw.Error:  # busy or between two files: ask again
            return None
