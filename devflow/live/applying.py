"""Brings the rows of one legacy database to what the written unified rows make of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import apsw

from devflow.live.dirty import POSITION, Dirty, keys_in, log_of, position_of, save_position, stretch
from devflow.live.full_text import refill_what_triggers_keep
from devflow.live.images import Image
from devflow.live.reverse_log import captured
from devflow.live.typed import Cell, escaped, insert, reading, select, without_triggers
from devflow.migration.database import columns, has_table, number, quote, transaction

__all__ = ["ROWS", "Tally", "forget", "write_back"]

ROWS = "reverse_rows"
"""In each legacy database: the rowids of rows that were made there, by their unified keys.

`part` is the second unified key of a split row; a row that could not be put has no rowid.
"""
_CREATE_ROWS = (
    f"CREATE TABLE IF NOT EXISTS {ROWS} (legacy_table TEXT NOT NULL, key INTEGER NOT NULL,"
    " part INTEGER, row INTEGER, PRIMARY KEY (legacy_table, key))"
)
_ROWID_MAX = (1 << 63) - 1
_IN = "IN (SELECT value FROM json_each(?))"


@dataclass(slots=True)
class Tally:
    """What was done, in rows by `source.table`."""

    written: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0

    def note(self, name: str, *, written: int, deleted: int, unchanged: int) -> None:
        """Add what was done to one table."""
        for sums, rows in ((self.written, written), (self.deleted, deleted)):
            if rows:
                sums[name] = sums.get(name, 0) + rows
        self.unchanged += unchanged


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A legacy row as it should be: its rowid, if it came from one, and its cells by column."""

    row: int | None
    key: int
    part: int | None
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done to one legacy table: rows to have, and rowids that may not stay.

    `taken` is a rowid below which none is given to a new row.
    """

    name: str
    table: str
    wanted: Sequence[_Wanted]
    keys: tuple[int, ...]
    rows: frozenset[int]
    taken: int = 0
    whole: bool = False
    sequence: int | None = None
    parts: tuple[int, ...] = ()


class _CrowdedError(Exception):
    """A row does not fit beside one that a later entry of the log may move."""


def forget(connection: apsw.Connection) -> None:
    """Remove every trace of the drains from a legacy database; one without is not locked."""
    if not any(has_table(connection, "main", table) for table in (POSITION, ROWS)):
        return
    with transaction(connection):
        connection.execute(f"DROP TABLE IF EXISTS {POSITION}; DROP TABLE IF EXISTS {ROWS}")


def write_back(
    unified: apsw.Connection,
    connection: apsw.Connection,
    source: str,
    shapes: Mapping[str, Image],
    limit_rows: int | None,
    tally: Tally,
) -> int:
    """Bring one legacy database further along the log; return how much of it is left."""
    try:
        return _write_back(unified, connection, source, shapes, limit_rows, tally)
    except _CrowdedError:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        # All together the rows fit as they do in the unified database.
        return _write_back(unified, connection, source, shapes, None, tally)


def _write_back(
    unified: apsw.Connection,
    connection: apsw.Connection,
    source: str,
    shapes: Mapping[str, Image],
    limit_rows: int | None,
    tally: Tally,
) -> int:
    log = log_of(unified)
    after = position_of(connection, log)
    with reading(unified):
        dirty = stretch(unified, after, limit_rows)
        if dirty.upto == after:
            return dirty.behind
        work = [
            _planned_work(unified, connection, image, dirty)
            for image in shapes.values()
            if image.table.source == source and _is_touched(image, dirty)
        ]
        work += _carried_work(unified, connection, source, dirty)
    done = []
    with without_triggers(connection):
        if not after:  # what another log's rows became says nothing of this one's
            connection.execute(f"DROP TABLE IF EXISTS {ROWS}")
        connection.execute(_CREATE_ROWS)
        for each in work:
            done.append((each.name, _apply(connection, each, last=not dirty.behind)))
        changed = [
            each.table for each, (_, count) in zip(work, done, strict=True) if any(count[:2])
        ]
        refill_what_triggers_keep(connection, changed)
        save_position(connection, dirty.upto, log)
    for name, (written, deleted, unchanged) in done:
        tally.note(name, written=written, deleted=deleted, unchanged=unchanged)
    return dirty.behind


# What is to be done ------------------------------------------------------------------------------


def _integers(connection: apsw.Connection, query: str, keys: Iterable[int]) -> set[int]:
    return {int(str(row[0])) for row in connection.execute(query, (keys_in(keys),))}


def _is_touched(image: Image, dirty: Dirty) -> bool:
    """Return whether anything was written that the table's rows are made of."""
    table = image.table
    made_of = {target.table for target in table.targets} | {table.origin}
    if table.table == "synthetic_usage":
        made_of.add("looked_up_prices")
    return not made_of.isdisjoint(dirty.keys)


