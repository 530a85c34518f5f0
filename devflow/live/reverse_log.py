"""Notes the keys of unified rows that were written since the cutover, by triggers or by comparing.

The log holds keys only, never values: whoever drains it reads the rows as they are by then.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import apsw

from devflow.migration.database import (
    columns,
    has_table,
    number,
    quote,
    rowid_name,
    transaction,
)
from devflow.migration.tables import PLANNED

__all__ = [
    "LOG",
    "START",
    "captured",
    "fence",
    "forgive",
    "install",
    "last_noted",
    "note_differences",
    "remove",
]

LOG, START = "reverse_log", "reverse_start"
_PREFIX = "devflow_reverse_"
_CREATE = (
    f"CREATE TABLE {LOG} (n INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, key INTEGER)"
)
# The highest key of each table when the noting began: what is gone above it never was there. The
# log's own number stands by no table: a position in another log is none in this one.
_CREATE_START = f"CREATE TABLE {START} (target TEXT PRIMARY KEY NOT NULL, key INTEGER)"
# What the migration remembers, and what services reckon anew from the other tables.
_LEFT_OUT = {
    *("migration_steps", "migration_facts", "carried_tables", "carried_sequences"),
    *("added_rows", "schema_decisions", "model_registry_log"),
    *("cost_state", "cost_sums", "knowledge_stale", "memory_embedding_changes"),
    *(LOG, START),
}
_CONDITION = re.compile(r"(?is)\)\s*WHERE\b(?!.*\)\s*WHERE\b)(.*)$")
_ORIGINS = {table.origin for table in PLANNED}


def captured(connection: apsw.Connection, among: Collection[str] | None = None) -> dict[str, str]:
    """Return the tables whose writes are noted, each with a name of its key: its rowid.

    The key's name is empty for a carried table without rowids: there only that it was written.
    Where few tables are of interest, only those in `among` are looked at.
    """
    found: dict[str, str] = {}
    if among is not None and not among:
        return found
    listed = connection.execute(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    for name, without_rowid in listed:
        table = str(name)
        if among is not None and table not in among:
            continue
        if table not in _LEFT_OUT and table not in _ORIGINS:
            here = columns(connection, "main", table)
            found[table] = "" if without_rowid else rowid_name(here)
    return found


def install(connection: apsw.Connection) -> int:
    """Note every write to the unified database from now on; return how many tables are watched.

    One transaction; again is as good as once. Of an update the old key and the new one are noted,
    of `INSERT OR REPLACE` the rows that it displaces as well, whether the writer's connection has
    `recursive_triggers` or not.
    """
    tables = captured(connection)
    with transaction(connection):
        if not has_table(connection, "main", LOG):
            connection.execute(_CREATE)
            _begin(connection, "main", tables)
        for table, key in tables.items():
            for name, event, body in _triggers(connection, table, key):
                connection.execute(
                    f"CREATE TRIGGER IF NOT EXISTS {quote(name)} {event} ON {quote(table)}"
                    f" BEGIN {body} END"
                )
        for plan in PLANNED:
            _follow_origin(connection, plan.origin, [t.origin_key for t in plan.targets])
    return len(tables)


def fence(connection: apsw.Connection) -> None:
    """Let every write to the unified database fail from now on; `remove` takes this back, too."""
    said = "this database is being rolled back and takes no more writes"
    with transaction(connection):
        for table in captured(connection):
            for event in ("INSERT", "UPDATE", "DELETE"):
                connection.execute(
                    f"CREATE TRIGGER IF NOT EXISTS {quote(f'{_PREFIX}fence_{event}_{table}')}"
                    f" BEFORE {event} ON {quote(table)} BEGIN SELECT RAISE(ABORT, '{said}'); END"
                )


def remove(connection: apsw.Connection) -> None:
    """Take back all that `install` made: the schema's text is what it was."""
    with transaction(connection):
        made = connection.execute(
            "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'index')"
            f" AND substr(name, 1, {len(_PREFIX)}) = '{_PREFIX}' AND sql IS NOT NULL"
        ).fetchall()
        for kind, name in made:
            connection.execute(f"DROP {kind} {quote(str(name))}")
        connection.execute(f"DROP TABLE IF EXISTS {LOG}; DROP TABLE IF EXISTS {START}")


