"""The routes of tasks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from devflow.services.app import StoreOf, refusals
from devflow.services.database_manager.links import links
from devflow.services.database_manager.tasks import lifecycle, work
from devflow.services.database_manager.tasks.models import (
    Dependencies,
    Lifecycle,
    NewTask,
    Platform,
    Priority,
    State,
    Status,
    Subtree,
    Task,
    TaskChange,
    Tasks,
)
from devflow.services.fields import Limit, Offset

__all__ = ["router"]

router = APIRouter(prefix="/v2", tags=["tasks"])

Key = Annotated[str, Path(min_length=1, max_length=2_000, examples=["task-7"])]
Parent = Annotated[str | None, Query(max_length=200, description="parts of this task only")]


@router.post(
    "/tasks",
    status_code=201,
    operation_id="create_task",
    responses=refusals(409)
    | links(
        "task_id",
        read="read_task",
        change="change_task",
        move="move_task",
        depend="set_dependencies",
        children="list_children",
        subtree="list_subtree",
        ancestors="list_ancestors",
        dependencies="list_dependencies",
        dependants="list_dependants",
        delete="delete_task",
    ),
)
async def create_task(store: StoreOf, task: NewTask) -> Task:
    """Make a task. Its parent and what it depends on have to be there; no circle can be made."""
    given = task.model_dump()
    return Task(**await store.write(lambda c: work.create(c, given)))


@router.get("/tasks", operation_id="list_tasks", response_model=Tasks)
async def list_tasks(
    store: StoreOf,
    status: Status | None = None,
    priority: Priority | None = None,
    platform: Platform | None = None,
    parent_task_id: Parent = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Any:
    """List tasks, the newest first."""
    return await store.read(
        lambda c: work.listed(
            c,
            status=status,
            priority=priority,
            primary_platform=platform,
            parent_task_id=parent_task_id,
            limit=limit,
            offset=offset,
        )
    )


@router.get("/lifecycle", operation_id="show_lifecycle")
async def show_lifecycle() -> Lifecycle:
    """Show the states of a task, and which may follow which."""
    return Lifecycle(
        moves={state: list(after) for state, after in lifecycle.MOVES.items()},
        free=list(lifecycle.FREE),
        closed=list(lifecycle.CLOSED),
    )


@router.get("/tasks/{task_id}", operation_id="read_task", responses=refusals(404))
async def read_task(store: StoreOf, task_id: Key) -> Task:
    """Show a task."""
    return Task(**await store.read(lambda c: work.read(c, task_id)))


@router.patch("/tasks/{task_id}", operation_id="change_task", responses=refusals(404, 409))
async def change_task(store: StoreOf, task_id: Key, change: TaskChange) -> Task:
    """Change a task: what is left out stays as it is. Its place in the tree may change too."""
    given = change.model_dump(exclude_unset=True)
    return Task(**await store.write(lambda c: work.change(c, task_id, given)))


@router.put("/tasks/{task_id}/status", operation_id="move_task", responses=refusals(404, 409))
async def move_task(store: StoreOf, task_id: Key, state: State) -> Task:
    """Bring a task into a state; `/v2/lifecycle` tells which moves there are.

    With open dependencies it can become neither active nor completed.
    """
    return Task(**await store.write(lambda c: work.move(c, task_id, state.status)))


@router.put(
    "/tasks/{task_id}/dependencies", operation_id="set_dependencies", responses=refusals(404, 409)
)
async def set_dependencies(store: StoreOf, task_id: Key, given: Dependencies) -> Task:
    """Say which tasks have to be done before this one; they have to be there, without a circle."""
    return Task(**await store.write(lambda c: work.change(c, task_id, given.model_dump())))


@router.delete(
    "/tasks/{task_id}",
    status_code=204,
    response_class=Response,
    operation_id="delete_task",
    responses=refusals(404, 409),
)
async def delete_task(store: StoreOf, task_id: Key) -> None:
    """Delete a task with its memory and sessions, unless other tasks or knowledge need it."""
    await store.write(lambda c: work.delete(c, task_id))


# What hangs together -----------------------------------------------------------------------------


@router.get(
    "/tasks/{task_id}/children",
    operation_id="list_children",
    response_model=Tasks,
    responses=refusals(404),
)
async def list_children(store: StoreOf, task_id: Key, limit: Limit = 50, offset: Offset = 0) -> Any:
    """List the direct parts of a task, the newest first."""
    return await store.read(lambda c: work.children(c, task_id, limit=limit, offset=offset))


@router.get(
    "/tasks/{task_id}/subtree",
    operation_id="list_subtree",
    response_model=Subtree,
    responses=refusals(404),
)
async def list_subtree(store: StoreOf, task_id: Key, limit: Limit = 50, offset: Offset = 0) -> Any:
    """List a task and everything below it, level by level."""
    return await store.read(lambda c: work.subtree(c, task_id, limit=limit, offset=offset))


@router.get(
    "/tasks/{task_id}/ancestors",
    operation_id="list_ancestors",
    response_model=Tasks,
    responses=refusals(404),
)
async def list_ancestors(
    store: StoreOf, task_id: Key, limit: Limit = 50, offset: Offset = 0
) -> Any:
    """List what a task is a part of: its parent first, the whole at the end."""
    return await store.read(lambda c: work.ancestors(c, task_id, limit=limit, offset=offset))


@router.get(
    "/tasks/{task_id}/dependencies",
    operation_id="list_dependencies",
    response_model=Tasks,
    responses=refusals(404),
)
async def list_dependencies(
    store: StoreOf, task_id: Key, limit: Limit = 50, offset: Offset = 0
) -> Any:
    """List the tasks that have to be done before this one."""
    return await store.read(lambda c: work.dependencies(c, task_id, limit=limit, offset=offset))


@router.get(
    "/tasks/{task_id}/dependants",
    operation_id="list_dependants",
    response_model=Tasks,
    responses=refusals(404),
)
async def list_dependants(
    store: StoreOf, task_id: Key, limit: Limit = 50, offset: Offset = 0
) -> Any:
    """List the tasks that wait for this one."""
    return await store.read(lambda c: work.dependants(c, task_id, limit=limit, offset=offset))
