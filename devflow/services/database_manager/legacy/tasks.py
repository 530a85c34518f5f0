"""The old API's tasks: those that came from its database, and those that its clients made since."""

from __future__ import annotations

import json
from typing import Any

import apsw

from devflow.services.database_manager.legacy.words import (
    REMOVED,
    priority,
    status,
    status_sql,
    texts,
    verbatim,
    word_sql,
)
from devflow.services.errors import ConflictError, MissingError
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import sql_now

__all__ = ["change", "create", "delete", "listed", "read"]

_COLUMNS = ("id", "title", "description", "status", "priority", "created_at", "updated_at")
_ID = verbatim(_COLUMNS, "id", "u.id")
_TOUCHED = "u.legacy_values IS NULL AND"
_STATUS = word_sql("status", 8)
_CREATED = verbatim(_COLUMNS, "created_at", "u.created_at")
_SHOWN = (
    f"{_ID} AS id,"
    f" CASE WHEN {_TOUCHED} o.residue & 2 THEN o.x_title ELSE u.title END AS title,"
    f" CASE WHEN {_TOUCHED} o.residue & 4 THEN o.x_description ELSE u.description END"
    " AS description,"
    f" {_STATUS} AS status, {word_sql('priority', 16)} AS priority,"
    f" {_CREATED} AS created_at,"
    f" CASE WHEN {_TOUCHED} o.residue & 64 THEN o.x_updated_at ELSE u.updated_at END AS updated_at"
)
_FROM = "task_contexts AS u LEFT JOIN origin_legacy_task_contexts AS o ON o.seq = u.seq"
_SEEN = f"(o.seq IS NOT NULL OR u.legacy_values IS NOT NULL) AND u.legacy_values IS NOT '{REMOVED}'"
_BY_ID = (
    f"SELECT u.seq AS seq, u.id AS unified_id, u.legacy_values AS legacy_values, {_SHOWN}"
    f" FROM {_FROM} WHERE u.id = ?1 AND NOT COALESCE(o.residue & 1, 0) AND {_SEEN}"
)
_BY_OLD_ID = (
    f"SELECT u.seq AS seq, u.id AS unified_id, u.legacy_values AS legacy_values, {_SHOWN}"
    " FROM origin_legacy_task_contexts AS o JOIN task_contexts AS u ON u.seq = o.seq"
    f" WHERE o.residue & 1 AND o.x_id = ?1 AND {_SEEN}"
)
_LIST = f"SELECT {_SHOWN} FROM {_FROM} WHERE {_SEEN} ORDER BY u.created_at DESC, {_ID}"
# Times that are numbers sorted before every text, in the old database.
_ODD_TIMES = "SELECT 1 FROM origin_legacy_task_contexts WHERE residue & 32 LIMIT 1"
_LIST_ODD = f"SELECT {_SHOWN} FROM {_FROM} WHERE {_SEEN} ORDER BY {_CREATED} DESC, {_ID}"
_COUNT = (
    "SELECT (SELECT count(*) FROM origin_legacy_task_contexts AS o JOIN task_contexts AS u"
    f" ON u.seq = o.seq WHERE u.legacy_values IS NOT '{REMOVED}')"
    " + (SELECT count(*) FROM task_contexts AS u WHERE u.legacy_values IS NOT NULL"
    f" AND u.legacy_values IS NOT '{REMOVED}' AND NOT EXISTS"
    " (SELECT 1 FROM origin_legacy_task_contexts AS o WHERE o.seq = u.seq)) AS total"
)
# Whatever is shown as this status has its meaning, but for what the migration merged.
_OF_STATUS = (
    f"{_FROM} WHERE u.seq IN (SELECT seq FROM task_contexts WHERE status = {status_sql(':status')}"
    " UNION ALL SELECT seq FROM origin_legacy_task_contexts WHERE rule = 'merged')"
    f" AND {_SEEN} AND ({_STATUS}) = :status"
)
_LIST_OF_STATUS = (
    f"SELECT {_SHOWN} FROM {_OF_STATUS} ORDER BY {_CREATED} DESC, {_ID} LIMIT :limit OFFSET :offset"
)
_COUNT_OF_STATUS = f"SELECT count(*) AS total FROM {_OF_STATUS}"
_INSERT = (
    "INSERT INTO task_contexts (id, title, description, status, priority, created_at, updated_at,"
    " completed_at, legacy_values) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_NEEDED = """
SELECT EXISTS (SELECT 1 FROM task_contexts WHERE parent_task_id = :id)
    OR EXISTS (SELECT 1 FROM memory_blocks WHERE task_id = :id)
    OR EXISTS (SELECT 1 FROM coordination_sessions WHERE task_id = :id)
    OR EXISTS (SELECT 1 FROM knowledge_entities WHERE learned_from_task_id = :id) AS needed
"""


def _missing(identifier: str) -> MissingError:
    return MissingError(f"there is no task '{identifier}'")


def _found(connection: Connection, identifier: str) -> Row | None:
    return one(connection, _BY_ID, (identifier,)) or one(connection, _BY_OLD_ID, (identifier,))


def _task(row: Row) -> Row:
    return texts({name: row[name] for name in _COLUMNS})


def read(connection: Connection, identifier: str) -> Row:
    """Return the task that an old client knows by this identifier; MissingError if none."""
    row = _found(connection, identifier)
    if row is None:
        raise _missing(identifier)
    return _task(row)


def listed(
    connection: Connection, *, of_status: str | None, limit: int, offset: int
) -> dict[str, Any]:
    """Return a page of the tasks, the newest first, and how many there are."""
    page = {"limit": limit, "offset": offset}
    if of_status is not None:
        asked = {"status": of_status}
        found = rows(connection, _LIST_OF_STATUS, {**asked, **page})
        count = one(connection, _COUNT_OF_STATUS, asked)
    else:
        odd = one(connection, _ODD_TIMES)
        sql = (_LIST_ODD if odd else _LIST) + " LIMIT :limit OFFSET :offset"
        found, count = rows(connection, sql, page), one(connection, _COUNT)
    return {"tasks": [texts(row) for row in found], "total": count["total"] if count else 0}


def create(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """Insert a task and return it; ConflictError where the identifier is taken."""
    taken = ConflictError(f"a task '{identifier}' exists already")
    if one(connection, _BY_OLD_ID, (identifier,)):
        raise taken
    now, state = sql_now(), status(given["status"])
    words = json.dumps({"status": given["status"], "priority": given["priority"]})
    try:
        connection.execute(
            _INSERT,
            (
                identifier,
                given["title"],
                given["description"],
                state,
                priority(given["priority"]),
                now,
                now,
                now if state == "completed" else None,
                words,
            ),
        )
    except apsw.ConstraintError as error:
        raise taken from error
    return {"id": identifier, **given, "created_at": now, "updated_at": now}


def change(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """Change what is given of a task, stamp it, and return it.

    Old clients know neither dependencies nor an order of states: they set any state.
    """
    row = _found(connection, identifier)
    if row is None:
        raise _missing(identifier)
    words = json.loads(row["legacy_values"] or "{}")
    values: dict[str, Any] = {
        name: given[name] for name in ("title", "description") if name in given
    }
    if "status" in given:
        words["status"], values["status"] = given["status"], status(given["status"])
    if "priority" in given:
        words["priority"], values["priority"] = given["priority"], priority(given["priority"])
    values |= {"updated_at": sql_now(), "legacy_values": json.dumps(words)}
    changes = ", ".join(f"{name} = :{name}" for name in values)
    if "status" in given:
        changes += ", completed_at = CASE WHEN :status = 'completed' THEN completed_at END"
    connection.execute(
        f"UPDATE task_contexts SET {changes} WHERE seq = :seq", {**values, "seq": row["seq"]}
    )
    return read(connection, identifier)


def delete(connection: Connection, identifier: str) -> None:
    """Delete a task; one that others need, which no old client can see, only leaves the old API."""
    row = _found(connection, identifier)
    if row is None:
        raise _missing(identifier)
    needed = one(connection, _NEEDED, {"id": row["unified_id"]})
    if needed and needed["needed"]:
        connection.execute(
            "UPDATE task_contexts SET legacy_values = ? WHERE seq = ?", (REMOVED, row["seq"])
        )
    else:
        connection.execute("DELETE FROM task_contexts WHERE seq = ?", (row["seq"],))