def last_noted(connection: apsw.Connection) -> int:
    """Return the number of the last note, 0 before the first and where nothing is noted."""
    if not has_table(connection, "main", LOG):
        return 0
    return number(connection, f"SELECT COALESCE(max(n), 0) FROM {LOG}")


def forgive(connection: apsw.Connection, *, after: int) -> None:
    """Forget the notes after `after`: the migration itself wrote, in the caller's transaction.

    What it brought counts as there from the beginning.
    """
    if not has_table(connection, "main", LOG):
        return
    written = connection.execute(f"SELECT DISTINCT target FROM {LOG} WHERE n > ?", (after,))
    for (table,) in written.fetchall():
        key = rowid_name(columns(connection, "main", str(table)))
        connection.execute(
            f"UPDATE {START} SET key = (SELECT max({key}) FROM main.{quote(str(table))})"
            " WHERE target = ?",
            (table,),
        )
    connection.execute(f"DELETE FROM {LOG} WHERE n > ?", (after,))


def _begin(connection: apsw.Connection, schema: str, tables: Mapping[str, str]) -> None:
    connection.execute(_CREATE_START)
    connection.execute(f"INSERT INTO {START} VALUES ('', abs(random() / 2))")
    for table, key in tables.items():
        if key:
            connection.execute(
                f"INSERT INTO {START} SELECT ?, max({key}) FROM {schema}.{quote(table)}", (table,)
            )


def _note(table: str, key: str) -> str:
    text = table.replace("'", "''")
    return f"INSERT INTO {LOG} (target, key) SELECT '{text}', {key}"


def _triggers(connection: apsw.Connection, table: str, key: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, event and body of a table's triggers."""
    name = _PREFIX + table
    if not key:
        for event in ("INSERT", "UPDATE", "DELETE"):
            yield f"{name}_{event.lower()}", f"AFTER {event}", _note(table, "NULL") + ";"
        return
    old, new = f"OLD.{key}", f"NEW.{key}"
    yield f"{name}_insert", "AFTER INSERT", _note(table, new) + ";"
    changed = f"{_note(table, old)}; {_note(table, new)} WHERE {new} <> {old};"
    yield f"{name}_update", "AFTER UPDATE", changed
    yield f"{name}_delete", "AFTER DELETE", _note(table, old) + ";"
    uniques = list(_uniques(connection, table))
    displaced = [
        f"{_note(table, f'x.{key}')} FROM {quote(table)} AS x WHERE {alike}"
        for _, alike, _ in uniques
        if alike
    ]
    # What a unique index over expressions displaces no trigger can name: any row may be.
    anything = [_note(table, "NULL")] if any(not alike for _, alike, _ in uniques) else []
    if uniques:
        yield f"{name}_insert_displaces", "BEFORE INSERT", "; ".join(displaced + anything) + ";"
        others = [f"{each} AND x.{key} <> {old}" for each in displaced] + anything
        named = ", ".join(sorted({quote(column) for names, *_ in uniques for column in names}))
        every = anything or any(partial for *_, partial in uniques)
        event = "BEFORE UPDATE" if every else f"BEFORE UPDATE OF {named}"
        yield f"{name}_update_displaces", event, "; ".join(others) + ";"


def _uniques(connection: apsw.Connection, table: str) -> Iterator[tuple[list[str], str, bool]]:
    """Yield each unique index's columns, SQL for the rows `x` that NEW would displace, and whether
    it is over some rows only. The SQL is empty where the index is over expressions.
    """
    for _, index, unique, _, partial in connection.execute(
        f"PRAGMA main.index_list({quote(table)})"
    ).fetchall():
        if not unique:
            continue
        parts = [
            row
            for row in connection.execute(f"PRAGMA main.index_xinfo({quote(str(index))})")
            if row[5]
        ]
        where = _where(connection, table, str(index)) if partial else "1"
        if where is None or any(row[2] is None for row in parts):
            yield [], "", True
            continue
        names = [str(row[2]) for row in parts]
        alike = " AND ".join(
            f"x.{quote(name)} = NEW.{quote(name)} COLLATE {quote(str(row[4]))}"
            for name, row in zip(names, parts, strict=True)
        )
        yield names, f"{alike} AND ({where})", bool(partial)


def _where(connection: apsw.Connection, table: str, index: str) -> str | None:
    """Return the condition of a partial index; None where it cannot be told."""
    sql = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?", (index,)
    ).fetchall()[0][0]
    found = _CONDITION.search(str(sql))
    try:
        if found is not None:
            connection.execute(f"SELECT 1 FROM {quote(table)} AS x WHERE ({found[1]}) LIMIT 0")
            return found[1]
    except apsw.SQLError:
        return None  # what was cut out of the statement is no condition by itself
    return None


