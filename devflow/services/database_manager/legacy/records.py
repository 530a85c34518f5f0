"""The old API's usage and sessions, whose tables kept their shape.

Seen is everything but what only the rich database held before: its rows were never theirs. A price
that was looked up is no cost that somebody told, and none to these clients.
"""

from __future__ import annotations

import uuid
from typing import Any

import apsw

from devflow.services.costs.recording import Usage, record_usage
from devflow.services.database_manager.legacy.words import amount, texts, verbatim
from devflow.services.errors import ConflictError, MissingError
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import iso_now

__all__ = ["create_session", "create_usage", "session", "sessions", "usages"]

_USAGE = (
    *("id", "provider", "agent_type", "model", "duration_ms"),
    *("tokens_in", "tokens_out", "cost_usd", "created_at"),
)
_NUMBERS = ("duration_ms", "tokens_in", "tokens_out", "cost_usd")
_LOOKED_UP = "u.seq IN (SELECT usage_seq FROM looked_up_prices)"
_TOLD = {"cost_usd": f"CASE WHEN NOT {_LOOKED_UP} THEN u.cost_usd END"}
_SESSION = ("id", "name", "context", "metadata", "created_at", "updated_at")


class _Seen:
    """The queries on one of the two tables, made once."""

    def __init__(self, table: str, columns: tuple[str, ...], *, newest: str) -> None:
        shown = ", ".join(
            f"{verbatim(columns, name, _TOLD.get(name, f'u.{name}'))} AS {name}" for name in columns
        )
        origin = f"origin_legacy_{table}"
        identifier = verbatim(columns, "id", "u.id")
        foreign = f"(SELECT seq FROM origin_root_{table} EXCEPT SELECT seq FROM {origin})"
        source = f"{table} AS u LEFT JOIN {origin} AS o ON o.seq = u.seq"
        self.page = (
            f"SELECT {shown} FROM {source} WHERE u.seq NOT IN {foreign}"
            f" ORDER BY u.{newest} DESC, {identifier} LIMIT :limit OFFSET :offset"
        )
        self.count = (
            f"SELECT (SELECT count(*) FROM {table})"
            f" - (SELECT count(*) FROM {foreign} AS f JOIN {table} AS u ON u.seq = f.seq) AS total"
        )
        self.by_id = (
            f"SELECT {shown} FROM {source} WHERE u.id = ?1"
            f" AND NOT COALESCE(o.residue & 1, 0) AND u.seq NOT IN {foreign}"
        )
        self.by_old_id = (
            f"SELECT {shown} FROM {origin} AS o JOIN {table} AS u ON u.seq = o.seq"
            " WHERE o.residue & 1 AND o.x_id = ?1"
        )

    def listed(self, connection: Connection, *, limit: int, offset: int) -> tuple[list[Row], int]:
        found = rows(connection, self.page, {"limit": limit, "offset": offset})
        count = one(connection, self.count)
        return found, count["total"] if count else 0

    def find(self, connection: Connection, identifier: str) -> Row | None:
        return one(connection, self.by_id, (identifier,)) or one(
            connection, self.by_old_id, (identifier,)
        )


_USAGES = _Seen("synthetic_usage", _USAGE, newest="created_at")
_SESSIONS = _Seen("sessions", _SESSION, newest="updated_at")


def _usage(row: Row) -> Row:
    return {**texts(row), **{name: amount(row[name]) for name in _NUMBERS}}


def usages(connection: Connection, *, limit: int, offset: int) -> dict[str, Any]:
    """Return a page of usage, the newest first, and how much there is."""
    found, total = _USAGES.listed(connection, limit=limit, offset=offset)
    return {"usage": [_usage(row) for row in found], "total": total}


def create_usage(connection: Connection, given: dict[str, Any]) -> Row:
    """Record usage with its day's sums; ConflictError where the identifier is taken."""
    identifier = given["id"]
    if identifier is not None:
        known = one(connection, "SELECT 1 FROM synthetic_usage WHERE id = ?", (identifier,))
        if known or one(connection, _USAGES.by_old_id, (identifier,)):
            raise ConflictError(f"a usage '{identifier}' exists already")
    given = {**given, "id": identifier or str(uuid.uuid4()), "created_at": iso_now()}
    row = record_usage(connection, Usage(**given))
    return _usage({name: row[name] for name in _USAGE} | {"cost_usd": given["cost_usd"]})


def sessions(connection: Connection, *, limit: int, offset: int) -> dict[str, Any]:
    """Return a page of sessions, the last changed first, and how many there are."""
    found, total = _SESSIONS.listed(connection, limit=limit, offset=offset)
    return {"sessions": [texts(row) for row in found], "total": total}


def session(connection: Connection, identifier: str) -> Row:
    """Return the session that an old client knows by this identifier; MissingError if none."""
    row = _SESSIONS.find(connection, identifier)
    if row is None:
        raise MissingError(f"there is no session '{identifier}'")
    return texts(row)


def create_session(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """Insert a session and return it; ConflictError where the identifier is taken."""
    taken = ConflictError(f"a session '{identifier}' exists already")
    if one(connection, _SESSIONS.by_old_id, (identifier,)):
        raise taken
    now = iso_now()
    row = {"id": identifier, **given, "created_at": now, "updated_at": now}
    try:
        connection.execute(
            f"INSERT INTO sessions ({', '.join(_SESSION)}) VALUES (?, ?, ?, ?, ?, ?)",
            tuple(row[name] for name in _SESSION),
        )
    except apsw.ConstraintError as error:
        raise taken from error
    return row
