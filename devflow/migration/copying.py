"""Copies one planned legacy table into the unified shape, a chunk of rows a transaction.

Most chunks are copied straight: a row's unified key is its rowid plus an offset, an identifier
that is NULL is made up, and UNIQUE and NOT NULL do the checking. A chunk that they refuse, and
every chunk of a table of which some rows may have come already by another source, goes through
`devflow.migration.placing`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import apsw

from devflow.migration.database import columns, number, quote
from devflow.migration.placing import Placing
from devflow.migration.residue import Rows, remember
from devflow.migration.shapes import bound
from devflow.migration.targets import TableMap, Target

__all__ = ["CHUNK_ROWS", "Start", "copy_chunk"]

CHUNK_ROWS = 50_000
_KEY_MAX = 1 << 62
_EARLIER_ATTEMPT = (
    "SELECT 1 FROM memory_blocks WHERE seq <= :base AND metadata LIKE '%original_id%' LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Start:
    """How things stood when a table's first chunk began; chunks of a later run rely on it.

    `bases` is each target's highest key then: rows up to it are other sources'. `first_rowid` is
    the table's lowest. `straight` tells that none of its rows can have come already.
    """

    bases: Mapping[str, int]
    first_rowid: int
    straight: bool

    @classmethod
    def of(cls, connection: apsw.Connection, table: TableMap) -> Start:
        """Look at the source's table and its targets as they are now."""
        source = f"src_{table.source}.{quote(table.table)}"
        bases = {
            target.table: number(
                connection, f"SELECT COALESCE(max({target.key}), 0) FROM {target.table}"
            )
            for target in table.targets
        }
        low = number(connection, f"SELECT COALESCE(min(rowid), 0) FROM {source}")
        high = number(connection, f"SELECT COALESCE(max(rowid), 0) FROM {source}")
        fits = low > -_KEY_MAX and high - low + max(bases.values()) < _KEY_MAX
        met = any(_may_be_met(connection, table, t, bases[t.table]) for t in table.targets)
        return cls(bases, low, fits and not met)

    def as_text(self) -> str:
        """Return what `from_text` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Start:
        """Return the start that an earlier run wrote down."""
        return cls(**json.loads(text))


def _may_be_met(connection: apsw.Connection, table: TableMap, target: Target, base: int) -> bool:
    """Return whether any row of the table may be in the target already, or its identifier."""
    present = columns(connection, f"src_{table.source}", table.table)
    probes = [bound(probe, present) for probe in target.met]
    if base and target.identity is not None and target.identifier is not None:
        probes.append(
            f"SELECT 1 FROM {target.table} AS u JOIN src_{table.source}.{quote(table.table)} AS s"
            f" ON s.{quote(target.identity)} = u.{target.identifier}"
            f" WHERE u.{target.key} <= :base LIMIT 1"
        )
    if base and target.repairs:
        probes.append(_EARLIER_ATTEMPT)
    return any(connection.execute(probe, {"base": base}).fetchall() for probe in probes)


def copy_chunk(
    connection: apsw.Connection,
    table: TableMap,
    *,
    after: int | None,
    start: Start,
    import_task: str | None,
) -> tuple[int | None, dict[str, int]]:
    """Copy the next chunk of `table`; return the last source rowid and the rows by rule.

    `after` is the last rowid of the chunk before. The returned rowid is None at the end.
    """
    condition = "" if after is None else "WHERE rowid > :after"
    rows, last = connection.execute(
        "SELECT count(*), max(rowid) FROM (SELECT rowid FROM"
        f" src_{table.source}.{quote(table.table)} {condition} ORDER BY rowid LIMIT :rows)",
        {"after": after, "rows": CHUNK_ROWS},
    ).fetchall()[0]
    if last is None:
        return None, {}
    if start.straight and _copy_straight(connection, table, after, int(last), start, import_task):
        return int(last), _straight_counts(connection, table, after, int(last), int(str(rows)))
    # What cannot have come already need not be looked for.
    placing = Placing(connection, table, {} if start.straight else start.bases)
    placing.place(after, int(last))
    for position, target in enumerate(table.targets):
        if position:
            placing.place_again(target)
        placing.merge(target)
        placing.identify(target)
        placing.number(target)
        placing.insert(target, import_task)
        placing.repair(target)
    placing.remember()
    return int(last), placing.counts()


def _copy_straight(
    connection: apsw.Connection,
    table: TableMap,
    after: int | None,
    last: int,
    start: Start,
    import_task: str | None,
) -> bool:
    """Copy the chunk without placing it; return False, with nothing done, if a row is refused."""
    present = columns(connection, f"src_{table.source}", table.table)
    source = f"src_{table.source}.{quote(table.table)} AS s"
    condition = _within(after)
    keys = tuple(_straight_key(target, start) for target in table.targets)
    connection.execute("SAVEPOINT straight")
    try:
        for target, key in zip(table.targets, keys, strict=True):
            forward = {**target.forward, **target.straight}
            names, values = [target.key, *forward], [key, *forward.values()]
            if target.identifier is not None:
                names.append(target.identifier)
                made_up = f"'{table.source}:{target.table}:' || s.rowid"
                identity = f"{{{target.identity}}}" if target.identity else "NULL"
                values.append(f"COALESCE({identity}, {made_up})")
            listed = ", ".join(
                bound(value, present).replace("p.seq", f"({keys[0]})") for value in values
            )
            connection.execute(
                f"INSERT INTO {target.table} ({', '.join(names)}) SELECT {listed} FROM {source}"
                f" WHERE {condition} ORDER BY s.rowid",
                {"after": after, "last": last, "import_task": import_task},
            )
        bindings = (("after", after), ("last", last))
        rule = f"CASE WHEN {bound(_unnamed(table), present)} THEN 'keyed' ELSE 'kept' END"
        remember(connection, table, Rows(source, keys, rule, condition, bindings))
    except apsw.ConstraintError:
        connection.execute("ROLLBACK TO straight")
        return False
    finally:
        connection.execute("RELEASE straight")
    return True


def _straight_key(target: Target, start: Start) -> str:
    """Return SQL for a row's unified key; an AUTOINCREMENT table keeps the keys it had."""
    if target.key == "id":
        return "s.rowid"
    return f"s.rowid + {start.bases[target.table] + 1 - start.first_rowid}"


def _within(after: int | None) -> str:
    """Return SQL for the rows of a chunk: those after `:after`, if any, up to `:last`."""
    return "s.rowid <= :last" + ("" if after is None else " AND s.rowid > :after")


def _unnamed(table: TableMap) -> str:
    """Return SQL that is true of a row without the identifier that it should have."""
    identity = table.targets[0].identity
    return "0" if identity is None else f"{{{identity}}} IS NULL"


def _straight_counts(
    connection: apsw.Connection, table: TableMap, after: int | None, last: int, rows: int
) -> dict[str, int]:
    """Return a straight chunk's rows by the rule by which they came."""
    present = columns(connection, f"src_{table.source}", table.table)
    keyed = number(
        connection,
        f"SELECT count(*) FROM src_{table.source}.{quote(table.table)} AS s"
        f" WHERE {_within(after)} AND {bound(_unnamed(table), present)}",
        {"after": after, "last": last},
    )
    counts = {"kept": rows - keyed, "keyed": keyed}
    return {rule: count for rule, count in counts.items() if count}
