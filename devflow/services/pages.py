"""Pages of lists: some rows, and how many there are in all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from devflow.services.store import Connection, Row, one, rows

__all__ = ["Page", "conditions", "page"]

Page = dict[str, Any]


def conditions(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a WHERE clause of those conditions whose value is not None, and their bindings.

    A key is SQL with one `?`, for which the value stands.
    """
    there = [(sql, value) for sql, value in given.items() if value is not None]
    clauses = [sql.replace("?", f":c{position}") for position, (sql, _) in enumerate(there)]
    bindings = {f"c{position}": value for position, (_, value) in enumerate(there)}
    return ("WHERE " + " AND ".join(clauses) if clauses else ""), bindings


def page(
    connection: Connection,
    shown: Callable[[Row], Row],
    *,
    select: str,
    source: str,
    order: str,
    given: Mapping[str, Any],
    limit: int,
    offset: int,
) -> Page:
    """Return `{"items": …, "total": …}` of the rows of `source` that meet the conditions."""
    where, bindings = conditions(given)
    found = rows(
        connection,
        f"SELECT {select} FROM {source} {where} ORDER BY {order} LIMIT :limit OFFSET :offset",
        {**bindings, "limit": limit, "offset": offset},
    )
    count = one(connection, f"SELECT count(*) AS total FROM {source} {where}", bindings)
    return {"items": [shown(row) for row in found], "total": count["total"] if count else 0}
