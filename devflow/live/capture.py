"""Follows what unmodified services write to a legacy database, and stops them when it is time.

Triggers note the key of each row that was written in a log inside the same database, so that a
copy of the file holds exactly the log of what it holds. A fence, one row in a table of its own,
makes every later write fail. No value is copied, and the log's numbers are never used twice while
it stands: its last row stays. It is no AUTOINCREMENT, which would leave a table behind.
"""

from __future__ import annotations

from collections.abc import Mapping

import apsw

from devflow.migration.database import (
    columns,
    has_table,
    quote,
    rowid_name,
    transaction,
)

__all__ = [
    "changes",
    "fence",
    "high_water_mark",
    "install",
    "is_fenced",
    "is_installed",
    "is_unbroken",
    "open_fence",
    "remove",
    "unfollowed",
]

LOG, FENCE = "devflow_changes", "devflow_fence"
_PREFIX = "devflow_capture_"
_MOVED = "this database has moved to devflow.sqlite and takes no more writes"


def install(connection: apsw.Connection) -> int:
    """Begin to note what is written, in one transaction; return how many tables are followed."""
    with transaction(connection):
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {LOG}"
            " (n INTEGER PRIMARY KEY, table_name TEXT NOT NULL, key INTEGER)"
        )
        connection.execute(f"CREATE TABLE IF NOT EXISTS {FENCE} (one INTEGER PRIMARY KEY)")
        tables = _followed(connection)
        for number, table in enumerate(tables):
            for text in _triggers(connection, number, table):
                connection.execute(text)
    return len(tables)


def remove(connection: apsw.Connection) -> None:
    """Take every trace of the capture away, in one transaction."""
    with transaction(connection):
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB ?",
            (_PREFIX + "*",),
        ).fetchall():
            connection.execute(f"DROP TRIGGER {quote(str(name))}")
        for table in (LOG, FENCE):
            connection.execute(f"DROP TABLE IF EXISTS {table}")


def is_installed(connection: apsw.Connection, schema: str = "main") -> bool:
    """Return whether this database's writes are noted."""
    return has_table(connection, schema, LOG)


def is_unbroken(connection: apsw.Connection, after: int) -> bool:
    """Return whether every note since `after` is there: their numbers follow each other."""
    query = f"SELECT count(*) = COALESCE(max(n), :after) - :after FROM {LOG} WHERE n > :after"
    return bool(connection.execute(query, {"after": after}).fetchall()[0][0])


def high_water_mark(connection: apsw.Connection, schema: str = "main") -> int:
    """Return the number of the last noted write, 0 before the first."""
    row = connection.execute(f"SELECT COALESCE(max(n), 0) FROM {schema}.{LOG}").fetchall()[0]
    return int(str(row[0]))


def changes(
    connection: apsw.Connection, schema: str, *, after: int, rows_max: int
) -> tuple[Mapping[str, set[int | None]], int]:
    """Return the keys written since `after`, by table, and the last number that they cover.

    A key is a rowid; None says that any row of the table may have changed.
    """
    found: dict[str, set[int | None]] = {}
    last = after
    for n, table, key in connection.execute(
        f"SELECT n, table_name, key FROM {schema}.{LOG} WHERE n > ? ORDER BY n LIMIT ?",
        (after, rows_max),
    ):
        last = int(str(n))
        found.setdefault(str(table), set()).add(None if key is None else int(str(key)))
    return found, last


def fence(connection: apsw.Connection) -> None:
    """Let every write from now on fail; the caller holds the transaction."""
    connection.execute(f"INSERT OR IGNORE INTO {FENCE} VALUES (1)")


def open_fence(connection: apsw.Connection) -> None:
    """Let writes through again; the caller holds the transaction."""
    connection.execute(f"DELETE FROM {FENCE}")


def is_fenced(connection: apsw.Connection, schema: str = "main") -> bool:
    """Return whether writes fail here, because the unified database took over."""
    if not has_table(connection, schema, FENCE):
        return False
    return connection.execute(f"SELECT 1 FROM {schema}.{FENCE}").fetchone() is not None


def unfollowed(connection: apsw.Connection) -> list[str]:
    """Return the virtual tables: what is written to one directly, no trigger can note."""
    rows = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'virtual' ORDER BY 1"
    )
    return [str(name) for (name,) in rows]


def _followed(connection: apsw.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT IN (?, ?) ORDER BY name",
        (LOG, FENCE),
    )
    return [str(name) for (name,) in rows]


def _triggers(connection: apsw.Connection, number: int, table: str) -> list[str]:
    """Return the table's triggers: before each kind of write the fence, after it the note.

    REPLACE removes the row that is in its way without firing a DELETE trigger: so it is noted
    before, by each unique index.
    """
    row = _row_name(connection, table)
    noted = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}
    found = []
    for event, sides in noted.items():
        name = f"{_PREFIX}{number}_{event.lower()}"
        displaced = _displaced(connection, table, row) if "NEW" in sides else []
        keys = [_noting(table, f"{side}.{row}" if row else "NULL") for side in sides]
        found.append(
            f"CREATE TRIGGER IF NOT EXISTS {quote(name + '_fence')} BEFORE {event} ON"
            f" {quote(table)} WHEN EXISTS (SELECT 1 FROM {FENCE})"
            f" BEGIN SELECT RAISE(ABORT, '{_MOVED}'); END"
        )
        if displaced:
            found.append(
                f"CREATE TRIGGER IF NOT EXISTS {quote(name + '_before')} BEFORE {event} ON"
                f" {quote(table)} BEGIN {' '.join(displaced)} END"
            )
        found.append(
            f"CREATE TRIGGER IF NOT EXISTS {quote(name)} AFTER {event} ON {quote(table)}"
            f" BEGIN {' '.join(dict.fromkeys(keys))} END"
        )
    return found


def _noting(table: str, key: str, source: str = "") -> str:
    named = "'" + table.replace("'", "''") + "'"
    return f"INSERT INTO {LOG} (table_name, key) SELECT {named}, {key}{source};"


def _displaced(connection: apsw.Connection, table: str, row: str) -> list[str]:
    """Return statements that note each row that the new one may displace, by unique index."""
    if not row:
        return []
    found = []
    for _, index, unique, *_rest in connection.execute(
        f"PRAGMA main.index_list({quote(table)})"
    ).fetchall():
        if not unique:
            continue
        parts = [
            (str(name), str(collation))
            for _, cid, name, _, collation, key in connection.execute(
                f"PRAGMA main.index_xinfo({quote(str(index))})"
            )
            if key and int(str(cid)) != -1
        ]
        if any(name == "None" for name, _ in parts):  # an expression: any row may be displaced
            found.append(_noting(table, "NULL"))
            continue
        alike = " AND ".join(
            f"{quote(name)} = NEW.{quote(name)} COLLATE {quote(collation)}"
            for name, collation in parts
        )
        found.append(_noting(table, row, f" FROM {quote(table)} WHERE {alike}"))
    return list(dict.fromkeys(found))


def _row_name(connection: apsw.Connection, table: str) -> str:
    """Return the name by which a row's rowid is read, none where there is none to be read."""
    row = rowid_name(columns(connection, "main", table))
    without = connection.execute(
        "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?", (table,)
    ).fetchall()[0][0]
    return "" if without else row
