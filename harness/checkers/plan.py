"""Which source table comes back from where: the mapping's planned tables and the carried ones."""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from harness.checkers.evidence import Evidence
from harness.database import Table, quote
from harness.mapping import TableMapping
from harness.model import DATABASES, Finding

__all__ = ["Correspondence", "correspondences", "rowid_name"]

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
        for table in evidence.before.tables(source)
    }
    found: dict[tuple[str, str], Correspondence] = {}
    for (source, table), mapped in evidence.mapping.tables.items():
        name = spelling.get((source, table.lower()), table)
        found[source, name] = Correspondence(source=source, table=name, mapped=mapped)
    problems: list[Finding] = []
    try:
        carried = unified.execute(evidence.mapping.carried or "SELECT 1 WHERE 0").fetchall()
    except apsw.SQLError as error:
        cause = f"the mapping's SQL for carried tables fails on the unified database: {error}"
        return found, [Finding(rule=f"{check}/inverse-fails", cause=cause, database="unified")]
    for row in carried:
        source, table, target = (str(value) for value in row)
        name = spelling.get((source, table.lower()), table)
        if (source, name) in found:
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


def rowid_name(table: Table) -> str | None:
    """Return a name by which the table's rowid can be asked for; None where it has none."""
    taken = {column.name.lower() for column in table.columns}
    if table.without_rowid:
        return None
    return next((name for name in _ROWID_NAMES if name not in taken), None)
