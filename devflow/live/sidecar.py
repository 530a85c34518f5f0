"""Keeps what no legacy table can hold, typed, until a unified database can take it again.

A database of its own with two tables. `kept` has a row for each unified row that is not, or not
wholly, in a legacy table, by unified table and key; its `extent` says what the values are: the
whole row, some columns of it, a row that its legacy table refused because another has its id, or
nothing: it is gone. `kept_values` has the values, one a column, each as SQLite stores it; `refers`
names the table whose row is meant, by its `id`, where the value was the key of another unified
row: keys are given anew by the next migration.

What services reckon anew from other tables is in neither: sums of costs, stale marks, caches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import apsw

from devflow.live.applying import ROWS
from devflow.live.dirty import Dirty, keys_in, log_of, position_of, save_position, stretch
from devflow.live.images import Image
from devflow.live.reverse_log import START, captured
from devflow.live.typed import Cell, bound, marks, reading, select
from devflow.migration.database import (
    columns,
    has_table,
    open_writable,
    quote,
    remove,
    sync_directory,
    transaction,
)
from devflow.migration.tables import PLANNED

__all__ = ["GONE", "PART", "WHOLE", "export_later_writes", "identity_of", "keep_back", "references"]

WHOLE, PART, REFUSED, GONE = "whole", "part", "refused", "gone"
_CREATE = (
    "CREATE TABLE IF NOT EXISTS kept (target TEXT NOT NULL, key INTEGER NOT NULL,"
    " extent TEXT NOT NULL, PRIMARY KEY (target, key));"
    "CREATE TABLE IF NOT EXISTS kept_values (target TEXT NOT NULL, key INTEGER NOT NULL,"
    " name TEXT NOT NULL, value, refers TEXT, PRIMARY KEY (target, key, name))"
)
_IN = "IN (SELECT value FROM json_each(?))"
_Values = dict[str, tuple[Cell, str | None]]


def keep_back(
    unified: apsw.Connection,
    legacy: Mapping[str, apsw.Connection],
    sidecar: apsw.Connection,
    shapes: Mapping[str, Image],
    limit_rows: int | None,
) -> tuple[dict[str, int], int]:
    """Bring the sidecar further along the log; return its rows by table, and what is left of it.

    After the legacy databases: what they could not put, they say.
    """
    log = log_of(unified)
    after = position_of(sidecar, log)
    found: list[tuple[str, int, str, _Values]] = []
    with reading(unified):
        dirty = stretch(unified, after, limit_rows)
        if dirty.upto > after:
            for table, key in captured(unified, dirty.keys).items():
                if key and table not in dirty.whole:
                    found += _rest_of(unified, legacy, shapes, table, dirty.of(table), key)
            found += _whole_tables(unified, legacy, dirty)
    if dirty.upto > after:
        with transaction(sidecar):
            sidecar.execute(_CREATE)
            _forget(sidecar, dirty)
            for each in found:
                _keep(sidecar, *each)
            save_position(sidecar, dirty.upto, log)
    return counts_of(sidecar), dirty.behind


def counts_of(sidecar: apsw.Connection) -> dict[str, int]:
    """Return how many rows are kept, by unified table."""
    if not has_table(sidecar, "main", "kept"):
        return {}
    rows = sidecar.execute("SELECT target, count(*) FROM kept GROUP BY target ORDER BY target")
    return {str(target): int(str(count)) for target, count in rows}


def _forget(sidecar: apsw.Connection, dirty: Dirty) -> None:
    for table, keys in dirty.keys.items():
        for kept in ("kept", "kept_values"):
            sidecar.execute(
                f"DELETE FROM {kept} WHERE target = ? AND key {_IN}", (table, keys_in(keys))
            )
    for table in dirty.whole:
        for kept in ("kept", "kept_values"):
            sidecar.execute(f"DELETE FROM {kept} WHERE target = ?", (table,))


def _keep(sidecar: apsw.Connection, table: str, key: int, extent: str, values: _Values) -> None:
    sidecar.execute("INSERT INTO kept VALUES (?, ?, ?)", (table, key, extent))
    for name, (cell, refers) in values.items():
        sidecar.execute(
            f"INSERT INTO kept_values VALUES (?, ?, ?, {marks([cell])}, ?)",
            (table, key, name, bound(cell), refers),
        )


# What the legacy tables do not hold --------------------------------------------------------------


def _rest_of(
    unified: apsw.Connection,
    legacy: Mapping[str, apsw.Connection],
    shapes: Mapping[str, Image],
    table: str,
    keys: tuple[int, ...],
    key: str,
) -> list[tuple[str, int, str, _Values]]:
    """Return what is to be kept of a table's written rows."""
    if _is_carried(unified, legacy, table):
        return []
    lost, refused = _lost(unified, legacy, shapes, table, keys)
    rows = _rows(unified, table, keys, key)
    imaged = any(target.table == table for plan in PLANNED for target in plan.targets)
    found: list[tuple[str, int, str, _Values]] = []
    for each in keys:
        if each in rows:
            missing = lost.get(each)
            names = set(rows[each]) if missing is None else missing | {*identity_of(unified, table)}
            if missing is None or missing:
                kept = {name: value for name, value in rows[each].items() if name in names}
                extent = REFUSED if each in refused else WHOLE if missing is None else PART
                found.append((table, each, extent, kept))
        elif not (imaged and legacy) and _was_there(unified, table, each):
            found.append((table, each, GONE, _origins(unified, table, each)))
    return found


