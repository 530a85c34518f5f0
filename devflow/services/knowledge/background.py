"""Learning by itself: what is pending, a piece at a time, on request and after each interval."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from devflow.services.errors import RefusedError
from devflow.services.knowledge.learning import Read, learn, pending, pending_count, read
from devflow.services.knowledge.settling import settle
from devflow.services.logs import logger
from devflow.services.settings import Settings
from devflow.services.store import Store

__all__ = ["Learner", "LearnerOf", "Learnt", "running"]

_PIECE = 64
"""Blocks that are read, and then written, in one go: writers of other processes wait so long."""
_ROUND = 1_024
_log = logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What one run did: blocks learned, mentions in them, and blocks that are still pending."""

    blocks: int
    mentions: int
    remaining: int


class Learner:
    """Learns what is pending; one run at a time."""

    def __init__(self, store: Store) -> None:
        """Take the store that it works with."""
        self._store = store
        self._one_run = asyncio.Lock()

    async def learn(self, limit: int) -> Learnt:
        """Learn the first `limit` pending blocks, then settle what follows from them."""
        async with self._one_run:
            seqs = await self._store.read(lambda connection: pending(connection, limit))
            blocks = mentions = 0
            for start in range(0, len(seqs), _PIECE):
                done = await self._piece(seqs[start : start + _PIECE])
                blocks += len(done)
                mentions += sum(len(block.found) for block in done)
            await self._store.write(settle)
            remaining = await self._store.read(pending_count)
            return Learnt(blocks=blocks, mentions=mentions, remaining=remaining)

    async def _piece(self, seqs: list[int]) -> list[Read]:
        """Learn some blocks, each in a transaction of its own that may share a commit."""
        found = await self._store.read(lambda connection: read(connection, seqs))
        learned = await asyncio.gather(
            *(self._store.write(partial(learn, block=block)) for block in found)
        )
        return [block for block, new in zip(found, learned, strict=True) if new]

    async def learn_all(self) -> int:
        """Learn until nothing is pending, or only what keeps changing; return how many blocks."""
        blocks = 0
        while (done := await self.learn(_ROUND)).blocks:
            blocks += done.blocks
        return blocks


async def _learner_of(request: Request) -> Learner:
    learner: Learner = request.app.state.running
    return learner


LearnerOf = Annotated[Learner, Depends(_learner_of)]


@asynccontextmanager
async def running(store: Store, settings: Settings) -> AsyncIterator[Learner]:
    """Learn after each interval until the service stops."""
    learner = Learner(store)
    task = asyncio.create_task(_for_ever(learner, settings.learn_interval_s))
    try:
        yield learner
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _for_ever(learner: Learner, interval_s: float) -> None:
    told = ""
    while True:
        await asyncio.sleep(interval_s)
        try:
            if blocks := await learner.learn_all():
                _log.info("learned", blocks=blocks)
            told = ""
        except RefusedError as error:  # a lock, a full disk, a way back: it is tried again
            if str(error) != told:
                _log.warning("put off", error=str(error))
            told = str(error)
        except Exception as error:  # nothing may end it while the service runs
            _log.error("failed", exc_info=error)
