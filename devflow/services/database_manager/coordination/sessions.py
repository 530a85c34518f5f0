"""What is done with plain sessions, in the caller's transaction."""

from __future__ import annotations

import uuid
from typing import Any

from devflow.services.errors import ConflictError, MissingError
from devflow.services.pages import Page, page
from devflow.services.store import Connection, Row, one
from devflow.services.values import iso_now, json_text, parsed, text

__all__ = ["change", "create", "listed", "read"]

_COLUMNS = "id, name, context, metadata, created_at, updated_at"


def _shown(row: Row) -> Row:
    found: Row = {name: text(value) for name, value in row.items()}
    return {**found, "name": found["name"] or "", "metadata": parsed(row["metadata"])}


def read(connection: Connection, identifier: str) -> Row:
    """Return a session; MissingError if there is none."""
    row = one(connection, f"SELECT {_COLUMNS} FROM sessions WHERE id = ?", (identifier,))
    if row is None:
        raise MissingError(f"there is no session '{identifier}'")
    return _shown(row)


def listed(connection: Connection, *, limit: int, offset: int) -> Page:
    """Return a page of the sessions, the last changed first."""
    return page(
        connection,
        _shown,
        select=_COLUMNS,
        source="sessions",
        order="updated_at DESC, id",
        given={},
        limit=limit,
        offset=offset,
    )


def create(connection: Connection, given: dict[str, Any]) -> Row:
    """Insert a session and return it; ConflictError where its identifier is taken."""
    identifier = given["id"] or uuid.uuid4().hex
    if one(connection, "SELECT 1 FROM sessions WHERE id = ?", (identifier,)):
        raise ConflictError(f"a session '{identifier}' exists already")
    now = iso_now()
    connection.execute(
        f"INSERT INTO sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
        (identifier, given["name"], given["context"], json_text(given["metadata"]), now, now),
    )
    return read(connection, identifier)


def change(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """Change what is given of a session, stamp it, and return it."""
    read(connection, identifier)
    values = {**given, "updated_at": iso_now()}
    if "metadata" in given:
        values["metadata"] = json_text(given["metadata"])
    changes = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(
        f"UPDATE sessions SET {changes} WHERE id = :id", {**values, "id": identifier}
    )
    return read(connection, identifier)
