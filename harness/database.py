"""SQLite as the harness uses it: our own copies opened read-only, and what a schema holds.

Originals are never opened here; see `harness.fixture.copy` for how they are read. Values that
may be invalid UTF-8 or hold NULs must be fetched by `typed_expression`, never as raw text.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw
import sqlite_vec

__all__ = [
    "Column",
    "Table",
    "attach",
    "columns_of",
    "open_read_only",
    "open_scratch",
    "quote",
    "row_tables",
    "text_flags",
    "typed_expression",
    "typed_select",
]


@dataclass(frozen=True, slots=True)
class Column:
    """A column as `PRAGMA table_xinfo` tells it; `hidden` 2 and 3 are generated columns."""

    name: str
    declared_type: str
    not_null: bool
    default: str | None
    primary_key_position: int
    hidden: int

    @property
    def generated(self) -> bool:
        """Whether the value is computed by SQLite, so that nobody can insert it."""
        return self.hidden in (2, 3)


@dataclass(frozen=True, slots=True)
class Table:
    """A table that holds rows of its own: no view, no virtual table, no shadow of one."""

    name: str
    without_rowid: bool
    strict: bool
    columns: tuple[Column, ...]

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The declared key's columns in key order; empty where there is none."""
        keyed = [column for column in self.columns if column.primary_key_position]
        return tuple(c.name for c in sorted(keyed, key=lambda c: c.primary_key_position))


def quote(name: str) -> str:
    """Return `name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _uri(path: Path, mode: str) -> str:
    return f"file:{urllib.parse.quote(str(path.resolve()))}?mode={mode}"


def _uri_at_rest(path: Path) -> str:
    sides = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    unread = any(side.exists() and side.stat().st_size for side in sides)
    return _uri(path, "ro") + ("" if unread else "&immutable=1")


def open_read_only(path: Path, *, vectors: bool = False, at_rest: bool = False) -> apsw.Connection:
    """Open one of our own copies for reading; `vectors` loads sqlite-vec into it.

    `at_rest` promises that nobody writes it meanwhile: where its WAL or journal holds nothing, no
    `-shm` and `-wal` files are then made beside it, and its folder need not be writable.
    """
    uri = _uri_at_rest(path) if at_rest else _uri(path, "ro")
    connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    connection.set_busy_timeout(5_000)
    if vectors:
        load_vectors(connection)
    return connection


def open_scratch() -> apsw.Connection:
    """Open a private database in memory, able to attach files by URI."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    return apsw.Connection(":memory:", flags=flags)


def load_vectors(connection: apsw.Connection) -> None:
    """Load sqlite-vec's functions into `connection`."""
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.enable_load_extension(False)


def attach(connection: apsw.Connection, path: Path, name: str, *, at_rest: bool = False) -> None:
    """Attach `path` read-only as `name`; `at_rest` is that of `open_read_only`."""
    uri = _uri_at_rest(path) if at_rest else _uri(path, "ro")
    connection.execute(f"ATTACH ? AS {quote(name)}", (uri,))


def columns_of(
    connection: apsw.Connection, table: str, *, schema: str = "main"
) -> tuple[Column, ...]:
    """Return the columns of `table` in their order, generated ones too, hidden ones not."""
    rows = connection.execute(f"PRAGMA {quote(schema)}.table_xinfo({quote(table)})")
    return tuple(
        Column(str(name), str(kind or ""), bool(not_null), default, int(key), int(hidden))
        for _, name, kind, not_null, default, key, hidden in rows
        if hidden != 1
    )


def row_tables(connection: apsw.Connection, *, schema: str = "main") -> tuple[Table, ...]:
    """Return the tables with rows of their own, by name: none of SQLite's, virtual or shadow."""
    rows = connection.execute(
        "SELECT name, wr, strict FROM pragma_table_list"
        " WHERE schema = ? AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " ORDER BY name",
        (schema,),
    ).fetchall()
    return tuple(
        Table(str(name), bool(wr), bool(strict), columns_of(connection, str(name), schema=schema))
        for name, wr, strict in rows
    )


def typed_expression(expression: str) -> str:
    """Return SQL whose value Python can take whatever it is: text comes as its bytes.

    Text and blob are then told apart by `text_flags` only.
    """
    as_bytes = f"CAST({expression} AS BLOB)"
    return f"CASE typeof({expression}) WHEN 'text' THEN {as_bytes} ELSE {expression} END"


def text_flags(expressions: Sequence[str]) -> str:
    """Return SQL for a bit mask: bit n is set where expression n is text; at most 62 of them."""
    bits = [f"((typeof({e}) = 'text') << {n})" for n, e in enumerate(expressions)]
    return " | ".join(bits) if bits else "0"


def typed_select(expressions: Sequence[str], source: str) -> str:
    """Return a SELECT of `text_flags` followed by each typed expression, from `source`."""
    typed = ", ".join(typed_expression(e) for e in expressions)
    return f"SELECT {text_flags(expressions)}, {typed} FROM {source}"
