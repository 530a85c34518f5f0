"""The routes of memory blocks and their embeddings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from devflow.services.app import StoreOf, refusals
from devflow.services.database_manager.links import links
from devflow.services.database_manager.memory import work
from devflow.services.database_manager.memory.models import (
    Block,
    BlockChange,
    Blocks,
    BlockType,
    Embedding,
    Embeddings,
    NewBlock,
    NewEmbedding,
)
from devflow.services.fields import Limit, Offset

__all__ = ["router"]

router = APIRouter(prefix="/v2/memory", tags=["memory"])

Key = Annotated[str, Path(min_length=1, max_length=2_000, examples=["block-7"])]
EmbeddingKey = Annotated[str, Path(min_length=1, max_length=2_000)]
Filter = Annotated[str | None, Query(max_length=200)]
Importance = Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)]


@router.post(
    "",
    status_code=201,
    operation_id="create_block",
    responses=refusals(409)
    | links(
        "block_id",
        read="read_block",
        change="change_block",
        embed="add_embedding",
        embeddings="list_block_embeddings",
        delete="delete_block",
    ),
)
async def create_block(store: StoreOf, block: NewBlock) -> Block:
    """Keep a memory block of a task, which has to be there, as have the blocks it relates to."""
    given = block.model_dump()
    return Block(**await store.write(lambda c: work.create(c, given)))


@router.get("", operation_id="list_blocks", response_model=Blocks)
async def list_blocks(
    store: StoreOf,
    task_id: Filter = None,
    session_id: Filter = None,
    block_type: BlockType | None = None,
    min_importance: Importance = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Any:
    """List memory blocks, the newest first. A list does not count as reading a block."""
    return await store.read(
        lambda c: work.listed(
            c,
            task_id=task_id,
            session_id=session_id,
            block_type=block_type,
            min_importance=min_importance,
            limit=limit,
            offset=offset,
        )
    )


@router.get("/{block_id}", operation_id="read_block", responses=refusals(404))
async def read_block(
    store: StoreOf,
    block_id: Key,
    touch: Annotated[bool, Query(description="whether this counts as reading it")] = True,
) -> Block:
    """Show a memory block, and stamp it as read now."""
    if touch:
        return Block(**await store.write(lambda c: work.touch(c, block_id)))
    return Block(**await store.read(lambda c: work.read(c, block_id)))


@router.patch("/{block_id}", operation_id="change_block", responses=refusals(404, 409))
async def change_block(store: StoreOf, block_id: Key, change: BlockChange) -> Block:
    """Change a memory block: what is left out stays as it is.

    Embeddings of an earlier content stay, too; delete those that are of no use any more.
    """
    given = change.model_dump(exclude_unset=True)
    return Block(**await store.write(lambda c: work.change(c, block_id, given)))


@router.delete(
    "/{block_id}",
    status_code=204,
    response_class=Response,
    operation_id="delete_block",
    responses=refusals(404, 409),
)
async def delete_block(store: StoreOf, block_id: Key) -> None:
    """Delete a memory block with its embeddings."""
    await store.write(lambda c: work.delete(c, block_id))


@router.post(
    "/{block_id}/embeddings",
    status_code=201,
    operation_id="add_embedding",
    responses=refusals(404, 409)
    | {
        201: {
            "links": {
                "delete": {
                    "operationId": "delete_embedding",
                    "parameters": {
                        "block_id": "$response.body#/block_id",
                        "embedding_id": "$response.body#/id",
                    },
                }
            }
        }
    },
)
async def add_embedding(store: StoreOf, block_id: Key, embedding: NewEmbedding) -> Embedding:
    """Add a vector of the block's content. A block may have several, of any models."""
    given = embedding.model_dump()
    return Embedding(**await store.write(lambda c: work.add_embedding(c, block_id, given)))


@router.get(
    "/{block_id}/embeddings",
    operation_id="list_block_embeddings",
    response_model=Embeddings,
    responses=refusals(404),
)
async def list_embeddings(
    store: StoreOf,
    block_id: Key,
    vectors: Annotated[bool, Query(description="show the vectors, too")] = False,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Any:
    """List the embeddings of a block in the order of their making."""
    return await store.read(
        lambda c: work.embeddings(c, block_id, vectors=vectors, limit=limit, offset=offset)
    )


@router.delete(
    "/{block_id}/embeddings/{embedding_id}",
    status_code=204,
    response_class=Response,
    operation_id="delete_embedding",
    responses=refusals(404),
)
async def delete_embedding(store: StoreOf, block_id: Key, embedding_id: EmbeddingKey) -> None:
    """Delete one embedding of a block."""
    await store.write(lambda c: work.delete_embedding(c, block_id, embedding_id))
