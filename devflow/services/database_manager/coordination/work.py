"""What is done with coordination sessions, in the caller's transaction."""

from __future__ import annotations

import uuid
from typing import Any

from devflow.services.costs.recording import Usage, record_usage
from devflow.services.errors import ConflictError, MissingError
from devflow.services.pages import Page, page
from devflow.services.store import Connection, Row, one
from devflow.services.values import json_text, number, parsed, sql_now, text, whole

__all__ = ["audit", "chain", "end", "hand_off", "listed", "read", "start", "update"]

_WHOLE = (
    *("duration_seconds", "tokens_used", "api_calls", "context_size_start", "context_size_end"),
    *("compaction_events", "user_satisfaction", "errors_encountered"),
)
_REAL = ("estimated_cost_usd", "task_progress_delta")
_JSON = ("handoff_context", "metadata")
_COLUMNS = (
    "id, task_id, platform, session_type, status, start_time, end_time, duration_seconds,"
    " tokens_used, api_calls, estimated_cost_usd, model_used, context_size_start,"
    " context_size_end, compaction_events, handoff_from_session, handoff_to_session,"
    " handoff_context, handoff_success, user_satisfaction, task_progress_delta,"
    " errors_encountered, metadata, updated_at"
)
_READ = f"SELECT {_COLUMNS} FROM coordination_sessions WHERE id = ?"
_AUDIT = "id, session_id, old_status, new_status, changed_at"


def _shown(row: Row) -> Row:
    found: Row = {name: text(value) for name, value in row.items()}
    found |= {name: whole(row[name]) for name in _WHOLE}
    found |= {name: number(row[name]) for name in _REAL}
    found |= {name: parsed(row[name]) for name in _JSON}
    success = number(row["handoff_success"])
    found["handoff_success"] = None if success is None else bool(success)
    return found


def read(connection: Connection, identifier: str) -> Row:
    """Return a session; MissingError if there is none."""
    row = one(connection, _READ, (identifier,))
    if row is None:
        raise MissingError(f"there is no coordination session '{identifier}'")
    return _shown(row)


def listed(connection: Connection, *, limit: int, offset: int, **equal: str | None) -> Page:
    """Return a page of the sessions whose columns equal what is given, the last begun first."""
    return page(
        connection,
        _shown,
        select=_COLUMNS,
        source="coordination_sessions",
        order="start_time DESC, id",
        given={f"{name} = ?": value for name, value in equal.items()},
        limit=limit,
        offset=offset,
    )


def start(connection: Connection, given: dict[str, Any]) -> Row:
    """Insert an active session, and note its beginning in the audit log."""
    identifier = given["id"] or uuid.uuid4().hex
    if one(connection, "SELECT 1 FROM coordination_sessions WHERE id = ?", (identifier,)):
        raise ConflictError(f"a coordination session '{identifier}' exists already")
    if one(connection, "SELECT 1 FROM task_contexts WHERE id = ?", (given["task_id"],)) is None:
        raise ConflictError(f"there is no task '{given['task_id']}' for the session")
    now = sql_now()
    values = _stored(given) | {"id": identifier, "start_time": now, "updated_at": now}
    places = ", ".join(f":{name}" for name in values)
    connection.execute(
        f"INSERT INTO coordination_sessions ({', '.join(values)}) VALUES ({places})", values
    )
    connection.execute(
        "INSERT INTO session_audit_log (session_id, old_status, new_status)"
        " VALUES (?, NULL, 'active')",
        (identifier,),
    )
    return read(connection, identifier)


def _stored(given: dict[str, Any]) -> dict[str, Any]:
    return given | {name: json_text(given[name]) for name in _JSON if name in given}


def _active(connection: Connection, identifier: str) -> Row:
    session = read(connection, identifier)
    if session["status"] != "active":
        raise ConflictError(
            f"coordination session '{identifier}' is {session['status']}; only an active one can"
            " go on, end or hand off"
        )
    return session


