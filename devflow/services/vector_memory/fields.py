"""What the requests of this service share, and what they find of the running service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BeforeValidator, Field

from devflow.services.costs.recording import record_usage
from devflow.services.settings import Settings
from devflow.services.store import Connection, Store
from devflow.services.vector_memory.embedding import Embedded, Embedder, Which, embedding
from devflow.services.vector_memory.index import Index, Reach

__all__ = ["DIMENSIONS_MAX", "MemoryOf", "Most", "Number", "Vector", "VectorMemory", "running"]

DIMENSIONS_MAX = 8_192
_FLOAT32_MAX = 3.4028234e38
_Answer = TypeVar("_Answer")

_Value = Annotated[
    float, Field(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX, allow_inf_nan=False, strict=True)
]
Vector = Annotated[
    list[_Value],
    Field(min_length=1, max_length=DIMENSIONS_MAX, examples=[[0.6, 0.8, 0.0]]),
]
"""Finite float32 values: numbers, neither texts nor booleans that look like some."""


def _integral(value: Any) -> Any:
    """Let 3.0 be the integer that JSON says it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Most = Annotated[
    int, Field(ge=1, le=500, strict=True, description="results at most"), BeforeValidator(_integral)
]


@dataclass(frozen=True, slots=True)
class VectorMemory:
    """What runs beside the requests: the embedder and the index of vectors."""

    store: Store
    embedder: Embedder
    index: Index

    async def asked(self, text: str, which: Which = "configured") -> Embedded:
        """Return the vector of a text that is looked for; record the usage that it took."""
        embedded = await self.embedder.embed(text, which)
        usage = embedded.usage
        if usage is not None:
            await self.store.write(lambda connection: record_usage(connection, usage))
        return embedded

    async def read(self, work: Callable[[Connection, Reach], _Answer]) -> _Answer:
        """Run `work` in a read transaction that is no older than the reach that it gets."""

        def reading(connection: Connection) -> _Answer:
            # Before the first statement, which is where the snapshot begins.
            return work(connection, self.index.reach)

        answer = await self.store.read(reading)
        self.index.ask()
        return answer


@asynccontextmanager
async def running(store: Store, settings: Settings) -> AsyncIterator[VectorMemory]:
    """Look after Ollama and follow the database's vectors, while the service runs."""
    index = Index(store)
    async with embedding(settings) as embedder:
        index.start()
        try:
            yield VectorMemory(store, embedder, index)
        finally:
            await asyncio.to_thread(index.close)


async def _memory_of(request: Request) -> VectorMemory:
    memory: VectorMemory = request.app.state.running
    return memory


MemoryOf = Annotated[VectorMemory, Depends(_memory_of)]
