"""Rows as typed cells, which carry any value from one database into another unchanged.

A cell is (type, value): text as its bytes, whether they are UTF-8 or not; a real as its eight
bytes, so that -0.0 and 0.0 differ.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import apsw

from devflow.migration.database import quote, transaction

__all__ = ["Cell", "bound", "escaped", "insert", "marks", "reading", "select", "without_triggers"]

Cell = tuple[str, Any]
NULL: Cell = ("null", None)


def select(
    connection: apsw.Connection, expressions: Sequence[str], rest: str, bindings: Any = ()
) -> list[tuple[Cell, ...]]:
    """Return `SELECT expressions FROM rest` as rows of cells."""
    names = [f"c{number}" for number in range(len(expressions))]
    inner = ", ".join(f"{e} AS {n}" for e, n in zip(expressions, names, strict=True))
    outer = ", ".join(
        f"typeof({n}), CASE typeof({n}) WHEN 'text' THEN CAST({n} AS BLOB) ELSE {n} END"
        for n in names
    )
    # LIMIT keeps SQLite from computing each expression three times.
    found = connection.execute(
        f"SELECT {outer} FROM (SELECT {inner} FROM {rest} LIMIT -1)", bindings
    )
    return [tuple(_cells(row)) for row in found]


def _cells(row: Sequence[Any]) -> Iterator[Cell]:
    for kind, value in zip(row[::2], row[1::2], strict=True):
        yield str(kind), struct.pack(">d", value) if kind == "real" else value


def bound(cell: Cell) -> Any:
    """Return what to bind for a cell; text comes as bytes, which `marks` turns back."""
    kind, value = cell
    return struct.unpack(">d", value)[0] if kind == "real" else value


def marks(cells: Sequence[Cell]) -> str:
    """Return the places of cells in a statement."""
    return ", ".join("CAST(? AS TEXT)" if kind == "text" else "?" for kind, _ in cells)


def insert(
    connection: apsw.Connection, table: str, row: Mapping[str, Cell], *, verb: str = "INSERT"
) -> None:
    """Insert one row; the names are quoted here."""
    names, cells = ", ".join(quote(name) for name in row), list(row.values())
    connection.execute(
        f"{verb} INTO {quote(table)} ({names}) VALUES ({marks(cells)})",
        [bound(cell) for cell in cells],
    )


@contextmanager
def reading(connection: apsw.Connection) -> Iterator[None]:
    """Let the block see one state of the database, whoever writes meanwhile.

    That of the caller's own transaction, where it is in one.
    """
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


@contextmanager
def without_triggers(connection: apsw.Connection) -> Iterator[None]:
    """Write in one transaction without triggers, foreign keys or CHECKs, on this connection alone.

    So neither a fence nor a capture nor a trigger of the old schema sees what is put back. A row
    that broke a CHECK of an older schema before is an old fault, and may come back as it was.
    """
    enabled = apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER
    triggers = connection.config(enabled, -1)
    settings = ("foreign_keys", "ignore_check_constraints")
    before = [connection.execute(f"PRAGMA {name}").fetchall()[0][0] for name in settings]
    connection.config(enabled, 0)
    connection.execute("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")
    try:
        with transaction(connection):
            yield
    finally:
        connection.config(enabled, triggers)
        for name, value in zip(settings, before, strict=True):
            connection.execute(f"PRAGMA {name} = {value}")


def escaped(cell: Cell) -> Cell:
    """Return a JSON text as the old services wrote it: everything but ASCII escaped."""
    kind, value = cell
    if kind != "text":
        return cell
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return cell
    if all(" " <= letter <= "~" for letter in text):
        return cell
    return kind, "".join(_escape(letter) for letter in text).encode()


def _escape(letter: str) -> str:
    if " " <= letter <= "~":
        return letter
    units = letter.encode("utf-16-be")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))
