"""Carries over whole what nobody planned for: extra tables with their indexes, triggers, views.

Rows stand unchanged in a table of the same name, or of `<source>_<name>` where that is taken.
A virtual table is carried by its shadow tables, byte for byte, whatever its module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import apsw

from devflow.migration.database import columns, objects, quote, rowid_name, shadows_of
from devflow.migration.shapes import is_planned_here
from devflow.migration.tables import planned

__all__ = [
    "Unplanned",
    "carry_tables",
    "create_dependants",
    "free_name",
    "renamed",
    "unplanned",
]

_NAME = r"""("(?:[^"]|"")*"|\[[^\]]*\]|`(?:[^`]|``)*`|'(?:[^']|'')*'|[^\s(]+)"""
_HEADER = re.compile(
    r"(?is)^(\s*CREATE\s+(?:TEMP\s+|TEMPORARY\s+|UNIQUE\s+|VIRTUAL\s+)*"
    r"(?:TABLE|INDEX|TRIGGER|VIEW)\s+(?:IF\s+NOT\s+EXISTS\s+)?)" + _NAME
)
_EVENT = re.compile(
    r"(?is)^(\s*(?:BEFORE\s+|AFTER\s+|INSTEAD\s+OF\s+)?(DELETE|INSERT|UPDATE)\b.*?\bON\s+)" + _NAME
)
_CONTENT_OPTION = re.compile(r"(?i)\b(content\s*=\s*)(\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^\s(),]+)")


@dataclass(frozen=True, slots=True)
class Unplanned:
    """One object of a source that nobody planned for; `sql` already speaks the unified names."""

    kind: str
    name: str
    table: str
    sql: str
    unified_name: str


def renamed(sql: str, name: str) -> str:
    """Return the CREATE statement with another name for what it creates."""
    return _HEADER.sub(lambda match: match[1] + quote(name), sql, count=1)


def free_name(wanted: str, *, source: str, taken: set[str]) -> str:
    """Return `wanted`, or a name made of it and the source that is not `taken`; take it."""
    name, number = wanted, 1
    while name.lower() in taken:
        name = f"{source}_{wanted}" if number == 1 else f"{source}_{wanted}_{number}"
        number += 1
    taken.add(name.lower())
    return name


def unplanned(
    connection: apsw.Connection, source: str, *, known: set[tuple[str, str]], taken: set[str]
) -> list[Unplanned]:
    """List what `source` holds beyond the plan, in the order of its making.

    `known` are the (type, name) that the plan decides; `taken` are the lower-case names of the
    unified database, to which the new ones are added.
    """
    schema = f"src_{source}"
    found: list[tuple[str, str, str, str]] = []
    for kind, name, table, sql in objects(connection, schema):
        plan = planned(source, name) if kind == "table" else None
        if plan and is_planned_here(connection, plan):
            continue
        if kind == "table" or (kind, name) not in known:
            found.append((kind, name, table, sql))
    found.sort(key=lambda row: ("table", "virtual table").index(row[0]) if "table" in row[0] else 2)
    names = {name: free_name(name, source=source, taken=taken) for _, name, _, _ in found}
    moved = {name: new for name, new in names.items() if name != new}
    texts = _follow_renames(found, moved, schema, connection) if moved else {}
    return [
        Unplanned(
            kind,
            name,
            table,
            texts.get(name) or (renamed(sql, names[name]) if name in moved else sql),
            names[name],
        )
        for kind, name, table, sql in found
    ]