def _written_keys(
    unified: apsw.Connection, connection: apsw.Connection, image: Image, dirty: Dirty
) -> set[int]:
    """Return the keys of `u` whose images may have changed."""
    table, first = image.table, image.table.targets[0]
    keys = set(dirty.of(first.table))
    if first.table == "synthetic_usage":
        keys |= set(dirty.of("looked_up_prices"))
    if image.split:
        parts = dirty.of(table.targets[1].table)
        keys |= _integers(
            unified,
            "SELECT b.seq FROM memory_block_embeddings AS e JOIN memory_blocks AS b"
            f" ON b.id = e.block_id WHERE e.seq {_IN}",
            parts,
        )
        keys |= _integers(
            unified, f"SELECT seq FROM {table.origin} WHERE embedding_seq {_IN}", parts
        )
        if has_table(connection, "main", ROWS):
            keys |= _integers(
                connection,
                f"SELECT key FROM {ROWS} WHERE legacy_table = '{table.table}' AND part {_IN}",
                parts,
            )
    return keys


def _planned_work(
    unified: apsw.Connection, connection: apsw.Connection, image: Image, dirty: Dirty
) -> _Work:
    table, first = image.table, image.table.targets[0]
    keys = tuple(sorted(_written_keys(unified, connection, image, dirty)))
    rows = _integers(
        unified, f"SELECT source_rowid FROM {table.origin} WHERE {first.origin_key} {_IN}", keys
    )
    rows |= set(dirty.of(table.origin))  # origins that a service forgot
    part = "e.seq" if image.split else "NULL"
    found = select(
        unified,
        ["o.source_rowid", f"u.{first.key}", part, *image.columns.values()],
        f"{image.clause} WHERE u.{first.key} {_IN} AND {image.condition}",
        (keys_in(keys),),
    )
    wanted = []
    for (_, row), (_, key), (_, second), *cells in found:
        named = dict(zip(image.columns, cells, strict=True))
        if row is None and "metadata" in named and image.split:
            named["metadata"] = escaped(named["metadata"])
        own = key if first.key != "seq" else None
        wanted.append(_Wanted(own if row is None else row, key, second, named))
    forgotten = _integers(
        unified, f"SELECT source_rowid FROM {table.origin} WHERE source_rowid {_IN}", rows
    )
    taken = number(unified, f"SELECT coalesce(max(source_rowid), 0) FROM {table.origin}")
    taken = max(taken, *(rows - forgotten), 0)
    return _Work(
        name=table.name,
        table=table.table,
        wanted=wanted,
        keys=keys,
        rows=frozenset(rows),
        taken=taken,
        sequence=_sequence(unified, first.table) if first.key != "seq" and keys else None,
    )


def _sequence(unified: apsw.Connection, table: str) -> int | None:
    row = unified.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return None if row is None or not isinstance(row[0], int) else row[0]


