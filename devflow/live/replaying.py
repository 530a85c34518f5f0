"""Puts what a sidecar kept back into a unified database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import apsw

from devflow.live.sidecar import GONE, PART, REFUSED, identity_of
from devflow.live.typed import Cell, bound, insert, marks, select, without_triggers
from devflow.migration.database import columns, has_table, quote
from devflow.migration.tables import PLANNED

__all__ = ["Replayed", "replay"]

_FULL_TEXT = ("memory_fts", "tasks_fts", "knowledge_entities_fts")
_LATE = ("knowledge_", "looked_up", "cost_alerts")
_Values = dict[str, tuple[Cell, str | None]]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many rows were put, removed, and left: those whose counterpart is not there."""

    put: int
    removed: int
    left: int


def replay(sidecar: apsw.Connection, unified: apsw.Connection) -> Replayed:
    """Put what the sidecar kept into a unified database, in one transaction; return the counts.

    For a database that nobody else writes. A row is found by its identity, and by what it came
    from where it is gone: its key may be another after a new migration. A row of which only some
    columns were kept, gets those. Again is as good as once. Full-text indexes are filled anew.
    """
    if not has_table(sidecar, "main", "kept"):
        return Replayed(0, 0, 0)
    put = removed = left = 0
    with without_triggers(unified):
        for table, key, extent in sorted(_kept(sidecar), key=_order):
            values = _values(sidecar, table, key)
            if not _there(unified, table):
                left += 1
            elif extent == GONE:
                gone = _remove(unified, table, key, values)
                removed, left = removed + gone, left + (not gone)
            else:
                done = _try(unified, table, key, values, extent)
                put, left = put + done, left + (not done)
        for name in _FULL_TEXT:
            unified.execute(f"INSERT INTO {name} ({name}) VALUES ('rebuild')")
    return Replayed(put, removed, left)


def _kept(sidecar: apsw.Connection) -> list[tuple[str, int, str]]:
    return [
        (str(table), int(str(key)), str(extent))
        for table, key, extent in sidecar.execute("SELECT target, key, extent FROM kept")
    ]


def _order(kept: tuple[str, int, str]) -> tuple[bool, bool, str, int]:
    """What others refer to comes first: what is gone, then rows with an `id`, then the rest."""
    table, key, extent = kept
    late = table != "knowledge_entities" and table.startswith(_LATE)
    return extent != GONE, late, table, key


def _values(sidecar: apsw.Connection, table: str, key: int) -> _Values:
    rows = select(
        sidecar,
        ["name", "value", "refers"],
        "kept_values WHERE target = ? AND key = ? ORDER BY rowid",
        (table, key),
    )
    return {
        row[0][1].decode(): (row[1], None if row[2][1] is None else row[2][1].decode())
        for row in rows
    }


def _there(unified: apsw.Connection, table: str) -> bool:
    found = unified.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    )
    return found.fetchone() is not None


def _remove(unified: apsw.Connection, table: str, key: int, values: _Values) -> bool:
    """Remove a row by what it came from; by its key where the migration always gives the same."""
    names = [plan for plan in PLANNED if plan.origin in values]
    for plan in names:
        cell = values[plan.origin][0]
        target = plan.targets[0]
        unified.execute(
            f"DELETE FROM {table} WHERE {target.key} IN (SELECT {target.origin_key}"
            f" FROM {plan.origin} WHERE source_rowid = ?)",
            (bound(cell),),
        )
        if unified.changes():
            return True
    if not names and not any(t.table == table for plan in PLANNED for t in plan.targets):
        unified.execute(f"DELETE FROM {quote(table)} WHERE rowid = ?", (key,))
        return bool(unified.changes())
    return False


def _try(unified: apsw.Connection, table: str, key: int, values: _Values, extent: str) -> bool:
    """Put one row; return False where it cannot be: another has what must be unique."""
    try:
        return _put(unified, table, key, values, extent)
    except apsw.ConstraintError:
        return False


def _put(unified: apsw.Connection, table: str, key: int, values: _Values, extent: str) -> bool:
    """Put one row; return False where it, or one that it refers to, is not there."""
    cells: dict[str, Cell] = {}
    for name, (cell, refers) in values.items():
        if refers is not None and cell[0] != "null":
            found = select(
                unified, ["seq"], f"{quote(refers)} WHERE id = {marks([cell])}", (bound(cell),)
            )
            if not found:
                return False
            cell = found[0][0]  # noqa: PLW2901 - the key that the row has here
        cells[name] = cell
    identity = [name for name in identity_of(unified, table) if name in cells]
    if extent == REFUSED and identity == ["id"]:
        return _put_beside(unified, table, cells)
    place = _found(unified, table, {name: cells[name] for name in identity}) if identity else None
    if place is not None:
        _update(unified, table, place, cells)
        return True
    if extent == PART:
        return False
    if not identity and "seq" in columns(unified, "main", table):
        return _put_by_key(unified, table, key, cells)
    insert(unified, table, cells)
    return True


def _put_beside(unified: apsw.Connection, table: str, cells: dict[str, Cell]) -> bool:
    """Put a row beside another thing of its identifier, which stays as it is."""
    names = [quote(name) for name in cells if name != "id"]
    others = [cell for name, cell in cells.items() if name != "id"]
    while True:
        where = f"{quote(table)} WHERE id = {marks([cells['id']])}"
        there = select(unified, names, where, (bound(cells["id"]),))
        if not there:
            insert(unified, table, cells)
        if not there or list(there[0]) == others:
            return True
        cells["id"] = ("text", bytes(cells["id"][1]) + b"~")


def _found(
    unified: apsw.Connection, table: str, identity: Mapping[str, Cell]
) -> tuple[str, list[Cell]] | None:
    alike = " AND ".join(f"{quote(name)} IS {marks([cell])}" for name, cell in identity.items())
    cells = list(identity.values())
    row = unified.execute(
        f"SELECT 1 FROM {quote(table)} WHERE {alike}", [bound(cell) for cell in cells]
    ).fetchone()
    return None if row is None else (alike, cells)


def _update(
    unified: apsw.Connection,
    table: str,
    place: tuple[str, list[Cell]],
    cells: Mapping[str, Cell],
) -> None:
    changes = ", ".join(f"{quote(name)} = {marks([cell])}" for name, cell in cells.items())
    where, found = place
    unified.execute(
        f"UPDATE {quote(table)} SET {changes} WHERE {where}",
        [bound(cell) for cell in (*cells.values(), *found)],
    )


def _put_by_key(unified: apsw.Connection, table: str, key: int, cells: Mapping[str, Cell]) -> bool:
    """Put a row that has nothing but a key: under it, or under a new one where it is another's."""
    there = select(unified, [quote(n) for n in cells], f"{quote(table)} WHERE seq = ?", (key,))
    if there and there[0] == tuple(cells.values()):
        return True
    if there and _same_thing(table, dict(zip(cells, there[0], strict=True)), cells):
        _update(unified, table, ("seq = ?", [("integer", key)]), cells)
    elif there:
        insert(unified, table, cells)
    else:
        insert(unified, table, {"seq": ("integer", key), **cells})
    return True


def _same_thing(table: str, there: Mapping[str, Cell], cells: Mapping[str, Cell]) -> bool:
    """Return whether two rows came from one line of the registry's log."""
    line = cells.get("line_no", ("null", None))
    return (
        line[0] != "null" and there.get("line_no") == line and table.startswith(("model", "fail"))
    )
