"""Copies a chunk of rows with care: merging, renaming and keying those that need it.

Every row is first *placed* in a temporary table: its unified key, its identifier, and by which
rule it came. No identifier is ever overwritten, and no two rows are taken for one unless they
are the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping

import apsw

from devflow.migration.database import columns, quote
from devflow.migration.residue import Rows, remember
from devflow.migration.shapes import bound, is_planned_here
from devflow.migration.tables import PLANNED
from devflow.migration.targets import TableMap, Target

__all__ = ["Placing"]


class Placing:
    """The rows of one chunk in the temporary table `placing`, on their way."""

    def __init__(
        self, connection: apsw.Connection, table: TableMap, bases: Mapping[str, int]
    ) -> None:
        """`bases` is each target's highest key before the table's first row, where that matters."""
        self.connection = connection
        self.table = table
        self.bases = bases
        self.schema = f"src_{table.source}"
        self.present = columns(connection, self.schema, table.table)
        self.source = f"{self.schema}.{quote(table.table)} AS s"

    def place(self, after: int | None, last: int) -> None:
        """Take the rows after rowid `after`, up to `last`, into `placing`."""
        condition = "s.rowid <= :last" + ("" if after is None else " AND s.rowid > :after")
        self.take(condition, {"after": after, "last": last})

    def take(self, condition: str, bindings: Mapping[str, int | None]) -> None:
        """Take the rows `s` of which the SQL `condition` is true into `placing`."""
        self.connection.execute(
            "DROP TABLE IF EXISTS temp.placing;"
            "CREATE TEMP TABLE placing (source_rowid INTEGER PRIMARY KEY, seq INTEGER,"
            " embedding_seq INTEGER, id TEXT, rule TEXT NOT NULL, settled INTEGER NOT NULL)"
        )
        identity = self._identity(self.table.targets[0])
        self.connection.execute(
            "INSERT INTO temp.placing (source_rowid, id, rule, settled)"
            f" SELECT s.rowid, {identity}, 'kept', 0 FROM {self.source} WHERE {condition}"
            " ORDER BY s.rowid",
            dict(bindings),
        )

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
        return bound("{" + target.identity + "}", self.present)

    def merge(self, target: Target) -> None:
        """Find the rows that are in the unified table already, brought by another source."""
        base = self.bases.get(target.table, 0)
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
        self.merge_same(target, f"u.{target.key} <= :base", {"base": base})

    def merge_same(
        self, target: Target, others: str, bindings: Mapping[str, int] | None = None
    ) -> None:
        """Settle the rows that are the same thing as a row `u` of which the SQL `others` holds."""
        if not target.same:
            return
        first = target is self.table.targets[0]
        told = "rule = :rule, " if first else ""
        same = bound(" AND ".join(target.same), self.present)
        self.connection.execute(
            f"UPDATE placing SET {told}settled = 1, {target.origin_key} = found.key FROM ("
            f"SELECT p.source_rowid AS row, min(u.{target.key}) AS key FROM placing AS p"
            f" JOIN {self.source} ON s.rowid = p.source_rowid"
            f" JOIN {target.table} AS u ON {same} AND {others}"
            " WHERE NOT p.settled GROUP BY p.source_rowid) AS found"
            " WHERE found.row = placing.source_rowid",
            {"rule": "merged", **(bindings or {})},
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
            f" FROM {target.table}) AS key FROM placing WHERE settled <> 1"
            f" AND {target.origin_key} IS NULL) AS n WHERE n.source_rowid = placing.source_rowid"
        )

    def insert(self, target: Target, import_task: str | None) -> None:
        """Insert the new rows in key order."""
        names = [target.key, *([target.identifier] if target.identifier else []), *target.forward]
        values = [f"p.{target.origin_key}", *(["p.id"] if target.identifier else [])]
        values += [bound(expression, self.present) for expression in target.forward.values()]
        self.connection.execute(
            f"INSERT INTO {target.table} ({', '.join(names)}) SELECT {', '.join(values)}"
            f" FROM placing AS p JOIN {self.source} ON s.rowid = p.source_rowid"
            f" WHERE p.settled <> 1 ORDER BY p.{target.origin_key}",
            {"import_task": import_task},
        )

    def repair(self, target: Target) -> None:
        """Give back to an earlier attempt's rows what it lost, and note what they were."""
        if not target.repairs or not self.bases.get(target.table):
            return
        changes = ", ".join(
            f"{name} = {bound(expression, self.present).replace('u.', target.table + '.')}"
            for name, expression in target.repairs.items()
        )
        self.connection.execute(
            f"UPDATE {target.table} SET {changes} FROM placing AS p JOIN {self.source}"
            f" ON s.rowid = p.source_rowid WHERE p.rule = 'earlier-attempt'"
            f" AND {target.table}.seq = p.seq"
        )
        for other in PLANNED:
            if other.source != self.table.source and other.targets[0].table == target.table:
                self._remember_again(other)

    def _remember_again(self, table: TableMap) -> None:
        """Write the origins of another source's rows anew, now that theirs were repaired."""
        if not is_planned_here(self.connection, table):
            return
        rows = Rows(
            clause=f"{table.origin} AS p JOIN src_{table.source}.{quote(table.table)} AS s"
            " ON s.rowid = p.source_rowid",
            keys=tuple(f"p.{target.origin_key}" for target in table.targets),
            rule="p.rule",
            condition="p.seq IN (SELECT seq FROM temp.placing WHERE rule = 'earlier-attempt')",
        )
        remember(self.connection, table, rows)

    def remember(self) -> None:
        """Write each row's origin, with what the inverse does not give back."""
        rows = Rows(
            clause=f"temp.placing AS p JOIN {self.source} ON s.rowid = p.source_rowid",
            keys=tuple(f"p.{target.origin_key}" for target in self.table.targets),
            rule="p.rule",
        )
        remember(self.connection, self.table, rows)

    def counts(self) -> dict[str, int]:
        """Return the chunk's rows by the rule by which they came."""
        rows = self.connection.execute(
            "SELECT rule, count(*) FROM placing GROUP BY rule ORDER BY rule"
        )
        return {str(rule): int(str(count)) for rule, count in rows}
