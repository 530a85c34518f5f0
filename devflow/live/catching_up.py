"""Brings what was written to a legacy database since it was copied into the unified one.

The log names rows, never values: each is read again and placed anew, by the same plan as the
copy. What it became before is taken away first, unless another source's row became the same
thing; its unified key is kept. Rows and the position in the log are written in one transaction of
the unified database, and the legacy one is only read: so a catch-up that was cut off goes on
where it was, and one that is repeated changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from devflow.live import capture
from devflow.live.reverse_log import forgive, last_noted
from devflow.migration.carrying import carry_sequence
from devflow.migration.database import columns, has_table, number, quote, rowid_name, transaction
from devflow.migration.placing import Placing
from devflow.migration.shadow import import_task
from devflow.migration.shapes import add_other_columns, is_planned_here
from devflow.migration.tables import PLANNED
from devflow.migration.targets import TableMap, Target

__all__ = [
    "CaughtUp",
    "behind",
    "catch_up",
    "drop_indexes",
    "index_origins",
    "position",
    "set_position",
]

ROWS_MAX = 2_000
"""How many notes one transaction takes up at most: it holds the unified database meanwhile."""
_INDEX = "live_index_"
Keys = set[int | None]


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What one transaction brought: notes read, rows placed, rows that are gone since."""

    notes: int
    placed: int
    gone: int


def position(connection: apsw.Connection, source: str) -> int:
    """Return up to which note of the source's log the unified database follows it."""
    row = connection.execute(
        "SELECT value FROM migration_facts WHERE name = ?", (f"live.position.{source}",)
    ).fetchone()
    return 0 if row is None else int(str(row[0]))


def set_position(connection: apsw.Connection, source: str, n: int) -> None:
    """Remember the position, in the transaction of the rows that it covers."""
    connection.execute(
        "INSERT INTO migration_facts VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        (f"live.position.{source}", n),
    )


def behind(connection: apsw.Connection, source: str) -> int:
    """Return how many notes of `src_<source>` the unified database does not follow yet."""
    schema = f"src_{source}"
    if not capture.is_installed(connection, schema):
        return 0
    return capture.high_water_mark(connection, schema) - position(connection, source)


def index_origins(connection: apsw.Connection) -> None:
    """Make origins quick to find by their unified row, as long as rows are followed."""
    with transaction(connection):
        for table in PLANNED:
            for target in table.targets:
                name = f"{_INDEX}{table.origin}_{target.origin_key}"
                connection.execute(
                    f"CREATE INDEX IF NOT EXISTS {name} ON {table.origin} ({target.origin_key})"
                )


def drop_indexes(connection: apsw.Connection) -> None:
    """Take away what `index_origins` made."""
    with transaction(connection):
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND name GLOB ?", (_INDEX + "*",)
        ).fetchall():
            connection.execute(f"DROP INDEX {quote(str(name))}")


def catch_up(connection: apsw.Connection, source: str, *, rows_max: int = ROWS_MAX) -> CaughtUp:
    """Take up the next notes of `src_<source>`, attached read-only, in one transaction.

    `connection` is the unified database's; foreign keys must be off there, for a row that is
    placed anew would take what refers to it along.
    """
    with transaction(connection):
        after = position(connection, source)
        reverse_noted = last_noted(connection)
        noted, last = capture.changes(connection, f"src_{source}", after=after, rows_max=rows_max)
        placed = gone = 0
        for table in PLANNED:
            keys = noted.get(table.table)
            if keys and table.source == source and is_planned_here(connection, table):
                rows = _Rows(connection, table, _all_keys(connection, table, keys))
                rows.replace()
                placed, gone = placed + rows.placed, gone + rows.gone
        for name, keys in noted.items():
            placed += _carry_again(connection, source, name, keys)
        set_position(connection, source, last)
        forgive(connection, after=reverse_noted)
    return CaughtUp(last - after, placed, gone)


def _all_keys(connection: apsw.Connection, table: TableMap, keys: Keys) -> set[int]:
    """Return the rowids to look at: all that are there, or were, where a note names none."""
    known = {key for key in keys if key is not None}
    if None in keys:
        for query in (
            f"SELECT rowid FROM src_{table.source}.{quote(table.table)}",
            f"SELECT source_rowid FROM {table.origin}",
        ):
            known |= {int(str(row)) for (row,) in connection.execute(query)}
    return known