def _record(connection: Connection, session: Row, usage: dict[str, Any] | None) -> None:
    """Record reported usage with its day's sums, and add it to the session's own."""
    if usage is None:
        return
    known = "SELECT 1 FROM synthetic_usage WHERE id = ?"
    again = usage["id"] is not None and one(connection, known, (usage["id"],)) is not None
    recorded = record_usage(
        connection,
        Usage(
            **{**usage, "model": usage["model"] or session["model_used"]},
            provider=session["platform"],
            agent_type=session["session_type"] or "development",
        ),
    )
    if again:
        return
    connection.execute(
        "UPDATE coordination_sessions SET tokens_used = COALESCE(tokens_used, 0) + :tokens,"
        " api_calls = COALESCE(api_calls, 0) + 1,"
        " estimated_cost_usd = COALESCE(estimated_cost_usd, 0) + :cost WHERE id = :id",
        {
            "tokens": usage["tokens_in"] + usage["tokens_out"],
            "cost": number(recorded["cost_usd"]) or 0.0,
            "id": session["id"],
        },
    )


def _set(connection: Connection, identifier: str, values: dict[str, Any]) -> None:
    values = _stored(values) | {"updated_at": sql_now()}
    changes = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(
        f"UPDATE coordination_sessions SET {changes} WHERE id = :id", {**values, "id": identifier}
    )


def _ended(connection: Connection, session: Row) -> str:
    """Return the time, or when the session began where that is later: the clock was set back."""
    found = one(
        connection,
        "SELECT iif(julianday(:began) > julianday(:now), :began, :now) AS at",
        {"began": session["start_time"], "now": sql_now()},
    )
    assert found is not None  # noqa: S101 - without a table there is one row
    return str(found["at"])


def update(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """Change what is given of an active session, record the usage it reports, and return it."""
    session = _active(connection, identifier)
    usage = given.pop("usage", None)
    if given:
        _set(connection, identifier, given)
    _record(connection, {**session, **given}, usage)
    return read(connection, identifier)


def end(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """End an active session; whoever handed it the task learns whether that went well."""
    session = _active(connection, identifier)
    usage, outcome = given.pop("usage", None), given.pop("outcome", "completed")
    _record(connection, {**session, **given}, usage)
    _set(
        connection,
        identifier,
        {**given, "status": outcome, "end_time": _ended(connection, session)},
    )
    connection.execute(
        "UPDATE coordination_sessions SET handoff_success = ?"
        " WHERE handoff_to_session = ? AND handoff_success IS NULL",
        (outcome == "completed", identifier),
    )
    return read(connection, identifier)


def hand_off(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """End an active session and begin its follower, linked both ways; return the follower.

    All of it is one transaction: no session ends for nobody, and none begins twice.
    """
    session = _active(connection, identifier)
    _record(connection, session, given.pop("usage"))
    context, size = given.pop("handoff_context"), given.pop("context_size_end")
    follower = start(
        connection,
        {
            **given,
            "task_id": session["task_id"],
            "handoff_from_session": identifier,
            "handoff_context": context,
        },
    )
    ended = {
        "status": "handed_off",
        "end_time": _ended(connection, session),
        "handoff_context": context,
    }
    ended |= {"handoff_to_session": follower["id"]}
    if size is not None:
        ended["context_size_end"] = size
    _set(connection, identifier, ended)
    return {**follower, "follows": read(connection, identifier)}


def chain(connection: Connection, identifier: str, *, limit: int, offset: int) -> Page:
    """Return the sessions that handed a task on to each other, from the first to the last."""
    session = read(connection, identifier)
    found = {identifier: session}
    for link, front in (("handoff_from_session", True), ("handoff_to_session", False)):
        current = session[link]
        while current is not None and current not in found:
            row = one(connection, _READ, (current,))
            if row is None:
                break
            met = {current: _shown(row)}
            found = {**met, **found} if front else {**found, **met}
            current = met[current][link]
    return {"items": list(found.values())[offset : offset + limit], "total": len(found)}


def audit(connection: Connection, identifier: str, *, limit: int, offset: int) -> Page:
    """Return a page of the changes of a session's status, the first one first."""
    read(connection, identifier)
    return page(
        connection,
        lambda row: {**{name: text(row[name]) for name in row}, "id": row["id"]},
        select=_AUDIT,
        source="session_audit_log",
        order="id",
        given={"session_id = ?": identifier},
        limit=limit,
        offset=offset,
    )