def _follow_renames(
    found: list[tuple[str, str, str, str]],
    moved: Mapping[str, str],
    schema: str,
    connection: apsw.Connection,
) -> dict[str, str]:
    """Let SQLite itself rewrite the statements that name a renamed table, in a scratch database."""
    texts: dict[str, str] = {}
    with closing(apsw.Connection(":memory:")) as scratch:
        tables = connection.execute(
            f"SELECT sql FROM {schema}.sqlite_master WHERE type = 'table' AND sql IS NOT NULL"
            " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        ).fetchall()
        for (sql,) in tables:
            _try(scratch, str(sql))
        for kind, name, _, sql in found:
            if "table" not in kind and _try(scratch, sql) and not _can_rename(scratch):
                scratch.execute(f"DROP {kind} {quote(name)}")  # dead: it would block every renaming
        for old, new in moved.items():
            _try(scratch, f"ALTER TABLE {quote(old)} RENAME TO {quote(new)}")
        after = {
            str(name): str(sql)
            for name, sql in scratch.execute(
                "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL"
            )
        }
    views = {name for kind, name, _, _ in found if kind == "view"}
    for kind, name, _, sql in found:
        if kind == "virtual table":
            texts[name] = _contentrenamed(renamed(sql, moved.get(name, name)), moved)
            continue
        rewritten = after.get(moved.get(name, name)) or after.get(name)
        if rewritten is not None:
            texts[name] = renamed(rewritten, moved[name]) if name in moved else rewritten
            for view in sorted(views & {*moved} - {name}):
                texts[name] = _naming_another(texts[name], view, moved[view])
    return texts


def _can_rename(scratch: apsw.Connection) -> bool:
    """Return whether SQLite can rename a table: one dead view or trigger keeps it from that."""
    scratch.execute('SAVEPOINT probe; CREATE TABLE "probe of renaming" (a)')
    works = _try(scratch, 'ALTER TABLE "probe of renaming" RENAME TO "renamed probe"')
    scratch.execute("ROLLBACK TO probe; RELEASE probe")
    return works


def _naming_another(sql: str, view: str, new: str) -> str:
    """Return a statement with another name for a view that it names: SQLite renames no views."""
    head = _HEADER.match(sql)
    begin = head.end() if head else 0
    quotes = "|".join(re.escape(f"{a}{view}{b}") for a, b in ('""', "[]", "``"))
    named = rf"(?i)(?<![\w.'\"`\[])(?:{quotes}|{re.escape(view)}(?![\w'\"`\]]))"
    return sql[:begin] + re.sub(named, lambda _: quote(new), sql[begin:])


def _contentrenamed(sql: str, moved: Mapping[str, str]) -> str:
    """Return a full-text table's statement with its content table under the new name."""

    def option(match: re.Match[str]) -> str:
        name = match[2].strip("\"'`[]")
        return match[1] + (quote(moved[name]) if name in moved else match[2])

    return _CONTENT_OPTION.sub(option, sql)


def _try(connection: apsw.Connection, sql: str) -> bool:
    try:
        connection.execute(sql).fetchall()
    except apsw.Error:
        return False
    return True


def carry_tables(
    connection: apsw.Connection, source: str, objects: list[Unplanned]
) -> dict[str, int]:
    """Create the unplanned tables and copy their rows; return rows by unified table."""
    counts = {}
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for item in objects:
        if item.kind == "table":
            connection.execute(item.sql).fetchall()
            counts[item.unified_name] = _copy_rows(connection, source, item)
            connection.execute(
                "INSERT INTO carried_tables VALUES (?, ?, ?)",
                (source, item.name, item.unified_name),
            )
        elif item.kind == "virtual table" and _try(connection, item.sql):
            if _indexes_planned_rows(connection, source, item):
                _rebuild(connection, item)
            else:
                _copy_shadows(connection, source, item)
    connection.execute("PRAGMA ignore_check_constraints = OFF")
    return counts


def _copy_rows(connection: apsw.Connection, source: str, item: Unplanned) -> int:
    schema, old, new = f"src_{source}", quote(item.name), quote(item.unified_name)
    present = columns(connection, schema, item.name)
    names = [quote(name) for name, generated in present.items() if not generated]
    row = rowid_name(present)
    if row and _try(connection, f"SELECT {row} FROM {schema}.{old} LIMIT 0"):
        names.insert(0, row)
    listed = ", ".join(names)
    connection.execute(f"INSERT INTO main.{new} ({listed}) SELECT {listed} FROM {schema}.{old}")
    count = connection.changes()
    carry_sequence(connection, source, item.name, item.unified_name)
    return count


def carry_sequence(
    connection: apsw.Connection, source: str, table: str, unified_table: str
) -> None:
    """Carry an AUTOINCREMENT table's sequence over, so that no deleted id is given out again."""
    schema = f"src_{source}"
    there = connection.execute(
        f"SELECT 1 FROM {schema}.sqlite_master WHERE name = 'sqlite_sequence'"
    ).fetchone()
    if there is None:
        return
    row = connection.execute(
        f"SELECT seq FROM {schema}.sqlite_sequence WHERE name = ?", (table,)
    ).fetchone()
    if row is None:
        return
    connection.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (unified_table,))
    connection.execute("INSERT INTO main.sqlite_sequence VALUES (?, ?)", (unified_table, row[0]))
    connection.execute(
        "INSERT INTO carried_sequences VALUES (?, ?, ?)", (source, table, unified_table)
    )


