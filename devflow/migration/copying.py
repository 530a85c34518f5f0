"""Copies one planned legacy table into the unified shape, a chunk of rows a transaction.

For each chunk: every row is *placed* (its unified key, its identifier, and by which rule), rows
that nobody has yet are inserted, rows that an earlier attempt brought in are repaired, and then
the inverse is run: whatever it does not give back exactly is kept as residue in the origin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import apsw

from devflow.migration.database import columns, has_table, quote
from devflow.migration.tables import PLANNED, TableMap, Target

__all__ = ["CHUNK_ROWS", "add_other_columns", "copy_chunk", "is_planned_here", "other_columns"]

CHUNK_ROWS = 50_000
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def is_planned_here(connection: apsw.Connection, table: TableMap) -> bool:
    """Return whether the attached source has the table in a shape that the plan can read."""
    schema = f"src_{table.source}"
    if not has_table(connection, schema, table.table):
        return False
    present = columns(connection, schema, table.table)
    # `Title` beside a planned `title` would share its residue column: SQLite ignores case.
    as_planned = {name.lower(): name for name in table.inverse} | {"rowid": ""}
    return set(table.required) <= set(present) and all(
        as_planned.get(name.lower(), name) == name for name in present
    )


def other_columns(connection: apsw.Connection, table: TableMap) -> tuple[str, ...]:
    """Return the columns that the source's table has and the plan does not know."""
    present = columns(connection, f"src_{table.source}", table.table)
    return tuple(name for name in present if name not in table.inverse)


def _bound(expression: str, present: Mapping[str, bool]) -> str:
    """Replace each `{column}` by the source row's value, NULL where there is no such column."""

    def value(match: re.Match[str]) -> str:
        return f's."{match[1]}"' if match[1] in present else "NULL"

    return _PLACEHOLDER.sub(value, expression)


def copy_chunk(
    connection: apsw.Connection,
    table: TableMap,
    *,
    after: int | None,
    bases: Mapping[str, int],
    import_task: str | None,
) -> tuple[int | None, dict[str, int]]:
    """Copy the next chunk of `table`; return the last source rowid and the rows by rule.

    `after` is the last rowid of the chunk before. `bases` is each target's highest key when the
    table's first chunk began: rows up to it are other sources'. The rowid is None at the end.
    """
    chunk = _Chunk(connection, table, bases)
    last = chunk.place(after)
    if last is None:
        return None, {}
    for number, target in enumerate(table.targets):
        if number:
            chunk.place_again(target)
        chunk.merge(target)
        chunk.identify(target)
        chunk.number(target)
        chunk.insert(target, import_task)
        chunk.repair(target)
    chunk.remember()
    counts = connection.execute("SELECT rule, count(*) FROM placing GROUP BY rule ORDER BY rule")
    return last, {str(rule): int(count) for rule, count in counts}


