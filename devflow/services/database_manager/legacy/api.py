"""The routes of the old API, with its bodies and its sentences."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from devflow.services.app import StoreOf, refusals
from devflow.services.database_manager.legacy import memory, records, tasks
from devflow.services.database_manager.legacy.models import (
    Deleted,
    Embedding,
    Embeddings,
    Found,
    Memories,
    Memory,
    NewEmbedding,
    NewMemory,
    NewSession,
    NewTask,
    NewUsage,
    Session,
    Sessions,
    Task,
    TaskChange,
    Tasks,
    Usage,
    Usages,
)
from devflow.services.database_manager.links import links
from devflow.services.fields import Limit, Offset, Words

__all__ = ["router"]

router = APIRouter(tags=["legacy"])

Key = Annotated[str, Path(max_length=2_000, examples=["task-7"])]
Filter = Annotated[str | None, Query(max_length=1_000)]


# Tasks --------------------------------------------------------------------------------------------


@router.post(
    "/tasks",
    status_code=201,
    operation_id="legacy_create_task",
    responses=refusals(409)
    | links(
        "key", read="legacy_read_task", change="legacy_change_task", delete="legacy_delete_task"
    ),
)
async def create_task(store: StoreOf, task: NewTask) -> Task:
    """Make a task."""
    given = task.model_dump()
    identifier = given.pop("id") or str(uuid.uuid4())
    return Task(**await store.write(lambda c: tasks.create(c, identifier, given)))


@router.get("/tasks", operation_id="legacy_list_tasks", response_model=Tasks)
async def list_tasks(
    store: StoreOf, status: Filter = None, limit: Limit = 50, offset: Offset = 0
) -> Any:
    """List the tasks, the newest first; `status` is a word as the task shows it."""
    return await store.read(lambda c: tasks.listed(c, of_status=status, limit=limit, offset=offset))


@router.get("/tasks/{key}", operation_id="legacy_read_task", responses=refusals(404))
async def read_task(store: StoreOf, key: Key) -> Task:
    """Show a task."""
    return Task(**await store.read(lambda c: tasks.read(c, key)))


@router.put("/tasks/{key}", operation_id="legacy_change_task", responses=refusals(404))
async def change_task(store: StoreOf, key: Key, change: TaskChange) -> Task:
    """Change a task: what is left out stays as it is."""
    given = change.model_dump(exclude_unset=True)
    return Task(**await store.write(lambda c: tasks.change(c, key, given)))


@router.delete("/tasks/{key}", operation_id="legacy_delete_task", responses=refusals(404))
async def delete_task(store: StoreOf, key: Key) -> Deleted:
    """Delete a task. One that memory, sessions or other tasks hang from only leaves this API."""
    await store.write(lambda c: tasks.delete(c, key))
    return Deleted(deleted=True)


# Memory -------------------------------------------------------------------------------------------


@router.post(
    "/memory",
    status_code=201,
    operation_id="legacy_create_memory",
    responses=refusals(409)
    | links(
        "key",
        read="legacy_read_memory",
        embed="legacy_create_embedding",
        embeddings="legacy_list_embeddings",
        delete="legacy_delete_memory",
    ),
)
async def create_memory(store: StoreOf, given: NewMemory) -> Memory:
    """Keep a piece of memory."""
    values = given.model_dump()
    identifier = values.pop("id") or str(uuid.uuid4())
    return Memory(**await store.write(lambda c: memory.create(c, identifier, values)))


@router.get("/memory", operation_id="legacy_list_memory", response_model=Memories)
async def list_memory(
    store: StoreOf,
    type_: Annotated[str | None, Query(alias="type", max_length=1_000)] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Any:
    """List the memory, the newest first."""
    return await store.read(lambda c: memory.listed(c, of_type=type_, limit=limit, offset=offset))


@router.get("/memory/search", operation_id="legacy_search_memory", response_model=Found)
async def search_memory(store: StoreOf, q: Words, limit: Limit = 50) -> Any:
    """Find the memory that holds `q` as it is, in any case, the newest first."""
    return await store.read(lambda c: memory.search(c, q, limit=limit))


@router.get("/memory/{key}", operation_id="legacy_read_memory", responses=refusals(404))
async def read_memory(store: StoreOf, key: Key) -> Memory:
    """Show a piece of memory."""
    return Memory(**await store.read(lambda c: memory.read(c, key)))


@router.delete("/memory/{key}", operation_id="legacy_delete_memory", responses=refusals(404))
async def delete_memory(store: StoreOf, key: Key) -> Deleted:
    """Delete a piece of memory, with its embeddings."""
    await store.write(lambda c: memory.delete(c, key))
    return Deleted(deleted=True)


@router.post(
    "/memory/{key}/embeddings",
    status_code=201,
    operation_id="legacy_create_embedding",
    responses=refusals(404),
)
async def create_embedding(store: StoreOf, key: Key, given: NewEmbedding) -> Embedding:
    """Add a vector to a piece of memory."""
    made = await store.write(
        lambda c: memory.add_embedding(c, key, model=given.model_id, vector=given.embedding)
    )
    return Embedding(**made)


@router.get(
    "/memory/{key}/embeddings",
    operation_id="legacy_list_embeddings",
    response_model=Embeddings,
    responses=refusals(404),
)
async def list_embeddings(store: StoreOf, key: Key) -> Any:
    """List the vectors of a piece of memory."""
    return await store.read(lambda c: memory.embeddings(c, key))


# Usage and sessions -------------------------------------------------------------------------------


@router.post("/usage", status_code=201, operation_id="legacy_create_usage", responses=refusals(409))
async def create_usage(store: StoreOf, usage: NewUsage) -> Usage:
    """Record a request to a provider; its day's sums are brought up to date with it."""
    given = usage.model_dump()
    return Usage(**await store.write(lambda c: records.create_usage(c, given)))


@router.get("/usage", operation_id="legacy_list_usage", response_model=Usages)
async def list_usage(store: StoreOf, limit: Limit = 50, offset: Offset = 0) -> Any:
    """List the usage, the newest first."""
    return await store.read(lambda c: records.usages(c, limit=limit, offset=offset))


@router.post(
    "/sessions",
    status_code=201,
    operation_id="legacy_create_session",
    responses=refusals(409) | links("key", read="legacy_read_session"),
)
async def create_session(store: StoreOf, session: NewSession) -> Session:
    """Remember a session."""
    given = session.model_dump()
    identifier = given.pop("id") or str(uuid.uuid4())
    return Session(**await store.write(lambda c: records.create_session(c, identifier, given)))


@router.get("/sessions", operation_id="legacy_list_sessions", response_model=Sessions)
async def list_sessions(store: StoreOf, limit: Limit = 50, offset: Offset = 0) -> Any:
    """List the sessions, the last changed first."""
    return await store.read(lambda c: records.sessions(c, limit=limit, offset=offset))


@router.get("/sessions/{key}", operation_id="legacy_read_session", responses=refusals(404))
async def read_session(store: StoreOf, key: Key) -> Session:
    """Show a session."""
    return Session(**await store.read(lambda c: records.session(c, key)))
