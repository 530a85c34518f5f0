"""Says to which side requests pass, when they are held, and who answers when nobody else says it.

What the requests run through is a `Valve`: our own proxy, or haproxy. A gate is the same for both.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import apsw

__all__ = ["WAIT_S_MAX", "Figures", "Gate", "Valve", "ValveError"]

_ASK_AGAIN_S = 0.02
WAIT_S_MAX = 30.0
"""How long a request is held at most; then it is told to come again."""


class ValveError(Exception):
    """Requests cannot be let through at all; the text says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a valve counts: requests on their way, requests held, and those that ever passed.

    `latency_ms` is a mean of how long answers take that soon forgets.
    """

    in_flight: int = 0
    waiting: int = 0
    passed: int = 0
    latency_ms: float = 0.0


class Valve(Protocol):
    """What requests run through. It begins closed."""

    async def serve(self, listening: socket.socket) -> None:
        """Take connections until cancelled; ValveError where that cannot be, or not any more."""

    async def open(self, side: str) -> None:
        """Let requests pass to `side`, those that were held first."""

    async def close(self) -> None:
        """Let nothing new pass, from the return of this on."""

    async def empty(self, within_s: float) -> bool:
        """Wait until what has passed is answered; False where that takes longer than `within_s`."""

    async def figures(self) -> Figures:
        """Return what is counted now."""


class Gate:
    """One service's gate: open towards a side, or held.

    A hold has a lease. When it ends without a release, because whoever held died, the gate asks
    the databases who answers (`ask`), and opens towards that side; as long as nobody does, it
    stays held and asks again.
    """

    def __init__(self, ask: Callable[[], str | None], valve: Valve) -> None:
        """Begin held; `settle` opens it."""
        self._ask = ask
        self._valve = valve
        self.side: str | None = None
        self.holds = 0
        self._turning = asyncio.Lock()
        self._lease: asyncio.Task[None] | None = None

    async def hold(self, *, drain_s: float, lease_s: float) -> bool:
        """Let nothing new pass, and wait for what is in flight; return whether that has ended.

        Where it takes longer than `drain_s`, the gate opens again. A hold ends by itself after
        `lease_s`: then the databases say who answers.
        """
        was = self.side
        self._end_lease()
        async with self._turning:
            await self._valve.close()
            self.side = None
        self.holds += 1
        is_empty = await self._valve.empty(drain_s)
        if self.side is not None:  # somebody released it meanwhile
            return False
        if not is_empty:
            if was is None:
                self.settle()
            else:
                await self.release(was)
            return False
        self.settle(after_s=lease_s)
        return True

    async def release(self, side: str) -> None:
        """Open towards `side`."""
        self._end_lease()
        async with self._turning:
            self.side = side  # before anything passes: nobody may take it for held then
            await self._valve.open(side)

    def settle(self, *, after_s: float = 0.0) -> None:
        """Open towards the side that the databases name then, as soon as they name one."""
        self._end_lease()
        self._lease = asyncio.create_task(self._settle(after_s))

    async def state(self) -> dict[str, object]:
        """Return what the gate says of itself to those who steer it."""
        told = await self._valve.figures()
        return {
            "side": self.side,
            "in_flight": told.in_flight,
            "waiting": told.waiting,
            "passed": told.passed,
            "holds": self.holds,
            "latency_ms": told.latency_ms,
        }

    def _end_lease(self) -> None:
        if self._lease is not None and self._lease is not asyncio.current_task():
            self._lease.cancel()
        self._lease = None

    async def _settle(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            side = self._answer()
            if side is not None:
                await self.release(side)
                return
            await asyncio.sleep(_ASK_AGAIN_S)

    def _answer(self) -> str | None:
        try:
            return self._ask()
        except apsw.Error:  # busy or between two files: ask again
            return None