class _Rows(Placing):
    """Rows of one planned table that were written, on their way into the unified one."""

    def __init__(self, connection: apsw.Connection, table: TableMap, keys: set[int]) -> None:
        super().__init__(connection, table, {})
        self.placed = self.gone = 0
        connection.execute(
            "DROP TABLE IF EXISTS temp.written;"
            "CREATE TEMP TABLE written (source_rowid INTEGER PRIMARY KEY)"
        )
        connection.executemany("INSERT INTO temp.written VALUES (?)", [(key,) for key in keys])

    def replace(self) -> None:
        """Take away what the rows became, and place those that are there now."""
        add_other_columns(self.connection, self.table)
        self._take_away()
        self.take("s.rowid IN (SELECT source_rowid FROM temp.written)", {})
        self.placed = number(self.connection, "SELECT count(*) FROM temp.placing")
        hangs = self.placed and self.table.targets[0].table == "memory_blocks"
        task = import_task(self.connection, self.table.source) if hangs else None
        for order, target in enumerate(self.table.targets):
            if order:
                self.place_again(target)
            own = f"SELECT {target.origin_key} FROM main.{self.table.origin}"
            self.merge_same(target, f"u.{target.key} NOT IN ({own})")
            self._keep_keys(target)
            self.identify(target)
            self.number(target)
            self.insert(target, task)
        self.remember()
        self._let_go()

    def _take_away(self) -> None:
        """Delete what the rows became, but for what another row became as well."""
        keys = ", ".join(target.origin_key for target in self.table.targets)
        origin = self.table.origin
        self.connection.execute(
            "DROP TABLE IF EXISTS temp.was;"
            f"CREATE TEMP TABLE was AS SELECT source_rowid, {keys} FROM main.{origin}"
            " WHERE source_rowid IN (SELECT source_rowid FROM temp.written);"
            f"DELETE FROM main.{origin}"
            " WHERE source_rowid IN (SELECT source_rowid FROM temp.written)"
        )
        for target in reversed(self.table.targets):
            self.connection.execute(
                f"DELETE FROM main.{target.table} WHERE {target.key} IN"
                f" (SELECT {target.origin_key} FROM temp.was) AND NOT {_shared(target)}"
            )

    def _keep_keys(self, target: Target) -> None:
        """Give a row that stays its unified key again, where that is free."""
        key = target.origin_key
        self.connection.execute(
            f"UPDATE placing SET {key} = was.{key} FROM temp.was"
            " WHERE was.source_rowid = placing.source_rowid AND settled <> 1 AND NOT EXISTS"
            f" (SELECT 1 FROM main.{target.table} AS u WHERE u.{target.key} = was.{key})"
        )

    def number(self, target: Target) -> None:
        """Give each new row a key above all that are taken, those kept included."""
        if target.key == "id":
            super().number(target)
            return
        self.connection.execute(
            f"UPDATE placing SET {target.origin_key} = n.key FROM (SELECT source_rowid,"
            " row_number() OVER (ORDER BY source_rowid) + max("
            f" (SELECT COALESCE(max({target.key}), 0) FROM main.{target.table}),"
            f" (SELECT COALESCE(max({target.origin_key}), 0) FROM temp.was)) AS key FROM placing"
            f" WHERE {target.origin_key} IS NULL) AS n"
            " WHERE n.source_rowid = placing.source_rowid"
        )

    def _let_go(self) -> None:
        """Clear away what hung from rows that are gone: no cascade does it here."""
        self.gone = number(
            self.connection,
            "SELECT count(*) FROM temp.was WHERE source_rowid NOT IN"
            " (SELECT source_rowid FROM temp.placing)",
        )
        if self.table.targets[0].table == "memory_blocks":
            self.connection.execute(
                "DELETE FROM knowledge_learned WHERE block_seq IN (SELECT seq FROM temp.was)"
            )


def _shared(target: Target) -> str:
    """Return SQL that is true of a unified row that some other legacy row became, too."""
    row = f"{target.table}.{target.key}"
    others = [
        f"EXISTS (SELECT 1 FROM {other.origin} AS x WHERE x.{its.origin_key} = main.{row})"
        for other in PLANNED
        for its in other.targets
        if its.table == target.table
    ]
    return f"({' OR '.join(others)})"


def _carry_again(connection: apsw.Connection, source: str, name: str, keys: Keys) -> int:
    """Bring the rows of a table that nobody planned for up to date; return how many are there."""
    found = connection.execute(
        "SELECT unified_table FROM carried_tables WHERE source = ? AND source_table = ?",
        (source, name),
    ).fetchone()
    if found is None:
        return 0
    new, old = quote(str(found[0])), f"src_{source}.{quote(name)}"
    present = columns(connection, f"src_{source}", name)
    names = [quote(column) for column, generated in present.items() if not generated]
    where = ""
    if None not in keys:
        row = rowid_name(present)
        names.insert(0, row)
        where = f" WHERE {row} IN (SELECT value FROM json_each(?))"
    listed = ", ".join(names)
    bindings = (str(sorted(key for key in keys if key is not None)),) if where else ()
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute(f"DELETE FROM main.{new}{where}", bindings)
    connection.execute(
        f"INSERT INTO main.{new} ({listed}) SELECT {listed} FROM {old}{where}", bindings
    )
    placed = connection.changes()
    connection.execute("PRAGMA ignore_check_constraints = OFF")
    if has_table(connection, "main", "sqlite_sequence"):
        connection.execute(
            "DELETE FROM carried_sequences WHERE source = ? AND source_table = ?", (source, name)
        )
        carry_sequence(connection, source, name, str(found[0]))
    return placed
