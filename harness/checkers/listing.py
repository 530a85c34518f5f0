"""Which rows of a source a listing of the unified database has to show."""

from __future__ import annotations

from typing import Final

import apsw

from harness.checkers.evidence import Evidence
from harness.database import Table, quote
from harness.mapping import Listed

__all__ = ["merged_rows", "rows_to_show"]

_NONE: Final = "SELECT NULL WHERE 0"


def rows_to_show(connection: apsw.Connection, table: Table, use: Listed) -> set[object]:
    """Return the rowids that `use` must list: all, or those with one of the values that it names.

    Values are compared byte by byte, and only texts with texts.
    """
    sql = f"SELECT rowid FROM main.{quote(table.name)}"
    if use.column is None:
        return {row for (row,) in connection.execute(sql)}
    column = quote(use.column)
    if use.is_null is not None:
        sql += f" WHERE {column} IS {'NULL' if use.is_null else 'NOT NULL'}"
        return {row for (row,) in connection.execute(sql)}
    marks = ", ".join("CAST(? AS BLOB)" for _ in use.values)
    sql += f" WHERE typeof({column}) = 'text' AND CAST({column} AS BLOB) IN ({marks})"
    return {row for (row,) in connection.execute(sql, use.values)}


def merged_rows(evidence: Evidence, unified: apsw.Connection, use: Listed) -> set[object]:
    """Return the rowids of those that are one with a row of another source table.

    Such a row shows one value for two, and whose that is no listing can tell.
    """
    mapped = evidence.mapping.tables.get((use.source, use.table))
    if mapped is None or not mapped.targets:
        return set()
    target = next(iter(mapped.targets))
    others = [
        f"SELECT {other.targets[target]} FROM {other.from_}"
        for other in evidence.mapping.tables.values()
        if other is not mapped and target in other.targets
    ]
    rows = unified.execute(
        f"SELECT {mapped.key} FROM {mapped.from_}"
        f" WHERE {mapped.targets[target]} IN ({' UNION ALL '.join(others) or _NONE})"
    )
    return {row for (row,) in rows}
