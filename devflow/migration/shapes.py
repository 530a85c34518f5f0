"""What a source's table really looks like, against what the plan expects of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import apsw

from devflow.migration.database import columns, has_table, quote
from devflow.migration.targets import TableMap

__all__ = ["add_other_columns", "bound", "is_planned_here", "other_columns", "typeless"]

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def is_planned_here(connection: apsw.Connection, table: TableMap) -> bool:
    """Return whether the attached source has the table in a shape that the plan can read."""
    schema = f"src_{table.source}"
    if not has_table(connection, schema, table.table):
        return False
    present = columns(connection, schema, table.table)
    # `Title` beside a planned `title` would share its residue column: SQLite ignores case.
    as_planned = {name.lower(): name for name in table.inverse} | {"rowid": ""}
    return set(table.required) <= set(present) and all(
        as_planned.get(name.lower(), name) == name for name in present
    )


def other_columns(connection: apsw.Connection, table: TableMap) -> tuple[str, ...]:
    """Return the columns that the source's table has and the plan does not know."""
    present = columns(connection, f"src_{table.source}", table.table)
    return tuple(name for name in present if name not in table.inverse)


def bound(expression: str, present: Mapping[str, bool]) -> str:
    """Replace each `{column}` by the source row's value, NULL where there is no such column."""

    def value(match: re.Match[str]) -> str:
        return f's."{match[1]}"' if match[1] in present else "NULL"

    return _PLACEHOLDER.sub(value, expression)


def typeless(connection: apsw.Connection, schema: str, table: str) -> set[str]:
    """Return the columns whose values SQLite stores as they come: those of BLOB affinity."""
    rows = connection.execute(f"PRAGMA {quote(schema)}.table_xinfo({quote(table)})")
    kinds = {str(row[1]): str(row[2] or "").upper() for row in rows}
    return {
        name
        for name, kind in kinds.items()
        if not any(part in kind for part in ("INT", "CHAR", "CLOB", "TEXT"))
        and (not kind or "BLOB" in kind)
    }


def add_other_columns(connection: apsw.Connection, table: TableMap) -> tuple[str, ...]:
    """Give the origin a place for each column that the plan does not know; return those."""
    others = other_columns(connection, table)
    for name in others:
        _add_column(connection, table.origin, f"x_{name}")
    return others


def _add_column(connection: apsw.Connection, table: str, name: str) -> None:
    if name not in columns(connection, "main", table):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {quote(name)}")