def _is_carried(
    unified: apsw.Connection, legacy: Mapping[str, apsw.Connection], table: str
) -> bool:
    row = unified.execute(
        "SELECT source, source_table FROM carried_tables WHERE unified_table = ?", (table,)
    ).fetchone()
    return row is not None and str(row[0]) in legacy


def _lost(
    unified: apsw.Connection,
    legacy: Mapping[str, apsw.Connection],
    shapes: Mapping[str, Image],
    table: str,
    keys: Iterable[int],
) -> tuple[dict[int, set[str]], set[int]]:
    """Return the columns that none of a key's legacy rows holds, and keys that none has at all."""
    found: dict[int, set[str]] = {}
    nowhere: set[int] = set()
    for image in shapes.values():
        if all(target.table != table for target in image.table.targets):
            continue
        refused = _refused(legacy[image.table.source], image.table.table)
        for alias, target in zip("ue", image.table.targets, strict=False):
            if target.table != table:
                continue
            missing = image.missing[target.table]
            first = f"u.{image.table.targets[0].key}"
            rows = unified.execute(
                f"SELECT {first}, {', '.join([f'{alias}.{target.key}', *missing.values()])}"
                f" FROM {image.clause} WHERE {alias}.{target.key} {_IN} AND {image.condition}",
                (keys_in(keys),),
            )
            for owner, key, *lost in rows:
                which = int(str(key))
                if int(str(owner)) in refused:
                    nowhere.add(which)
                    continue
                names = {n for n, there in zip(missing, lost, strict=True) if there}
                found[which] = found[which] & names if which in found else names
    return found, nowhere - set(found)


def _refused(connection: apsw.Connection, table: str) -> set[int]:
    """Return the keys of rows that a legacy table would not take."""
    if not has_table(connection, "main", ROWS):
        return set()
    rows = connection.execute(
        f"SELECT key FROM {ROWS} WHERE legacy_table = ? AND row IS NULL", (table,)
    )
    return {int(str(key)) for (key,) in rows}


