"""The Vector Memory API of the unified system."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query

from devflow.services.app import StoreOf, refusals
from devflow.services.bodies import QuickRoute
from devflow.services.fields import IdentifierInPath, Limit, Name, Offset
from devflow.services.vector_memory import blocks, entities, lexical, search
from devflow.services.vector_memory.embedding import Embedded
from devflow.services.vector_memory.fields import MemoryOf, VectorMemory
from devflow.services.vector_memory.models import (
    BlockType,
    EmbedderShown,
    Embedding,
    Embeddings,
    EmbeddingWithValues,
    EntityEmbedding,
    EntityEmbeddings,
    EntityResults,
    EntitySearch,
    GivenVector,
    HybridSearch,
    IndexShown,
    Memories,
    MemoryWithEmbeddings,
    Models,
    Near,
    NearText,
    NearVector,
    NewEmbedding,
    NewMemory,
    Results,
    TextSearch,
    VectorSearch,
    Which,
)
from devflow.services.vector_memory.vectors import Floats

router = APIRouter(prefix="/v2", tags=["vector memory"], route_class=QuickRoute)

_LABEL_MAX = 80
_ABOUT = {
    "lexical": "hashes words and their pieces: texts are near when they share words or parts of"
    " them, never because they mean the same",
    "ollama": "a language model's embedding: texts of like meaning are near",
}
_LINKS = {
    "read": {"operationId": "read_memory", "parameters": {"key": "$response.body#/id"}},
    "embed": {"operationId": "add_embedding", "parameters": {"key": "$response.body#/id"}},
    "delete": {"operationId": "delete_memory", "parameters": {"key": "$response.body#/id"}},
}
_EMBEDDING_LINKS = {
    "read": {"operationId": "read_embedding", "parameters": {"key": "$response.body#/id"}},
}


async def _embedded(
    memory: VectorMemory, given: GivenVector | None, text: str, which: Which
) -> Embedded:
    if given is None:
        return await memory.embedder.embed(text, which)
    return Embedded(np.array(given.values, dtype=np.float32), given.model)


async def _near(memory: VectorMemory, near: Near) -> tuple[Floats, str | None]:
    """Return the vector to look near, and the model whose vectors it can be compared with."""
    if isinstance(near, NearVector):
        return np.array(near.values, dtype=np.float32), near.model
    embedded = await memory.asked(near.text, near.embedder)
    return embedded.vector, embedded.model


def _told(mode: str, model: str | None, dimensions: int | None) -> dict[str, Any]:
    return {
        "mode": mode,
        "model": model,
        "dimensions": dimensions,
        "lexical": None if model is None else model == lexical.MODEL,
        "rrf_k": search.RRF_K if mode == "hybrid" else None,
    }


def _among(asked: TextSearch | VectorSearch | HybridSearch) -> search.Among:
    return search.Among(
        {
            "task_id": asked.task_id,
            "session_id": asked.session_id,
            "block_type": asked.block_type,
        }
    )


# Memories ----------------------------------------------------------------------------------------


@router.post(
    "/memories",
    status_code=201,
    response_model=MemoryWithEmbeddings,
    operation_id="store_memory",
    responses={**refusals(404, 409), 201: {"links": _LINKS}},
)
async def store_memory(new: NewMemory, store: StoreOf, memory: MemoryOf) -> Any:
    """Store a memory with its vector in one transaction: both, or neither."""
    embedded = await _embedded(memory, new.vector, new.content, new.embedder)
    block = blocks.NewBlock(
        id=new.id,
        task_id=new.task_id,
        session_id=new.session_id,
        block_type=new.block_type,
        label=new.label if new.label is not None else new.content[:_LABEL_MAX],
        content=new.content,
        metadata=blocks.metadata_text(new.metadata),
        importance_score=new.importance_score,
    )
    return await store.write(
        lambda connection: blocks.block(connection, blocks.add_block(connection, block, embedded))
    )


@router.get("/memories", response_model=Memories, operation_id="list_memories")
async def list_memories(
    store: StoreOf,
    task_id: Annotated[Name | None, Query(description="of this task only")] = None,
    session_id: Annotated[Name | None, Query(description="of this session only")] = None,
    block_type: Annotated[BlockType | None, Query(description="of this type only")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Any:
    """List memories, whoever stored them, the latest first."""
    conditions = {"task_id": task_id, "session_id": session_id, "block_type": block_type}
    return await store.read(
        lambda connection: blocks.blocks(connection, conditions, limit=limit, offset=offset)
    )


@router.get(
    "/memories/{key}",
    response_model=MemoryWithEmbeddings,
    operation_id="read_memory",
    responses=refusals(404),
)
async def read_memory(key: IdentifierInPath, store: StoreOf) -> Any:
    """Return one memory and which vectors it has."""
    return await store.read(lambda connection: blocks.block(connection, key))


@router.delete(
    "/memories/{key}", status_code=204, operation_id="delete_memory", responses=refusals(404)
)
async def delete_memory(key: IdentifierInPath, store: StoreOf) -> None:
    """Delete one memory and all its vectors."""
    await store.write(lambda connection: blocks.delete_block(connection, key))


@router.post(
    "/memories/{key}/embeddings",
    status_code=201,
    response_model=Embedding,
    operation_id="add_embedding",
    responses={**refusals(404, 409), 201: {"links": _EMBEDDING_LINKS}},
)
async def add_embedding(
    key: IdentifierInPath, new: NewEmbedding, store: StoreOf, memory: MemoryOf
) -> Any:
    """Add a vector of another model or size to a memory."""
    known = await store.read(lambda connection: blocks.block(connection, key))
    embedded = await _embedded(memory, new.vector, known["content"], new.embedder)
    return await store.write(lambda connection: blocks.add_embedding(connection, key, embedded))


@router.get(
    "/memories/{key}/embeddings",
    response_model=Embeddings,
    operation_id="list_embeddings",
    responses=refusals(404),
)
async def list_embeddings(key: IdentifierInPath, store: StoreOf) -> Any:
    """List the vectors of one memory, without their values."""
    found = (await store.read(lambda connection: blocks.block(connection, key)))["embeddings"]
    return {"items": found, "total": len(found)}


@router.get(
    "/embeddings/{key}",
    response_model=EmbeddingWithValues,
    operation_id="read_embedding",
    responses=refusals(404),
)
async def read_embedding(key: IdentifierInPath, store: StoreOf) -> Any:
    """Return one vector with its values."""
    return await store.read(lambda connection: blocks.embedding(connection, key))


# Searching ---------------------------------------------------------------------------------------


@router.post("/search/text", response_model=Results, operation_id="search_by_words")
async def search_by_words(asked: TextSearch, store: StoreOf) -> Any:
    """Find memories with any of the words, stems included, the best by BM25 first."""
    found = await store.read(
        lambda connection: search.by_words(connection, asked.text, _among(asked), asked.limit)
    )
    return _told("text", None, None) | {"results": found}


@router.post(
    "/search/vector",
    response_model=Results,
    operation_id="search_by_nearness",
    responses=refusals(409),
)
async def search_by_nearness(asked: VectorSearch, memory: MemoryOf) -> Any:
    """Find the memories nearest to a text or a vector, by the exact cosine.

    Vectors without a direction (zero, NaN, infinite, or of another length than they say) are
    passed over. A vector that its model cannot have made, by its dimensions, is refused.
    """
    vector, model = await _near(memory, asked.near)
    found = await memory.read(
        lambda connection, reach: search.by_nearness(
            connection, reach, vector, model=model, among=_among(asked), limit=asked.limit
        )
    )
    return _told("vector", model, len(vector)) | {"results": found}


@router.post(
    "/search/hybrid", response_model=Results, operation_id="search_by_both", responses=refusals(409)
)
async def search_by_both(asked: HybridSearch, memory: MemoryOf) -> Any:
    """Find memories by words and by nearness, joined by reciprocal rank fusion.

    A result's score is the sum of 1 / (60 + rank) over the lists that it is in; each list is as
    long as twice the limit, and at least 100.
    """
    near = NearText(text=asked.text, embedder="configured") if asked.near is None else asked.near
    vector, model = await _near(memory, near)
    found = await memory.read(
        lambda connection, reach: search.by_both(
            connection,
            reach,
            asked.text,
            vector,
            model=model,
            among=_among(asked),
            limit=asked.limit,
        )
    )
    return _told("hybrid", model, len(vector)) | {"results": found}


# Knowledge entities ------------------------------------------------------------------------------


@router.post(
    "/entities/{entity_id}/embeddings",
    status_code=201,
    response_model=EntityEmbedding,
    operation_id="add_entity_embedding",
    responses=refusals(404, 409),
)
async def add_entity_embedding(
    entity_id: IdentifierInPath, new: NewEmbedding, store: StoreOf, memory: MemoryOf
) -> Any:
    """Add a vector to a knowledge entity: given, or made of its name and description."""
    text = await store.read(lambda connection: entities.text_of(connection, entity_id))
    embedded = await _embedded(memory, new.vector, text, new.embedder)
    return await store.write(lambda connection: entities.add(connection, entity_id, embedded))


@router.get(
    "/entities/{entity_id}/embeddings",
    response_model=EntityEmbeddings,
    operation_id="list_entity_embeddings",
    responses=refusals(404),
)
async def list_entity_embeddings(entity_id: IdentifierInPath, store: StoreOf) -> Any:
    """List the vectors of one knowledge entity, without their values."""
    found = await store.read(lambda connection: entities.embeddings(connection, entity_id))
    return {"items": found, "total": len(found)}


@router.post(
    "/entities/search",
    response_model=EntityResults,
    operation_id="search_entities",
    responses=refusals(409),
)
async def search_entities(asked: EntitySearch, memory: MemoryOf) -> Any:
    """Find the knowledge entities nearest to a text or a vector."""
    vector, model = await _near(memory, asked.near)
    found = await memory.store.read(
        lambda connection: entities.search(
            connection,
            vector,
            model=model,
            entity_type=asked.entity_type,
            limit=asked.limit,
        )
    )
    told = _told("vector", model, len(vector))
    return {name: told[name] for name in ("model", "dimensions", "lexical")} | {"results": found}


# What there is -----------------------------------------------------------------------------------


@router.get("/models", response_model=Models, operation_id="list_models")
async def list_models(store: StoreOf) -> Any:
    """List the models whose vectors are stored here, each with its dimensions and how many."""
    found = await store.read(blocks.models)
    return {"items": found, "total": len(found)}


@router.get("/embedder", response_model=EmbedderShown, operation_id="read_embedder")
async def read_embedder(memory: MemoryOf) -> Any:
    """Tell who makes vectors now, and whether they tell of meaning or of words only."""
    embedder = memory.embedder
    provider, model, dimensions = embedder.current
    return {
        "configured": embedder.which,
        "provider": provider,
        "model": model,
        "dimensions": dimensions,
        "semantic": provider != "lexical",
        "about": _ABOUT[provider],
        "ollama_reachable": embedder.reachable,
        "ollama_problem": embedder.problem,
        "ollama_checked_at": embedder.checked_at,
    }


@router.get("/index", response_model=IndexShown, operation_id="read_index")
async def read_index(memory: MemoryOf) -> Any:
    """Tell how far the index of vectors goes; rows beyond it are searched exactly."""
    reach = memory.index.reach
    return {
        "vectors": sum(len(view) for view in reach.groups.values()),
        "upto": reach.upto,
        "version": reach.version,
    }