def _carried_work(
    unified: apsw.Connection, connection: apsw.Connection, source: str, dirty: Dirty
) -> list[_Work]:
    """Return what is to be done to tables that nobody planned for: their rows stand unchanged."""
    listed = unified.execute(
        "SELECT source_table, unified_table FROM carried_tables WHERE source = ?", (source,)
    ).fetchall()
    written = {
        str(target): str(name)
        for name, target in listed
        if target in dirty.keys or target in dirty.whole
    }
    keyed = captured(unified, written)
    found = []
    for carried, table in written.items():
        keys, whole = dirty.of(carried), carried in dirty.whole
        if carried not in keyed or not _is_table(connection, table):
            continue
        names = [n for n, generated in columns(unified, "main", carried).items() if not generated]
        key = keyed[carried] or "NULL"
        every = set(keys)
        if whole and keyed[carried]:
            found_rows = connection.execute(f"SELECT {keyed[carried]} FROM {quote(table)}")
            every = {int(str(row)) for (row,) in found_rows}
        rest = quote(carried) + ("" if whole else f" WHERE {key} {_IN}")
        rows = select(unified, [key, *map(quote, names)], rest, () if whole else (keys_in(keys),))
        wanted = [
            _Wanted(row[0][1], row[0][1] or 0, None, dict(zip(names, row[1:], strict=True)))
            for row in rows
        ]
        found.append(
            _Work(
                name=f"{source}.{table}",
                table=table,
                wanted=wanted,
                keys=(),
                rows=frozenset(every),
                whole=whole and not keyed[carried],
                sequence=_sequence(unified, carried),
            )
        )
    return found


def _is_table(connection: apsw.Connection, table: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    )
    return found.fetchone() is not None


# Doing it ----------------------------------------------------------------------------------------


def _apply(connection: apsw.Connection, work: _Work, *, last: bool) -> tuple[int, int, int]:
    """Do the work; return the rows written, deleted and found to be right already."""
    if work.whole:
        return _apply_whole(connection, work)
    mapped = {
        int(str(key)): row
        for key, row in connection.execute(
            f"SELECT key, row FROM {ROWS} WHERE legacy_table = ? AND key {_IN}",
            (work.table, keys_in(work.keys)),
        )
    }
    places = [each.row if each.row is not None else mapped.get(each.key) for each in work.wanted]
    had = work.rows | {row for row in mapped.values() if row is not None}
    now = _present(connection, work.table, had | {row for row in places if row is not None})
    pending: list[tuple[_Wanted, int | None, dict[str, Cell]]] = []
    unchanged = 0
    for each, place in zip(work.wanted, places, strict=True):
        before = now.pop(place, None) if place is not None else None
        after = {**(before or {}), **each.cells}
        if before == after:
            unchanged += 1
            continue
        if before is not None:
            _delete(connection, work.table, place)
        pending.append((each, place, after))
    gone = [row for row in now if row in had]
    for row in gone:
        _delete(connection, work.table, row)
    kept_keys = {each.key for each in work.wanted}
    for key in set(mapped) - kept_keys:
        connection.execute(
            f"DELETE FROM {ROWS} WHERE legacy_table = ? AND key = ?", (work.table, key)
        )
    free = _Free(connection, work)
    written = sum(_put(connection, work, *each, free, last=last) for each in pending)
    if work.sequence is not None:
        _raise_sequence(connection, work.table, work.sequence)
    return written, len(gone), unchanged


def _present(
    connection: apsw.Connection, table: str, rows: Iterable[int]
) -> dict[int | None, dict[str, Cell]]:
    names = [n for n, generated in columns(connection, "main", table).items() if not generated]
    found = select(
        connection,
        ["rowid", *map(quote, names)],
        f"{quote(table)} WHERE rowid {_IN}",
        (keys_in(rows),),
    )
    return {row[0][1]: dict(zip(names, row[1:], strict=True)) for row in found}