def _rows(
    unified: apsw.Connection, table: str, keys: Iterable[int], key: str
) -> dict[int, _Values]:
    refers = references(unified, table)
    names = [
        name
        for name, generated in columns(unified, "main", table).items()
        if not generated and name != "seq"
    ]
    chosen = [
        f"(SELECT r.id FROM {quote(refers[n][0])} AS r WHERE r.seq = t.{quote(n)})"
        if n in refers
        else f"t.{quote(n)}"
        for n in names
    ]
    found = select(
        unified, [f"t.{key}", *chosen], f"{quote(table)} AS t WHERE t.{key} {_IN}", (keys_in(keys),)
    )
    return {
        row[0][1]: {
            name: (cell, refers[name][0] if name in refers else None)
            for name, cell in zip(names, row[1:], strict=True)
        }
        for row in found
    }


def references(unified: apsw.Connection, table: str) -> dict[str, tuple[str]]:
    """Return the columns that hold another row's key, and the table that row is in by its `id`."""
    found: dict[str, tuple[str]] = {}
    for row in unified.execute(f"PRAGMA main.foreign_key_list({quote(table)})").fetchall():
        other, column, there = str(row[2]), str(row[3]), str(row[4])
        if there == "seq":
            found[column] = (other,)
        elif there.endswith("_seq"):
            found[column] = references(unified, other)[there]
    return found


def identity_of(unified: apsw.Connection, table: str) -> tuple[str, ...]:
    """Return the columns by which a row of the table is found again; none: it has only a key."""
    there = columns(unified, "main", table)
    if "id" in there:
        return ("id",)
    if "seq" not in there:
        row = unified.execute(
            "SELECT name FROM pragma_table_info(?) WHERE pk = 1", (table,)
        ).fetchone()
        return (str(row[0]),) if row else ()
    for _, index, unique, _, partial in unified.execute(
        f"PRAGMA main.index_list({quote(table)})"
    ).fetchall():
        if unique and not partial:
            names = unified.execute("SELECT name FROM pragma_index_info(?)", (index,)).fetchall()
            return tuple(str(name) for (name,) in names)
    return ()


def _was_there(unified: apsw.Connection, table: str, key: int) -> bool:
    row = unified.execute(f"SELECT key FROM {START} WHERE target = ?", (table,)).fetchone()
    return row is not None and row[0] is not None and key <= int(str(row[0]))


def _origins(unified: apsw.Connection, table: str, key: int) -> _Values:
    """Return from which legacy rows a row came that is gone, as values named by their origins."""
    found: _Values = {}
    for plan in PLANNED:
        for target in plan.targets[:1]:
            if target.table == table:
                rows = unified.execute(
                    f"SELECT source_rowid FROM {plan.origin} WHERE {target.origin_key} = ?"
                    " ORDER BY 1 LIMIT 1",
                    (key,),
                )
                for (row,) in rows:
                    found[plan.origin] = (("integer", row), None)
    return found


def _whole_tables(
    unified: apsw.Connection, legacy: Mapping[str, apsw.Connection], dirty: Dirty
) -> list[tuple[str, int, str, _Values]]:
    """Return all rows of written tables without keys that no legacy database takes."""
    found: list[tuple[str, int, str, _Values]] = []
    for table in sorted(dirty.whole):
        if _is_carried(unified, legacy, table):
            continue
        names = [n for n, generated in columns(unified, "main", table).items() if not generated]
        rows = select(unified, [quote(name) for name in names], quote(table))
        for number, row in enumerate(rows):
            values: _Values = {n: (c, None) for n, c in zip(names, row, strict=True)}
            found.append((table, number, WHOLE, values))
    return found


# A file of everything ----------------------------------------------------------------------------


def export_later_writes(unified: apsw.Connection, path: Path) -> dict[str, int]:
    """Write every row that was written since the noting began to a new file; return its rows.

    The file is a sidecar that no legacy database took anything from, for `replay`: it appears whole
    or not at all, and replaces one of the same name. Each row is there as it is now, or as gone.
    """
    log_of(unified)
    partial = path.with_name(path.name + ".partial")
    remove(partial)
    with closing(open_writable(partial)) as sidecar:
        sidecar.execute(_CREATE)
        counts, _ = keep_back(unified, {}, sidecar, {}, None)
    partial.replace(path)
    sync_directory(path.parent)
    return counts
