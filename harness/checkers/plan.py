"""Which source table comes back from where: the mapping's planned tables and the carried ones."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import apsw

from harness.checkers.evidence import Evidence
from harness.database import Column, Table, columns_of, quote, row_tables
from harness.mapping import TableMapping
from harness.model import DATABASES, Finding

__all__ = [
    "Correspondence",
    "correspondences",
    "rowid_name",
    "source_tables",
    "stores_no_numbers",
    "tables_of",
]

_ROWID_NAMES = ("rowid", "_rowid_", "oid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Correspondence:
    """One source table's way back; `mapped` is None where the table was carried whole."""

    source: str
    table: str
    mapped: TableMapping | None
    unified_table: str | None = None

    @property
    def from_(self) -> str:
        """What follows FROM."""
        if self.mapped is not None:
            return self.mapped.from_
        return f"{quote(self.unified_table or '')} AS t"

    def row(self, table: Table) -> str | None:
        """Return SQL for the source row's rowid, or what stands for it where it was carried."""
        name = rowid_name(table)
        if name is None:
            return None
        return self.mapped.key if self.mapped else f"t.{name}"

    def inverse_of(self, column: str) -> str | None:
        """Return the SQL that gives the source column back, None where nothing does."""
        return self.mapped.inverse_of(column) if self.mapped else f"t.{quote(column)}"


def correspondences(
    evidence: Evidence, unified: apsw.Connection, *, check: str
) -> tuple[dict[tuple[str, str], Correspondence], list[Finding]]:
    """Return each table's correspondence under the source's own spelling, and what is wrong.

    A table that is both planned and carried is taken as planned: its rows would count twice.
    """
    spelling = {
        (source, table.name.lower()): table.name
        for source in DATABASES
        for table in source_tables(evidence, source)
    }
    found: dict[tuple[str, str], Correspondence] = {}
    for (source, table), mapped in evidence.mapping.tables.items():
        name = spelling.get((source, table.lower()), table)
        found[source, name] = Correspondence(source=source, table=name, mapped=mapped)
    problems: list[Finding] = []
    try:
        carried = unified.execute(evidence.mapping.carried or "SELECT 1 WHERE 0").fetchall()
        named = {(str(row[0]), str(row[1]).lower()) for row in carried}
        carried += [row for row in _virtual(evidence, unified) if tuple(row[:2]) not in named]
    except apsw.SQLError as error:
        cause = f"the mapping's SQL for carried tables fails on the unified database: {error}"
        return found, [Finding(rule=f"{check}/inverse-fails", cause=cause, database="unified")]
    for row in carried:
        source, table, target = (str(value) for value in row)
        name = spelling.get((source, table.lower()), table)
        planned = found.get((source, name))
        # A table that has a planned name and not its shape is carried: then nothing is planned.
        if planned is not None and (planned.mapped is None or _gives(unified, planned.from_)):
            problems.append(
                Finding(
                    rule=f"{check}/table-twice",
                    cause=f"the table came over twice: it is also carried as {target}",
                    database=source,
                    table=name,
                )
            )
            continue
        found[source, name] = Correspondence(
            source=source, table=name, mapped=None, unified_table=target
        )
    return found, problems


def _gives(unified: apsw.Connection, clause: str) -> bool:
    """Say whether any row is given back; none is where the SQL's tables are not there."""
    try:
        return bool(unified.execute(f"SELECT EXISTS (SELECT 1 FROM {clause})").get)
    except apsw.SQLError:
        return False


def _virtual(evidence: Evidence, unified: apsw.Connection) -> list[tuple[str, str, str]]:
    """Return where the virtual tables with rows of their own went, by the schema's decisions."""
    wanted = {
        (source, table.name.lower())
        for source in DATABASES
        for table in source_tables(evidence, source)[len(evidence.before.tables(source)) :]
    }
    if not wanted or evidence.mapping.decisions is None:
        return []
    decided = unified.execute(
        "WITH given(source, type, name, decision, rule, unified_name) AS"
        f" ({evidence.mapping.decisions}) SELECT source, lower(name), unified_name FROM given"
        " WHERE unified_name IS NOT NULL AND type NOT IN ('index', 'trigger', 'view')"
    )
    rows = [(str(source), str(name), str(unified)) for source, name, unified in decided]
    return [row for row in rows if row[:2] in wanted]


def source_tables(evidence: Evidence, source: str) -> tuple[Table, ...]:
    """Return a source's row tables, then its virtual tables that keep rows of their own."""
    plain = evidence.before.tables(source)
    if evidence.before.state(source) != "sqlite":
        return plain
    with closing(evidence.before.open(source)) as connection:
        return plain + _stored_virtual_tables(connection)


def tables_of(connection: apsw.Connection) -> tuple[Table, ...]:
    """Return a database's row tables, then its virtual tables that keep rows of their own."""
    return row_tables(connection) + _stored_virtual_tables(connection)


def _stored_virtual_tables(connection: apsw.Connection) -> tuple[Table, ...]:
    """Return the full-text tables that are no index of another table: they have a content shadow.

    Their rowid is a column like the others, for it is how others refer to their rows.
    """
    names = connection.execute(
        "SELECT v.name FROM pragma_table_list AS v JOIN pragma_table_list AS s"
        " ON s.schema = v.schema AND s.type = 'shadow' AND s.name = v.name || '_content'"
        " WHERE v.schema = 'main' AND v.type = 'virtual' ORDER BY v.name"
    ).fetchall()
    rowid = Column("rowid", "INTEGER", False, None, 1, 0)
    return tuple(
        Table(str(name), False, False, (rowid, *columns_of(connection, str(name))))
        for (name,) in names
    )


def rowid_name(table: Table) -> str | None:
    """Return a name by which the table's rowid can be asked for; None where it has none."""
    taken = {column.name.lower() for column in table.columns}
    if table.without_rowid:
        return None
    return next((name for name in _ROWID_NAMES if name not in taken), None)


def stores_no_numbers(declared_type: str) -> bool:
    """Say whether a column of this type has SQLite's TEXT affinity, which turns numbers to text."""
    upper = declared_type.upper()
    return "INT" not in upper and any(word in upper for word in ("CHAR", "CLOB", "TEXT"))
