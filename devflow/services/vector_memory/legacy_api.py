"""The legacy Vector Memory API on the one database, body for body."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from devflow.services.app import StoreOf, refusals
from devflow.services.bodies import QuickRoute
from devflow.services.errors import RefusedError
from devflow.services.fields import (
    Identifier,
    IdentifierInPath,
    Json,
    Limit,
    Name,
    Offset,
    Shown,
    Text,
)
from devflow.services.vector_memory import legacy
from devflow.services.vector_memory.embedding import Embedded
from devflow.services.vector_memory.fields import MemoryOf, Most, Number, Vector

router = APIRouter(tags=["legacy"], route_class=QuickRoute)


class LegacyBody(BaseModel):
    """A request's body of the legacy API: what it does not know is ignored."""

    model_config = ConfigDict(extra="ignore")


class LegacyNewMemory(LegacyBody):
    """A text to remember, with its vector or without."""

    id: Identifier | None = Field(None, examples=["vec-1"])
    content: Text = Field(examples=["Sessions are kept in one SQLite database"])
    type: Name = Field(examples=["decision"])
    metadata: Json = Field(None, examples=[{"source": "planning"}])
    embedding: Vector | None = Field(None, description="none: the service makes one")
    model_id: Name | None = Field(None, description="the model of a given `embedding`")


class LegacyMemory(Shown):
    """A memory of the legacy API."""

    id: str | None = Field(examples=["vec-1"])
    content: str | None = Field(examples=["Sessions are kept in one SQLite database"])
    type: str | None = Field(examples=["decision"])
    metadata: Any = Field(examples=[{"source": "planning"}])
    model_id: str | None = Field(examples=["lexical-hash-768"])
    dimensions: int | None = Field(examples=[768])
    created_at: str | None = Field(examples=["2026-01-31 08:15:00"])


class LegacyMemories(Shown):
    """A page of memories."""

    memories: list[LegacyMemory]
    total: int = Field(examples=[1])


class LegacySearch(LegacyBody):
    """What to look for: a vector, or a text of which the service makes one."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["embedding"], "properties": {"embedding": {"type": "array"}}},
                {"required": ["query"], "properties": {"query": {"type": "string"}}},
            ]
        }
    )

    embedding: Vector | None = None
    query: Text | None = Field(None, examples=["where do sessions live"])
    limit: Most = 10
    type: Name | None = Field(None, examples=["decision"])
    threshold: Number | None = Field(None, description="the similarity that is asked at least")


class LegacyResult(Shown):
    """A memory that is near, and how near."""

    id: str | None = Field(examples=["vec-1"])
    content: str | None = Field(examples=["Sessions are kept in one SQLite database"])
    type: str | None = Field(examples=["decision"])
    metadata: Any = Field(examples=[{"source": "planning"}])
    similarity: float = Field(examples=[0.871203])


class LegacyResults(Shown):
    """Memories that are near, the nearest first."""

    results: list[LegacyResult]


class LegacyDeleted(Shown):
    """That it is gone."""

    deleted: bool = Field(examples=[True])


_LINKS = {
    "read": {"operationId": "legacy_read_memory", "parameters": {"key": "$response.body#/id"}},
    "delete": {"operationId": "legacy_delete_memory", "parameters": {"key": "$response.body#/id"}},
}


@router.post(
    "/store",
    status_code=201,
    response_model=LegacyMemory,
    operation_id="legacy_store_memory",
    responses={**refusals(409), 201: {"links": _LINKS}},
)
async def store_memory(new: LegacyNewMemory, store: StoreOf, memory: MemoryOf) -> Any:
    """Store a memory with its vector, both or neither; where none is given, one is made."""
    if new.embedding is None:
        embedded = await memory.embedder.embed(new.content)
    else:
        vector = np.array(new.embedding, dtype=np.float32)
        embedded = Embedded(vector, new.model_id or "unknown")
    return await store.write(
        lambda connection: legacy.store(
            connection,
            embedded,
            identifier=new.id,
            content=new.content,
            kind=new.type,
            metadata=new.metadata,
        )
    )


@router.post("/search", response_model=LegacyResults, operation_id="legacy_search")
async def search(asked: LegacySearch, memory: MemoryOf) -> Any:
    """Find the memories nearest to a vector or a text, among those of the same dimensions."""
    if asked.embedding is not None:
        vector = np.array(asked.embedding, dtype=np.float32)
    elif asked.query is not None:
        vector = (await memory.asked(asked.query)).vector
    else:
        raise RefusedError("give an `embedding` or a `query`")
    results = await memory.read(
        lambda connection, reach: legacy.search(
            connection,
            reach,
            vector,
            kind=asked.type,
            threshold=asked.threshold,
            limit=asked.limit,
        )
    )
    return {"results": results}


@router.get("/memories", response_model=LegacyMemories, operation_id="legacy_list_memories")
async def list_memories(
    store: StoreOf,
    kind: Annotated[Name | None, Query(alias="type")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Any:
    """List memories, the latest first."""
    return await store.read(
        lambda connection: legacy.listed(connection, kind, limit=limit, offset=offset)
    )


@router.get(
    "/memories/{key}",
    response_model=LegacyMemory,
    operation_id="legacy_read_memory",
    responses=refusals(404),
)
async def read_memory(key: IdentifierInPath, store: StoreOf) -> Any:
    """Return one memory."""
    return await store.read(lambda connection: legacy.memory(connection, key))


@router.delete(
    "/memories/{key}",
    response_model=LegacyDeleted,
    operation_id="legacy_delete_memory",
    responses=refusals(404),
)
async def delete_memory(key: IdentifierInPath, store: StoreOf) -> Any:
    """Delete one memory and its vector."""
    await store.write(lambda connection: legacy.delete(connection, key))
    return {"deleted": True}
