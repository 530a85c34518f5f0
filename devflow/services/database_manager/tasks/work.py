"""What is done with tasks, in the caller's transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

import apsw

from devflow.services.database_manager.import_task import is_import_task
from devflow.services.database_manager.tasks import graph, lifecycle
from devflow.services.errors import ConflictError, MissingError
from devflow.services.pages import Page, page
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import json_text, number, parsed, sql_now, text, whole

__all__ = [
    "ancestors",
    "change",
    "children",
    "create",
    "delete",
    "dependants",
    "dependencies",
    "listed",
    "move",
    "read",
    "shown",
    "subtree",
]

_JSON = (
    *("required_capabilities", "platform_routing", "architectural_context"),
    *("implementation_context", "debugging_context", "maintenance_context"),
)
_COLUMNS = (
    "id, title, description, priority, status, complexity_score, estimated_duration_minutes,"
    " required_capabilities, primary_platform, platform_routing, architectural_context,"
    " implementation_context, debugging_context, maintenance_context, cc_session_id, cc_task_file,"
    " branch_name, parent_task_id, depends_on, created_at, updated_at, completed_at"
)
_READ = f"SELECT {_COLUMNS} FROM task_contexts WHERE id = ?"
_SOME = f"SELECT {_COLUMNS} FROM task_contexts WHERE id IN (SELECT value FROM json_each(?))"
# From its first write on, a task that also came from the old database is one, in one state.
_TOUCHED = (
    "legacy_values = CASE WHEN legacy_values IS NULL AND EXISTS (SELECT 1 FROM"
    " origin_legacy_task_contexts AS o WHERE o.seq = task_contexts.seq) THEN '{}'"
    " ELSE legacy_values END"
)


def shown(row: Row) -> Row:
    """Return a task's row as a response shows it, whatever stands in it."""
    found: Row = {name: text(value) for name, value in row.items()}
    found |= {name: parsed(row[name]) for name in _JSON}
    found["title"] = found["title"] or ""
    found["priority"] = found["priority"] or "?-"
    found["complexity_score"] = number(row["complexity_score"])
    found["estimated_duration_minutes"] = whole(row["estimated_duration_minutes"])
    found["depends_on"] = graph.needed(row["depends_on"])
    return found


def read(connection: Connection, identifier: str) -> Row:
    """Return a task; MissingError if there is none."""
    row = one(connection, _READ, (identifier,))
    if row is None:
        raise MissingError(f"there is no task '{identifier}'")
    return shown(row)


def listed(connection: Connection, *, limit: int, offset: int, **equal: str | None) -> Page:
    """Return a page of the tasks whose columns equal what is given, the newest first."""
    return page(
        connection,
        shown,
        select=_COLUMNS,
        source="task_contexts",
        order="created_at DESC, id",
        given={f"{name} = ?": value for name, value in equal.items()},
        limit=limit,
        offset=offset,
    )


def _stored(given: dict[str, Any]) -> dict[str, Any]:
    values = dict(given)
    for name in _JSON:
        if name in values:
            values[name] = json_text(values[name])
    if "depends_on" in values:
        values["depends_on"] = json_text(list(dict.fromkeys(values["depends_on"])) or None)
    return values


def _check(connection: Connection, identifier: str, given: dict[str, Any]) -> None:
    if given.get("parent_task_id") is not None:
        graph.check_parent(connection, identifier, given["parent_task_id"])
    if given.get("depends_on"):
        graph.check_dependencies(connection, identifier, given["depends_on"])


def create(connection: Connection, given: dict[str, Any]) -> Row:
    """Insert a task and return it; ConflictError where its identifier is taken."""
    identifier = given["id"] or uuid.uuid4().hex
    if one(connection, "SELECT 1 FROM task_contexts WHERE id = ?", (identifier,)):
        raise ConflictError(f"a task '{identifier}' exists already")
    _check(connection, identifier, given)
    waits = graph.still_open(connection, given["depends_on"])
    lifecycle.check_dependencies(identifier, given["status"], waits)
    now = sql_now()
    told = {name: value for name, value in _stored(given).items() if value is not None}
    values = told | {"id": identifier, "created_at": now, "updated_at": now}
    if given["status"] == "completed":
        values["completed_at"] = now
    places = ", ".join(f":{name}" for name in values)
    connection.execute(f"INSERT INTO task_contexts ({', '.join(values)}) VALUES ({places})", values)
    return read(connection, identifier)


