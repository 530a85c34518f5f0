"""Keeps full-text indexes over legacy rows in step with what is written there without triggers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import apsw

from devflow.migration.database import quote

__all__ = ["in_step", "mend", "refill_what_triggers_keep"]

_CONTENT = re.compile(r"(?i)\bcontent\s*=\s*(\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^\s(),]+)")


def _indexes(connection: apsw.Connection) -> Iterator[tuple[str, str]]:
    """Yield each full-text index over another table's rows, and that table."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
        " AND sql LIKE 'CREATE VIRTUAL%fts5%' ORDER BY name"
    ).fetchall()
    for name, sql in found:
        option = _CONTENT.search(str(sql))
        if option is not None and option[1].strip("\"'[]"):
            yield str(name), option[1].strip("\"'[]")


def _agrees(connection: apsw.Connection, name: str) -> bool:
    try:
        connection.execute(
            f"INSERT INTO {quote(name)} ({quote(name)}, rank) VALUES ('integrity-check', 1)"
        )
    except apsw.Error:
        return False
    return True


def _refill(connection: apsw.Connection, name: str) -> None:
    connection.execute(f"INSERT INTO {quote(name)} ({quote(name)}) VALUES ('rebuild')")


def in_step(connection: apsw.Connection) -> list[str]:
    """Return the indexes that agree with their rows."""
    return [name for name, _ in _indexes(connection) if _agrees(connection, name)]


def mend(connection: apsw.Connection, names: Collection[str]) -> None:
    """Fill those indexes anew that do not agree with their rows any more."""
    for name in names:
        if not _agrees(connection, name):
            _refill(connection, name)


def refill_what_triggers_keep(connection: apsw.Connection, written: Collection[str]) -> None:
    """Fill the indexes over `written` tables anew that the tables' own triggers keep in step.

    In the caller's transaction. A trigger that never worked, of an index that cannot be filled, is
    passed over.
    """
    names = {name.lower() for name in written}
    for index, table in _indexes(connection):
        kept = (
            table.lower() in names
            and connection.execute(
                "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?)"
                " AND instr(lower(sql), lower(?))",
                (table, index),
            ).fetchone()
        )
        if kept:
            try:
                _refill(connection, index)
            except apsw.SQLError:
                continue