def _delete(connection: apsw.Connection, table: str, row: int | None) -> None:
    connection.execute(f"DELETE FROM {quote(table)} WHERE rowid = ?", (row,))


def _put(
    connection: apsw.Connection,
    work: _Work,
    wanted: _Wanted,
    place: int | None,
    cells: Mapping[str, Cell],
    free: _Free,
    *,
    last: bool,
) -> int:
    """Insert a row at its place, or at a new one; return 0 where the table refuses it."""
    made = wanted.row is None
    if place is None:
        place = free.row()
    given = dict(cells)
    if place is not None and not _has_own_key(connection, work.table):
        given = {"rowid": ("integer", place), **given}
    try:
        insert(connection, work.table, given)
    except apsw.ConstraintError as error:
        if not last:
            raise _CrowdedError from error
        _map(connection, work.table, wanted, None)
        return 0
    free.take(place, connection.last_insert_rowid())
    if made:
        _map(connection, work.table, wanted, place or connection.last_insert_rowid())
    else:
        connection.execute(
            f"DELETE FROM {ROWS} WHERE legacy_table = ? AND key = ?", (work.table, wanted.key)
        )
    return 1


def _map(connection: apsw.Connection, table: str, wanted: _Wanted, row: int | None) -> None:
    connection.execute(
        f"INSERT OR REPLACE INTO {ROWS} VALUES (?, ?, ?, ?)",
        (table, wanted.key, wanted.part, row),
    )


def _has_own_key(connection: apsw.Connection, table: str) -> bool:
    """Return whether a column of the table is its rowid."""
    found = connection.execute(
        "SELECT sum(pk > 0), sum(pk > 0 AND upper(type) = 'INTEGER') FROM pragma_table_info(?)",
        (table,),
    ).fetchall()[0]
    return found == (1, 1)


class _Free:
    """The rowids that no row ever had that came from a table; looked for once, and counted on.

    To look takes longer the more rows were made there: for each row anew, many would take for ever.
    """

    def __init__(self, connection: apsw.Connection, work: _Work) -> None:
        self._connection, self._work = connection, work
        self._highest: int | None = None

    def row(self) -> int | None:
        """Return a rowid for a new row; None where SQLite must find one."""
        if self._highest is None:
            table = self._work.table
            highest = self._connection.execute(
                f"SELECT max(ifnull((SELECT max(rowid) FROM {quote(table)}), 0),"
                f" ifnull((SELECT max(row) FROM {ROWS} WHERE legacy_table = ?1), 0), ?2)",
                (table, self._work.taken),
            ).fetchall()[0][0]
            self._highest = int(str(highest))
        return None if self._highest >= _ROWID_MAX else self._highest + 1

    def take(self, *rows: int | None) -> None:
        """Remember that these are given away."""
        if self._highest is not None:
            self._highest = max(self._highest, *(row for row in rows if row is not None))


def _apply_whole(connection: apsw.Connection, work: _Work) -> tuple[int, int, int]:
    """Replace all rows of a table without keys, where they differ."""
    names = list(work.wanted[0].cells) if work.wanted else ["1"]
    chosen = [quote(name) for name in names] if work.wanted else names
    before = select(connection, chosen, quote(work.table))
    after = [tuple(each.cells.values()) for each in work.wanted]
    if sorted(before, key=repr) == sorted(after, key=repr):
        return 0, 0, len(after)
    connection.execute(f"DELETE FROM {quote(work.table)}")
    for each in work.wanted:
        insert(connection, work.table, each.cells)
    both = len(set(before) & set(after))
    return len(after) - both, len(before) - both, both


def _raise_sequence(connection: apsw.Connection, table: str, sequence: int) -> None:
    """Let an AUTOINCREMENT table give out no key again that the unified one gave out."""
    if _is_table(connection, "sqlite_sequence"):
        connection.execute(
            "UPDATE sqlite_sequence SET seq = ?1 WHERE name = ?2 AND seq < ?1", (sequence, table)
        )