def change(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """Change what is given of a task, stamp it, and return it."""
    read(connection, identifier)
    _check(connection, identifier, given)
    values = {**_stored(given), "updated_at": sql_now()}
    changes = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(
        f"UPDATE task_contexts SET {changes}, {_TOUCHED} WHERE id = :id",
        {**values, "id": identifier},
    )
    return read(connection, identifier)


def move(connection: Connection, identifier: str, status: str) -> Row:
    """Bring a task into a state, by a declared move; its own state changes nothing."""
    task = read(connection, identifier)
    if task["status"] == status:
        return task
    lifecycle.check_move(identifier, task["status"], status)
    lifecycle.check_dependencies(
        identifier, status, graph.still_open(connection, task["depends_on"])
    )
    connection.execute(
        "UPDATE task_contexts SET status = :status, updated_at = :now, completed_at = CASE :status"
        " WHEN 'completed' THEN :now WHEN 'archived' THEN completed_at END,"
        f" {_TOUCHED} WHERE id = :id",
        {"status": status, "now": sql_now(), "id": identifier},
    )
    return read(connection, identifier)


def delete(connection: Connection, identifier: str) -> None:
    """Delete a task with its memory and sessions; ConflictError while others need it."""
    read(connection, identifier)
    if is_import_task(connection, identifier):
        raise ConflictError(f"task '{identifier}' holds the memory that the old APIs keep")
    known = "SELECT 1 FROM knowledge_entities WHERE learned_from_task_id = ? LIMIT 1"
    part = "SELECT id FROM task_contexts WHERE parent_task_id = ? LIMIT 1"
    reason = None
    if child := one(connection, part, (identifier,)):
        reason = f"task '{text(child['id'])}' is a part of it"
    elif waiting := graph.dependants(connection, identifier):
        reason = f"task '{waiting[0]}' depends on it"
    elif one(connection, known, (identifier,)):
        reason = "knowledge was learned from it"
    if reason:
        raise ConflictError(f"task '{identifier}' cannot be deleted: {reason}; archive it instead")
    try:
        connection.execute("DELETE FROM task_contexts WHERE id = ?", (identifier,))
    except apsw.ConstraintError as error:
        raise ConflictError(
            f"task '{identifier}' cannot be deleted: something else refers to it or to a session"
            " of it; archive it instead"
        ) from error


# What hangs together -----------------------------------------------------------------------------


def _these(connection: Connection, names: Sequence[str], *, limit: int, offset: int) -> Page:
    """Return a page of the named tasks, in their order; those that are not there are left out."""
    wanted = list(names[offset : offset + limit])
    found = {row["id"]: shown(row) for row in rows(connection, _SOME, (json.dumps(wanted),))}
    return {"items": [found[name] for name in wanted if name in found], "total": len(names)}


def children(connection: Connection, identifier: str, *, limit: int, offset: int) -> Page:
    """Return a page of a task's direct parts, the newest first."""
    read(connection, identifier)
    return listed(connection, parent_task_id=identifier, limit=limit, offset=offset)


def ancestors(connection: Connection, identifier: str, *, limit: int, offset: int) -> Page:
    """Return what a task is a part of, from the nearest up."""
    read(connection, identifier)
    return _these(connection, graph.ancestors(connection, identifier), limit=limit, offset=offset)


def subtree(connection: Connection, identifier: str, *, limit: int, offset: int) -> Page:
    """Return a task and everything below it, each with its depth, level by level."""
    read(connection, identifier)
    depths = dict(graph.below(connection, identifier))
    found = _these(connection, list(depths), limit=limit, offset=offset)
    found["items"] = [{**task, "depth": depths[task["id"]]} for task in found["items"]]
    return found


def dependencies(connection: Connection, identifier: str, *, limit: int, offset: int) -> Page:
    """Return the tasks that have to be done before this one."""
    task = read(connection, identifier)
    return _these(connection, task["depends_on"], limit=limit, offset=offset)


def dependants(connection: Connection, identifier: str, *, limit: int, offset: int) -> Page:
    """Return the tasks that wait for this one."""
    read(connection, identifier)
    return _these(connection, graph.dependants(connection, identifier), limit=limit, offset=offset)
