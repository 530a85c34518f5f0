"""The oracle: a strict SQL join without any hash, to hold the fast comparison against."""

from __future__ import annotations

from pathlib import Path

import apsw

from harness.database import quote


def differing_keys(
    left: Path, right: Path, table: str, *, key: str, columns: list[str]
) -> set[str]:
    """Return the quoted keys of rows that differ, by every typed value and BINARY collation."""
    connection = apsw.Connection(":memory:")
    connection.execute("ATTACH ? AS l", (str(left),))
    connection.execute("ATTACH ? AS r", (str(right),))
    unlike = " OR ".join(
        f"a.{quote(c)} IS NOT b.{quote(c)} COLLATE BINARY OR typeof(a.{quote(c)})"
        f" <> typeof(b.{quote(c)})"
        for c in columns
    )
    name, by = quote(table), quote(key)
    joined = f"a.{by} IS b.{by} COLLATE BINARY AND typeof(a.{by}) = typeof(b.{by})"
    sql = (
        f"SELECT quote(a.{by}) FROM l.{name} a LEFT JOIN r.{name} b ON {joined}"
        f" WHERE b.rowid IS NULL OR {unlike} UNION "
        f"SELECT quote(b.{by}) FROM r.{name} b LEFT JOIN l.{name} a ON {joined}"
        f" WHERE a.rowid IS NULL"
    )
    found = {str(row[0]) for row in connection.execute(sql)}
    connection.close()
    return found


def counted_rows(path: Path, table: str, columns: list[str]) -> dict[str, int]:
    """Return how often each typed row stands in a table, for tables without a key."""
    connection = apsw.Connection(str(path))
    parts = " || ',' || ".join(f"typeof({quote(c)}) || quote({quote(c)})" for c in columns)
    sql = f"SELECT {parts}, count(*) FROM {quote(table)} GROUP BY 1"
    found = {str(row): int(str(count)) for row, count in connection.execute(sql)}
    connection.close()
    return found
