"""Keeps unplanned views of replaced tables alive: they read the legacy rows, rebuilt.

A view of the Database Manager's `memory_blocks` would find other columns, and other sources'
rows, in the unified table of that name. It is given the inverse under the old name instead.
"""

from __future__ import annotations

import re
from contextlib import closing, suppress

import apsw

from devflow.migration.database import columns, quote
from devflow.migration.inverse import inverse_expression
from devflow.migration.shapes import is_planned_here
from devflow.migration.tables import PLANNED
from devflow.migration.targets import TableMap

__all__ = ["over_rebuilt_rows"]

_SPACE = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_VIEW = re.compile(
    r"""(?is)^(?P<head>\s*CREATE\s+VIEW\s+(?:IF\s+NOT\s+EXISTS\s+)?"""
    r"""(?:"(?:[^"]|"")*"|\[[^\]]*\]|`(?:[^`]|``)*`|'(?:[^']|'')*'|[^\s(]+)"""
    rf"""{_SPACE}(?:\([^()]*\))?{_SPACE})\bAS\b(?P<select>.*)$"""
)


def over_rebuilt_rows(connection: apsw.Connection, source: str) -> dict[str, str]:
    """Return the views of `source` that read replaced tables, each reading rebuilt rows instead.

    Views are named as in the source. Root tables keep their names and columns: none is replaced.
    """
    if source == "root":
        return {}
    tables = {
        f"{source}_{table.table}": table
        for table in PLANNED
        if table.source == source and is_planned_here(connection, table)
    }
    return {
        name: _with_rebuilt(connection, sql, tables)
        for name, sql in _renamed_views(connection, source, tables).items()
        if any(_names(sql, new) for new in tables)
    }


def _names(sql: str, name: str) -> bool:
    return re.search(rf"(?i)\b{re.escape(name)}\b", sql) is not None


def _renamed_views(
    connection: apsw.Connection, source: str, tables: dict[str, TableMap]
) -> dict[str, str]:
    """Let SQLite rewrite the living views of `source` as if the tables had their new names."""
    rows = connection.execute(
        f"SELECT type, name, sql FROM src_{source}.sqlite_master WHERE type IN ('table', 'view')"
        " AND sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY rowid"
    ).fetchall()
    with closing(apsw.Connection(":memory:")) as scratch:
        for kind, name, sql in rows:
            with suppress(apsw.Error):  # what SQLite cannot make here, no view that lives is over
                scratch.execute(str(sql)).fetchall()
            if kind == "view" and not _lives(scratch, str(name)):
                scratch.execute(f"DROP VIEW IF EXISTS {quote(str(name))}")
        for new, table in tables.items():
            with suppress(apsw.Error):  # it was not made: then no view that is left names it
                scratch.execute(f"ALTER TABLE {table.table} RENAME TO {quote(new)}").fetchall()
        return {
            str(name): str(sql)
            for name, sql in scratch.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'view'"
            )
        }


def _lives(connection: apsw.Connection, view: str) -> bool:
    try:
        connection.execute(f"SELECT * FROM {quote(view)} LIMIT 0").fetchall()
    except apsw.Error:
        return False
    return True


def _with_rebuilt(connection: apsw.Connection, sql: str, tables: dict[str, TableMap]) -> str:
    match = _VIEW.match(sql)
    if match is None:
        return sql
    read = {new: table for new, table in tables.items() if _names(match["select"], new)}
    rebuilt = ", ".join(f"{quote(new)} AS ({_rebuilt(connection, t)})" for new, t in read.items())
    select = match["select"].strip().rstrip(";")
    # A newline ends a comment that the statement may end with.
    return f"{match['head']}AS WITH {rebuilt} SELECT * FROM ({select}\n)"


def _rebuilt(connection: apsw.Connection, table: TableMap) -> str:
    values = [
        (inverse_expression(table, name) if name in table.inverse else f"o.{quote('x_' + name)}")
        + f" AS {quote(name)}"
        for name in columns(connection, f"src_{table.source}", table.table)
    ]
    return f"SELECT {', '.join(values)} FROM {table.joined}"
