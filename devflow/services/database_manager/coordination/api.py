"""The routes of sessions and coordination sessions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from devflow.services.app import StoreOf, refusals
from devflow.services.database_manager.coordination import sessions, work
from devflow.services.database_manager.coordination.models import (
    Audit,
    CoordinationSession,
    CoordinationSessions,
    End,
    HandedOff,
    Handoff,
    NewCoordinationSession,
    NewSession,
    Platform,
    Session,
    SessionChange,
    Sessions,
    SessionStatus,
    Update,
)
from devflow.services.database_manager.links import links
from devflow.services.fields import Limit, Offset

__all__ = ["router"]

router = APIRouter(prefix="/v2", tags=["sessions"])

Key = Annotated[str, Path(min_length=1, max_length=2_000, examples=["session-7"])]
Filter = Annotated[str | None, Query(max_length=200)]


@router.post(
    "/sessions",
    status_code=201,
    operation_id="create_session",
    responses=refusals(409) | links("session_id", read="read_session", change="change_session"),
)
async def create_session(store: StoreOf, session: NewSession) -> Session:
    """Remember a session."""
    given = session.model_dump()
    return Session(**await store.write(lambda c: sessions.create(c, given)))


@router.get("/sessions", operation_id="list_sessions", response_model=Sessions)
async def list_sessions(store: StoreOf, limit: Limit = 50, offset: Offset = 0) -> Any:
    """List the sessions, the last changed first."""
    return await store.read(lambda c: sessions.listed(c, limit=limit, offset=offset))


@router.get("/sessions/{session_id}", operation_id="read_session", responses=refusals(404))
async def read_session(store: StoreOf, session_id: Key) -> Session:
    """Show a session."""
    return Session(**await store.read(lambda c: sessions.read(c, session_id)))


@router.patch("/sessions/{session_id}", operation_id="change_session", responses=refusals(404))
async def change_session(store: StoreOf, session_id: Key, change: SessionChange) -> Session:
    """Change a session: what is left out stays as it is."""
    given = change.model_dump(exclude_unset=True)
    return Session(**await store.write(lambda c: sessions.change(c, session_id, given)))


# Coordination sessions ---------------------------------------------------------------------------

_FOLLOWING = {
    "read": "read_coordination_session",
    "update": "update_coordination_session",
    "end": "end_coordination_session",
    "hand_off": "hand_off_coordination_session",
    "chain": "list_coordination_chain",
    "audit": "list_coordination_audit",
}


@router.post(
    "/coordination-sessions",
    status_code=201,
    operation_id="start_coordination_session",
    responses=refusals(409) | links("session_id", **_FOLLOWING),
)
async def start(store: StoreOf, session: NewCoordinationSession) -> CoordinationSession:
    """Begin to work on a task on a platform."""
    given = session.model_dump()
    return CoordinationSession(**await store.write(lambda c: work.start(c, given)))


@router.get(
    "/coordination-sessions",
    operation_id="list_coordination_sessions",
    response_model=CoordinationSessions,
)
async def list_coordination_sessions(
    store: StoreOf,
    task_id: Filter = None,
    platform: Platform | None = None,
    status: SessionStatus | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Any:
    """List coordination sessions, the last begun first."""
    return await store.read(
        lambda c: work.listed(
            c, task_id=task_id, platform=platform, status=status, limit=limit, offset=offset
        )
    )


@router.get(
    "/coordination-sessions/{session_id}",
    operation_id="read_coordination_session",
    responses=refusals(404),
)
async def read_coordination_session(store: StoreOf, session_id: Key) -> CoordinationSession:
    """Show a coordination session."""
    return CoordinationSession(**await store.read(lambda c: work.read(c, session_id)))


@router.patch(
    "/coordination-sessions/{session_id}",
    operation_id="update_coordination_session",
    responses=refusals(404, 409),
)
async def update(store: StoreOf, session_id: Key, change: Update) -> CoordinationSession:
    """Tell what is new of an active session, and what it used, which is recorded with it."""
    given = change.model_dump(exclude_unset=True)
    given |= {"usage": change.usage.model_dump()} if change.usage else {}
    return CoordinationSession(**await store.write(lambda c: work.update(c, session_id, {**given})))


@router.post(
    "/coordination-sessions/{session_id}/end",
    operation_id="end_coordination_session",
    responses=refusals(404, 409),
)
async def end(store: StoreOf, session_id: Key, how: End) -> CoordinationSession:
    """End an active session. Whoever handed it the task learns whether that went well."""
    given = how.model_dump(exclude_unset=True)
    given |= {"usage": how.usage.model_dump()} if how.usage else {}
    return CoordinationSession(**await store.write(lambda c: work.end(c, session_id, {**given})))


@router.post(
    "/coordination-sessions/{session_id}/handoff",
    status_code=201,
    operation_id="hand_off_coordination_session",
    responses=refusals(404, 409) | links("session_id", **_FOLLOWING),
)
async def hand_off(store: StoreOf, session_id: Key, handoff: Handoff) -> HandedOff:
    """End an active session and begin the one that goes on with its task, in one step."""
    given = handoff.model_dump()
    return HandedOff(**await store.write(lambda c: work.hand_off(c, session_id, {**given})))


@router.get(
    "/coordination-sessions/{session_id}/chain",
    operation_id="list_coordination_chain",
    response_model=CoordinationSessions,
    responses=refusals(404),
)
async def list_chain(store: StoreOf, session_id: Key, limit: Limit = 50, offset: Offset = 0) -> Any:
    """List the sessions that handed the task on to each other, from the first to the last."""
    return await store.read(lambda c: work.chain(c, session_id, limit=limit, offset=offset))


@router.get(
    "/coordination-sessions/{session_id}/audit",
    operation_id="list_coordination_audit",
    response_model=Audit,
    responses=refusals(404),
)
async def list_audit(store: StoreOf, session_id: Key, limit: Limit = 50, offset: Offset = 0) -> Any:
    """List the changes of a session's status, the first one first."""
    return await store.read(lambda c: work.audit(c, session_id, limit=limit, offset=offset))
