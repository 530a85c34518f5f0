"""How much of the data lives only beside its unified row, by the mapping's residue masks."""

from __future__ import annotations

from typing import Any

import apsw

from harness.database import Table
from harness.mapping import TableMapping

__all__ = ["residue_of"]


def residue_of(
    unified: apsw.Connection, mapped: TableMapping, table: Table, *, of: int
) -> list[dict[str, Any]]:
    """Return the residue of one source table, in a list that is empty where there is none.

    `rows` have anything in residue; `columns` counts values by column, `values` sums them up;
    `of` is how many rows are given back. A column that the plan does not know has its values
    nowhere else, so each that is not NULL counts. Raises apsw.Error.
    """
    expressions: dict[str, str] = {}
    if mapped.residue is not None:
        for n, name in enumerate(mapped.columns):
            expressions[name] = f"((({mapped.residue}) >> {n}) & 1)"
    others = False
    planned = {name.lower() for name in mapped.columns}
    for column in table.columns:
        inverse = mapped.inverse_of(column.name)
        if column.name.lower() not in planned and inverse is not None:
            expressions[column.name] = f"(({inverse}) IS NOT NULL)"
            others = True
    if not expressions:
        return []
    # Most rows have none: they are passed over before anything is summed up.
    names = [f"c{n}" for n in range(len(expressions))]
    given = ", ".join(f"{e} AS {c}" for e, c in zip(expressions.values(), names, strict=True))
    anything = " OR ".join(names) if others else "mask <> 0"
    mask = mapped.residue or "0"
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in names)
    sql = (
        f"SELECT count(*), {sums} FROM (SELECT ({mask}) AS mask, {given} FROM {mapped.from_})"
        f" WHERE {anything}"
    )
    rows, *counts = (int(str(value)) for value in unified.execute(sql).fetchall()[0])
    if not rows:
        return []
    columns = {name: n for name, n in zip(expressions, counts, strict=True) if n}
    return [
        {
            "source": mapped.source,
            "table": mapped.table,
            "of": of,
            "rows": rows,
            "values": sum(columns.values()),
            "columns": columns,
        }
    ]
