"""Writes origins: what each legacy row became, and what its unified row does not give back.

The inverse is run on the rows just written, and its answers are compared with the source's
values in SQLite, type and bytes. Whatever differs is kept, typed, in the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from devflow.migration.database import columns, quote
from devflow.migration.shapes import add_other_columns, typeless
from devflow.migration.targets import TableMap

__all__ = ["Rows", "remember"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the rows to remember are found: source rows `s`, and for each how it came.

    `clause` is the FROM clause that has `s`; `keys` are SQL for the unified row's key, one a
    target. `condition` limits the rows, with `bindings`.
    """

    clause: str
    keys: tuple[str, ...]
    rule: str
    condition: str = "1"
    bindings: tuple[tuple[str, int | None], ...] = ()


def remember(connection: apsw.Connection, table: TableMap, rows: Rows) -> None:
    """Write the origins of `rows`, over those that are there already."""
    schema = f"src_{table.source}"
    present = columns(connection, schema, table.table)
    others = add_other_columns(connection, table)
    untyped = typeless(connection, schema, table.table)
    kept = [name for name in table.inverse if name in present]
    bits = {name: number for number, name in enumerate(table.inverse)}
    mask = " | ".join(
        f"(({_differs(f's.{quote(n)}', table.inverse[n], signed_zero=n in untyped)}) << {bits[n]})"
        for n in kept
    )
    keys = [target.origin_key for target in table.targets]
    named = [f"s.{quote(name)} AS v{number}" for number, name in enumerate((*kept, *others))]
    inner = ["s.rowid AS source_rowid", f"{rows.rule} AS rule", f"{mask or '0'} AS residue"]
    inner += [f"{value} AS {key}" for value, key in zip(rows.keys, keys, strict=True)]
    joins = [
        f"JOIN {target.table} AS {alias} ON {alias}.{target.key} = {key}"
        for alias, target, key in zip("ue", table.targets, rows.keys, strict=False)
    ]
    values = [f"CASE WHEN residue & {1 << bits[n]} THEN v{i} END" for i, n in enumerate(kept)]
    values += [f"v{number}" for number in range(len(kept), len(named))]
    # LIMIT and WHERE keep SQLite from flattening the subquery, which would compare each value
    # once more for its CASE.
    connection.execute(
        f"INSERT OR REPLACE INTO {table.origin} (source_rowid, rule, residue, {', '.join(keys)},"
        f" {', '.join(quote(f'x_{name}') for name in (*kept, *others))})"
        f" SELECT source_rowid, rule, residue, {', '.join(keys)}, {', '.join(values)} FROM"
        f" (SELECT {', '.join(inner + named)} FROM {rows.clause} {' '.join(joins)}"
        f" WHERE {rows.condition} LIMIT -1) WHERE residue >= 0",
        dict(rows.bindings),
    )


def _differs(value: str, inverse: str, *, signed_zero: bool) -> str:
    """Return SQL that is 1 where the inverse does not give back the value, its type or its sign.

    SQLite calls -0.0 and 0.0 equal. Only a column without a type can hold -0.0 (`signed_zero`),
    and a column with one loses it: there every real zero is kept.
    """
    differs = f"typeof({value}) <> typeof({inverse}) OR {value} IS NOT {inverse} COLLATE BINARY"
    if signed_zero:
        differs += f" OR (typeof({value}) = 'real' AND {value} = 0.0)"
    return differs