def _follow_origin(connection: apsw.Connection, origin: str, keys: list[str]) -> None:
    """Note when a service forgets an origin, and have origins found by their unified rows."""
    if not has_table(connection, "main", origin):
        return
    connection.execute(
        f"CREATE TRIGGER IF NOT EXISTS {_PREFIX}{origin}_delete AFTER DELETE ON {origin}"
        f" BEGIN {_note(origin, 'OLD.source_rowid')}; END"
    )
    for key in keys:
        indexed = connection.execute(
            "SELECT 1 FROM pragma_index_list(?1) AS l JOIN pragma_index_info(l.name) AS i"
            " WHERE i.seqno = 0 AND i.name = ?2 AND NOT l.partial",
            (origin, key),
        ).fetchone()
        if indexed is None:
            connection.execute(f"CREATE INDEX {_PREFIX}{origin}_{key} ON {origin} ({key})")


# By comparing ------------------------------------------------------------------------------------


def note_differences(connection: apsw.Connection) -> int:
    """Fill the log with what differs from the attached `base`; return how many rows that is.

    For a private copy of the unified database: what was written is found without any trigger, by
    comparing every row, type and bytes, with what the migration had made of it.
    """
    before = {
        str(name)
        for (name,) in connection.execute(
            "SELECT name FROM base.sqlite_master WHERE type = 'table'"
        )
    }
    with transaction(connection):
        connection.execute(f"DROP TABLE IF EXISTS {LOG}; DROP TABLE IF EXISTS {START}")
        connection.execute(_CREATE)
        tables = captured(connection)
        _begin(connection, "base", {t: key for t, key in tables.items() if t in before})
        for table, key in tables.items():
            if table not in before:
                connection.execute(f"{_note(table, key or 'NULL')} FROM {quote(table)}")
            elif key:
                _note_rows(connection, table, key)
            else:
                _note_table(connection, table)
        for origin in sorted(_ORIGINS & before):
            connection.execute(
                f"{_note(origin, 'b.source_rowid')} FROM base.{origin} AS b"
                f" WHERE b.source_rowid NOT IN (SELECT source_rowid FROM main.{origin})"
            )
        return int(str(connection.execute(f"SELECT count(*) FROM {LOG}").fetchall()[0][0]))


def _note_rows(connection: apsw.Connection, table: str, key: str) -> None:
    name = quote(table)
    differs = " OR ".join(
        f"a.{c} IS NOT b.{c} COLLATE BINARY OR typeof(a.{c}) <> typeof(b.{c})"
        for c in map(quote, columns(connection, "main", table))
    )
    connection.execute(
        f"{_note(table, f'a.{key}')} FROM main.{name} AS a LEFT JOIN base.{name} AS b"
        f" ON b.{key} = a.{key} WHERE b.{key} IS NULL OR {differs} ORDER BY a.{key}"
    )
    connection.execute(
        f"{_note(table, f'b.{key}')} FROM base.{name} AS b"
        f" WHERE b.{key} NOT IN (SELECT {key} FROM main.{name}) ORDER BY b.{key}"
    )


def _note_table(connection: apsw.Connection, table: str) -> None:
    name = quote(table)
    connection.execute(
        f"{_note(table, 'NULL')} WHERE EXISTS (SELECT * FROM main.{name} EXCEPT"
        f" SELECT * FROM base.{name}) OR EXISTS (SELECT * FROM base.{name} EXCEPT"
        f" SELECT * FROM main.{name})"
    )
