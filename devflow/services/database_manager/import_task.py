"""The task that memory hangs from which no task asked for."""

from __future__ import annotations

from devflow.services.store import Connection, one
from devflow.services.values import sql_now, text

__all__ = ["import_task", "is_import_task"]

_TITLES = {"legacy": "the Database Manager", "vector": "the Vector Memory Service"}


def import_task(connection: Connection, source: str) -> str:
    """Return the task of what comes by the old API of `source`; it is made when first needed."""
    name = f"import_task.{source}"
    known = one(connection, "SELECT value FROM migration_facts WHERE name = ?", (name,))
    if known is not None:
        return str(text(known["value"]))
    identifier = f"{source}-import"
    while one(connection, "SELECT 1 FROM task_contexts WHERE id = ?", (identifier,)):
        identifier += "~"
    now = sql_now()
    made = one(
        connection,
        "INSERT INTO task_contexts (id, title, status, created_at, updated_at)"
        " VALUES (?, ?, 'archived', ?, ?) RETURNING seq",
        (identifier, f"Memory imported from {_TITLES[source]}", now, now),
    )
    assert made is not None  # noqa: S101 - RETURNING yields the row
    connection.execute(
        "INSERT INTO added_rows VALUES ('task_contexts', ?, 'parent-of-imported-blocks')",
        (made["seq"],),
    )
    connection.execute("INSERT INTO migration_facts VALUES (?, ?)", (name, identifier))
    return identifier


def is_import_task(connection: Connection, identifier: str) -> bool:
    """Return whether memory of the old APIs hangs from this task."""
    found = one(
        connection,
        "SELECT 1 FROM migration_facts WHERE name LIKE 'import\\_task.%' ESCAPE '\\' AND value = ?",
        (identifier,),
    )
    return found is not None