class _Chunk:
    """The rows of one chunk in the temporary table `placing`, on their way."""

    def __init__(
        self, connection: apsw.Connection, table: TableMap, bases: Mapping[str, int]
    ) -> None:
        self.connection = connection
        self.table = table
        self.bases = bases
        self.schema = f"src_{table.source}"
        self.present = columns(connection, self.schema, table.table)
        self.source = f"{self.schema}.{quote(table.table)} AS s"

    def place(self, after: int | None) -> int | None:
        """Take the next rows after rowid `after` into `placing`; return the last one's rowid."""
        self.connection.execute(
            "DROP TABLE IF EXISTS temp.placing;"
            "CREATE TEMP TABLE placing (source_rowid INTEGER PRIMARY KEY, seq INTEGER,"
            " embedding_seq INTEGER, id TEXT, rule TEXT NOT NULL, settled INTEGER NOT NULL)"
        )
        identity = self._identity(self.table.targets[0])
        condition = "" if after is None else "WHERE s.rowid > :after"
        self.connection.execute(
            "INSERT INTO temp.placing (source_rowid, id, rule, settled)"
            f" SELECT s.rowid, {identity}, 'kept', 0 FROM {self.source} {condition}"
            " ORDER BY s.rowid LIMIT :rows",
            {"after": after, "rows": CHUNK_ROWS},
        )
        row = self.connection.execute("SELECT max(source_rowid) FROM placing").fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def place_again(self, target: Target) -> None:
        """Begin a further target for the same rows; how the row came is told by the first."""
        identity = self._identity(target)
        self.connection.execute(
            f"UPDATE placing SET settled = 0, id = (SELECT {identity} FROM {self.source}"
            " WHERE s.rowid = placing.source_rowid)"
        )

    def _identity(self, target: Target) -> str:
        if target.identity is None:
            return "NULL"
        return _bound("{" + target.identity + "}", self.present)

    def merge(self, target: Target) -> None:
        """Find the rows that are in the unified table already, brought by another source."""
        base = self.bases[target.table]
        if not base:
            return
        first = target is self.table.targets[0]
        told = "rule = :rule, " if first else ""
        if target.repairs:
            self._gather_earlier_attempt(base)
            self.connection.execute(
                f"UPDATE placing SET {told}settled = 1, {target.origin_key} ="
                " (SELECT min(f.seq) FROM temp.earlier AS f WHERE f.original_id IS placing.id)"
                " WHERE id IN (SELECT original_id FROM temp.earlier) AND EXISTS"
                f" (SELECT 1 FROM {self.source}, temp.earlier AS f JOIN {target.table} AS u"
                " ON u.seq = f.seq WHERE s.rowid = placing.source_rowid"
                " AND f.original_id IS placing.id AND u.content IS s.content"
                " AND f.seq = (SELECT min(seq) FROM temp.earlier WHERE original_id IS placing.id))",
                {"rule": "earlier-attempt"},
            )
        if target.same:
            same = _bound(" AND ".join(target.same), self.present)
            self.connection.execute(
                f"UPDATE placing SET {told}settled = 1, {target.origin_key} = found.key FROM ("
                f"SELECT p.source_rowid AS row, min(u.{target.key}) AS key FROM placing AS p"
                f" JOIN {self.source} ON s.rowid = p.source_rowid"
                f" JOIN {target.table} AS u ON {same} AND u.{target.key} <= :base"
                " WHERE NOT p.settled GROUP BY p.source_rowid) AS found"
                " WHERE found.row = placing.source_rowid",
                {"rule": "merged", "base": base},
            )

    def _gather_earlier_attempt(self, base: int) -> None:
        """List the blocks that say of themselves that an earlier attempt brought them."""
        self.connection.execute(
            "DROP TABLE IF EXISTS temp.earlier;"
            "CREATE TEMP TABLE earlier (original_id TEXT, seq INTEGER);"
            "INSERT INTO temp.earlier SELECT json_extract(metadata, '$.original_id'), seq"
            " FROM memory_blocks WHERE seq <= :base AND typeof(metadata) = 'text'"
            " AND CASE WHEN json_valid(metadata) THEN"
            " json_extract(metadata, '$.source') = 'migration' END"
            " AND json_type(metadata, '$.original_id') = 'text';"
            "CREATE INDEX temp.earlier_by_id ON earlier (original_id)",
            {"base": base},
        )

    def identify(self, target: Target) -> None:
        """Give each new row an identifier that nobody has; none is ever overwritten."""
        if target.identifier is None:
            return
        name = f"{self.table.source}:{target.table}:"
        first = target is self.table.targets[0] and target.identity is not None
        told = "rule = :rule, " if first else ""
        taken = (
            f"EXISTS (SELECT 1 FROM {target.table} AS u WHERE u.{target.identifier} = placing.id)"
        )
        self.connection.execute("CREATE INDEX IF NOT EXISTS temp.placing_by_id ON placing (id)")
        self.connection.execute(
            f"UPDATE placing SET {told}settled = 2, id = :name || source_rowid"
            " WHERE id IS NULL AND settled = 0",
            {"rule": "keyed", "name": name},
        )
        self.connection.execute(
            f"UPDATE placing SET {told}settled = 2, id = :source || ':' || id"
            f" WHERE settled = 0 AND ({taken} OR EXISTS (SELECT 1 FROM placing AS q WHERE"
            " q.id = placing.id AND q.settled <> 1 AND q.source_rowid < placing.source_rowid))",
            {"rule": "renamed", "source": self.table.source},
        )
        while True:
            self.connection.execute(
                f"UPDATE placing SET id = id || '~' WHERE settled = 2 AND ({taken} OR EXISTS"
                " (SELECT 1 FROM placing AS q WHERE q.id = placing.id AND (q.settled = 0"
                " OR q.settled = 2 AND q.source_rowid < placing.source_rowid)))"
            )
            if not self.connection.changes():
                return

    def number(self, target: Target) -> None:
        """Give each new row the next key; an AUTOINCREMENT table keeps the keys it had."""
        if target.key == "id":
            self.connection.execute(f"UPDATE placing SET {target.origin_key} = source_rowid")
            return
        self.connection.execute(
            f"UPDATE placing SET {target.origin_key} = n.key FROM (SELECT source_rowid,"
            f" row_number() OVER (ORDER BY source_rowid) + (SELECT COALESCE(max({target.key}), 0)"
            f" FROM {target.table}) AS key FROM placing WHERE settled <> 1) AS n"
            " WHERE n.source_rowid = placing.source_rowid"
        )

    def insert(self, target: Target, import_task: str | None) -> None:
        """Insert the new rows in key order."""
        names = [target.key, *([target.identifier] if target.identifier else []), *target.forward]
        values = [f"p.{target.origin_key}", *(["p.id"] if target.identifier else [])]
        values += [_bound(expression, self.present) for expression in target.forward.values()]
        self.connection.execute(
            f"INSERT INTO {target.table} ({', '.join(names)}) SELECT {', '.join(values)}"
            f" FROM placing AS p JOIN {self.source} ON s.rowid = p.source_rowid"
            f" WHERE p.settled <> 1 ORDER BY p.{target.origin_key}",
            {"import_task": import_task},
        )

    def repair(self, target: Target) -> None:
        """Give back to an earlier attempt's rows what it lost, and note what they were."""
        if not target.repairs or not self.bases[target.table]:
            return
        changes = ", ".join(
            f"{name} = {_bound(expression, self.present).replace('u.', target.table + '.')}"
            for name, expression in target.repairs.items()
        )
        self.connection.execute(
            f"UPDATE {target.table} SET {changes} FROM placing AS p JOIN {self.source}"
            f" ON s.rowid = p.source_rowid WHERE p.rule = 'earlier-attempt'"
            f" AND {target.table}.seq = p.seq"
        )
        for other in PLANNED:
            if other.source != self.table.source and other.targets[0].table == target.table:
                self._remember(other, f"{other.origin} AS p", self._repaired_only())

    @staticmethod
    def _repaired_only() -> str:
        return "WHERE p.seq IN (SELECT seq FROM temp.placing WHERE rule = 'earlier-attempt')"

    def remember(self) -> None:
        """Write each row's origin, with what the inverse does not give back."""
        self._remember(self.table, "temp.placing AS p", "")

    def _remember(self, table: TableMap, placed: str, condition: str) -> None:
        schema = f"src_{table.source}"
        if not is_planned_here(self.connection, table):
            return
        present = columns(self.connection, schema, table.table)
        others = add_other_columns(self.connection, table)
        typeless = _typeless(self.connection, schema, table.table)
        kept = {
            name: _differs(f"s.{quote(name)}", expression, signed_zero=name in typeless)
            for name, expression in table.inverse.items()
            if name in present
        }
        numbers = {name: number for number, name in enumerate(table.inverse)}
        mask = " | ".join(f"(({test}) << {numbers[name]})" for name, test in kept.items()) or "0"
        keys = [target.origin_key for target in table.targets]
        names = ["source_rowid", *keys, "rule", "residue"]
        names += [quote(f"x_{name}") for name in (*kept, *others)]
        values = ["p.source_rowid", *(f"p.{key}" for key in keys), "p.rule", "m.mask"]
        values += [
            f"CASE WHEN m.mask & {1 << numbers[name]} THEN s.{quote(name)} END" for name in kept
        ]
        values += [f"s.{quote(name)}" for name in others]
        joins = [f"JOIN {schema}.{quote(table.table)} AS s ON s.rowid = p.source_rowid"]
        for alias, target in zip("ue", table.targets, strict=False):
            joins.append(
                f"JOIN {target.table} AS {alias} ON {alias}.{target.key} = p.{target.origin_key}"
            )
        rows = f"FROM {placed} {' '.join(joins)} {condition}"
        self.connection.execute(
            "DROP TABLE IF EXISTS temp.masks;"
            "CREATE TEMP TABLE masks (source_rowid INTEGER PRIMARY KEY, mask INTEGER NOT NULL);"
            f"INSERT INTO temp.masks SELECT p.source_rowid, {mask} {rows}"
        )
        self.connection.execute(
            f"INSERT OR REPLACE INTO {table.origin} ({', '.join(names)}) SELECT {', '.join(values)}"
            f" FROM {placed} {' '.join(joins)}"
            f" JOIN temp.masks AS m ON m.source_rowid = p.source_rowid {condition}"
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


def _typeless(connection: apsw.Connection, schema: str, table: str) -> set[str]:
    """Return the columns whose values SQLite stores as they come: those of BLOB affinity."""
    rows = connection.execute(f"PRAGMA {quote(schema)}.table_xinfo({quote(table)})")
    kinds = {str(row[1]): str(row[2] or "").upper() for row in rows}
    return {
        name
        for name, kind in kinds.items()
        if not any(part in kind for part in ("INT", "CHAR", "CLOB", "TEXT"))
        and (not kind or "BLOB" in kind)
    }


def add_other_columns(connection: apsw.Connection, table: TableMap) -> tuple[str, ...]:
    """Give the origin a place for each column that the plan does not know; return those."""
    others = other_columns(connection, table)
    for name in others:
        _add_column(connection, table.origin, f"x_{name}")
    return others


def _add_column(connection: apsw.Connection, table: str, name: str) -> None:
    if name not in columns(connection, "main", table):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {quote(name)}")