def _indexes_planned_rows(connection: apsw.Connection, source: str, item: Unplanned) -> bool:
    """Return whether a full-text table's content is a planned table, whose rowids changed."""
    option = _CONTENT_OPTION.search(item.sql)
    plan = planned(source, option[2].strip("\"'`[]").lower()) if option else None
    return plan is not None and is_planned_here(connection, plan)


def _rebuild(connection: apsw.Connection, item: Unplanned) -> None:
    """Fill a full-text table from its unified content, or drop it where columns are missing."""
    name = quote(item.unified_name)
    if not _try(connection, f"INSERT INTO {name} ({name}) VALUES ('rebuild')"):
        connection.execute(f"DROP TABLE {name}")


def _copy_shadows(connection: apsw.Connection, source: str, item: Unplanned) -> None:
    """Fill a virtual table by its shadow tables, so that even a contentless index comes along."""
    schema, prefix = f"src_{source}", item.name + "_"
    for name in shadows_of(connection, schema, item.name):
        new = quote(item.unified_name + "_" + name[len(prefix) :])
        connection.execute(f"DELETE FROM main.{new}")
        connection.execute(f"INSERT INTO main.{new} SELECT * FROM {schema}.{quote(name)}")


def create_dependants(
    connection: apsw.Connection, objects: list[Unplanned]
) -> dict[tuple[str, str], str | None]:
    """Create the unplanned indexes, views and triggers; return why one could not live here.

    The reason is None where it works: an index is built, a view selects, a trigger compiles.
    """
    reasons: dict[tuple[str, str], str | None] = {}
    order = {"table": 0, "virtual table": 0, "index": 1, "view": 2, "trigger": 3}
    for item in sorted(objects, key=lambda item: order[item.kind]):
        reasons[item.kind, item.name] = _create(connection, item)
    return reasons


def _create(connection: apsw.Connection, item: Unplanned) -> str | None:
    if item.kind in ("table", "virtual table"):
        found = connection.execute(
            "SELECT 1 FROM sqlite_master WHERE name = ?", (item.unified_name,)
        ).fetchone()
        return None if found else "its module or its content's columns are not there"
    connection.execute("SAVEPOINT dependant")
    try:
        connection.execute(item.sql).fetchall()
        for statement in _probes(connection, item):
            connection.execute(statement).fetchall()
    except apsw.Error as error:
        connection.execute("ROLLBACK TO dependant")
        return str(error)
    finally:
        connection.execute("RELEASE dependant")
    return None


def _probes(connection: apsw.Connection, item: Unplanned) -> list[str]:
    """Return statements that make SQLite compile the view or the trigger, without any effect."""
    if item.kind == "view":
        return [f"SELECT * FROM {quote(item.unified_name)} LIMIT 0"]
    if item.kind == "index":
        return []
    row = connection.execute(
        "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name = ?",
        (item.unified_name,),
    ).fetchall()[0]
    table = str(row[0])
    settable = [
        name for name, generated in columns(connection, "main", table).items() if not generated
    ]
    changes = ", ".join(f"{quote(name)} = {quote(name)}" for name in settable)
    probes = {
        "INSERT": f"EXPLAIN INSERT INTO {quote(table)} ({quote(settable[0])}) VALUES (NULL)",
        "UPDATE": f"EXPLAIN UPDATE {quote(table)} SET {changes}",
        "DELETE": f"EXPLAIN DELETE FROM {quote(table)}",
    }
    event = _EVENT.match(_HEADER.sub("", item.sql, count=1))
    return [probes[event[2].upper()]] if event else list(probes.values())
