"""Rows as Python values that keep SQLite's types apart, whatever their text holds.

A value is None, int, float, bytes (a blob) or str (text). Text that is no UTF-8 comes as a str
with its bad bytes escaped (`surrogateescape`), so nothing is lost and text never looks like a blob.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Sequence

import apsw

from harness.typed_rows import typed_selects

__all__ = [
    "Row",
    "Value",
    "encode",
    "is_utf8",
    "raw_select",
    "read_rows",
    "render",
    "storage_class",
]

Value = None | int | float | str | bytes
Row = tuple[Value, ...]
_MASKED = 62
_SHOWN = 100


def encode(row: Row) -> bytes:
    """Return a row as bytes that differ whenever a value or its type does: marshal, version 2."""
    return marshal.dumps(row, 2)


def is_utf8(connection: apsw.Connection) -> bool:
    """Say whether text is stored as UTF-8; in UTF-16, SQLite itself converts and checks it."""
    return bool(connection.pragma("encoding") == "UTF-8")


def raw_select(expressions: Sequence[str], source: str) -> str:
    """Return a SELECT of the expressions as they are: fast, but bad UTF-8 in it raises."""
    return f"SELECT {', '.join(expressions)} FROM {source}"


def read_rows(
    connection: apsw.Connection,
    expressions: Sequence[str],
    source: str,
    bindings: tuple[Value, ...] = (),
) -> Iterator[Row]:
    """Yield rows of values, bad UTF-8 included; `source` is all that follows FROM."""
    if not is_utf8(connection):
        yield from connection.execute(raw_select(expressions, source), bindings)
        return
    width = len(expressions)
    for typed in connection.execute(typed_selects(list(expressions), source), bindings):
        row: list[Value] = []
        for start in range(0, width + (width - 1) // _MASKED + 1, _MASKED + 1):
            mask = typed[start]
            for value in typed[start + 1 : start + 1 + _MASKED]:
                if mask & 1:
                    value = value.decode("utf-8", "surrogateescape")  # noqa: PLW2901
                row.append(value)
                mask >>= 1
        yield tuple(row)


def read_ordered(
    connection: apsw.Connection, expressions: Sequence[str], source: str
) -> Iterator[Row]:
    """Yield the same as `read_rows`, faster, from a source that ends in a complete ORDER BY.

    Values are taken as they are until one is bad UTF-8; from there on it goes the slow way.
    """
    done = 0
    try:
        for row in connection.execute(raw_select(expressions, source)):
            done += 1
            yield row
    except UnicodeDecodeError:
        yield from read_rows(connection, expressions, f"{source} LIMIT -1 OFFSET {done}")


class RowReader:
    """Reads single rows of one table by a key, as `read_rows` would."""

    def __init__(
        self, connection: apsw.Connection, expressions: Sequence[str], source: str
    ) -> None:
        """Prepare the SQL; `source` ends in a condition with one `?`."""
        self._connection = connection
        self._expressions, self._source = expressions, source
        self._sql = raw_select(expressions, source)

    def read(self, key: Value) -> Row | None:
        """Return the row of `key`, None where there is none."""
        try:
            return next(iter(self._connection.execute(self._sql, (key,))), None)
        except UnicodeDecodeError:
            rows = read_rows(self._connection, self._expressions, self._source, (key,))
            return next(rows, None)


def storage_class(value: Value) -> str:
    """Return what `typeof()` says of a value."""
    if value is None:
        return "null"
    return {int: "integer", float: "real", str: "text", bytes: "blob"}[type(value)]


def render(value: Value) -> str:
    """Return a value as a person reads it, shortened, its type visible: `'a'`, `x'61'`, `1.0`."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        text = value.encode("unicode_escape", "backslashreplace").decode("ascii")
        text = value if value.isprintable() else text
        if len(text) > _SHOWN:
            return f"'{text[:_SHOWN]}…' ({len(value)} characters)"
        return f"'{text}'"
    if isinstance(value, bytes):
        shown = value[: _SHOWN // 4].hex()
        return f"x'{shown}…' ({len(value)} bytes)" if len(value) > _SHOWN // 4 else f"x'{shown}'"
    return repr(value)
