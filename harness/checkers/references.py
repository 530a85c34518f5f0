"""Foreign keys of the unified database: which dangle, and which did so before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import apsw

from harness.checkers.evidence import Evidence
from harness.database import Table, quote, typed_select
from harness.errors import HarnessError
from harness.model import DATABASES, Finding, Severity

__all__ = ["JudgedReferences", "is_database", "judge_references", "unified_fault"]

_NAMED_MAX: Final = 20


@dataclass(slots=True)
class JudgedReferences:
    """Findings, how many foreign keys are declared, and the baseline by name."""

    declared: int = 0
    findings: list[Finding] = field(default_factory=list)
    old: dict[str, int] = field(default_factory=dict)
    in_sources: dict[str, int] = field(default_factory=dict)

    def fault(
        self, rule: str, cause: str, *, severity: Severity = Severity.ERROR, **more: str | None
    ) -> None:
        """Add a finding about the unified database."""
        self.findings.append(unified_fault(rule, cause, severity=severity, **more))


def unified_fault(
    rule: str, cause: str, *, severity: Severity = Severity.ERROR, **more: str | None
) -> Finding:
    """Return a finding of the integrity checker about the unified database."""
    return Finding(
        rule=f"integrity/{rule}", cause=cause, severity=severity, database="unified", **more
    )


@dataclass(frozen=True, slots=True)
class _Reference:
    """One declared foreign key of a unified table."""

    child: str
    parent: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]


def judge_references(evidence: Evidence, unified: apsw.Connection) -> JudgedReferences:
    """Check every foreign key; one that dangles is old if it did so in its row's own source."""
    judged = JudgedReferences(in_sources=_source_orphans(evidence))
    sources = _Sources(evidence)
    try:
        for reference in _declared_references(unified):
            judged.declared += 1
            _judge(judged, unified, reference, sources)
    finally:
        sources.close()
    if judged.old:
        where = ", ".join(f"{name}: {count}" for name, count in judged.old.items())
        judged.fault(
            "foreign-key-old",
            f"{sum(judged.old.values())} references dangle as they did in the sources ({where})",
            severity=Severity.NOTE,
        )
    return judged


def _declared_references(connection: apsw.Connection) -> Iterator[_Reference]:
    rows = connection.execute(
        'SELECT t.name, f.id, f."table", f."from", f."to"'
        " FROM pragma_table_list AS t, pragma_foreign_key_list(t.name) AS f"
        " WHERE t.schema = 'main' AND t.type = 'table' ORDER BY t.name, f.id, f.seq"
    ).fetchall()
    grouped: dict[tuple[str, int], list[tuple[str, str, str | None]]] = {}
    for child, number, parent, column, key in rows:
        link = (str(parent), str(column), None if key is None else str(key))
        grouped.setdefault((str(child), int(str(number))), []).append(link)
    for (child, _), parts in grouped.items():
        parent = parts[0][0]
        keys = [key for _, _, key in parts if key]
        if len(keys) < len(parts):  # REFERENCES without columns means the primary key
            keys = [
                str(name)
                for (name,) in connection.execute(
                    "SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (parent,)
                )
            ]
        yield _Reference(child, parent, tuple(column for _, column, _ in parts), tuple(keys))


def _judge(
    judged: JudgedReferences,
    unified: apsw.Connection,
    reference: _Reference,
    sources: _Sources,
) -> None:
    try:
        dangling = unified.execute(
            "SELECT count(*) FROM pragma_foreign_key_check(?) WHERE parent = ? COLLATE NOCASE",
            (reference.child, reference.parent),
        ).get
    except apsw.SQLError as error:
        carried = reference.child.lower() in sources.carried_homes
        judged.fault(
            "foreign-key-mismatch",
            f"a foreign key of {reference.child} cannot be checked: {error}"
            + (" (a carried table's own declaration)" if carried else ""),
            severity=Severity.NOTE if carried else Severity.ERROR,
            table=reference.child,
            actual=str(error),
        )
        return
    if not dangling:
        return
    name = f"{reference.child}.{','.join(reference.columns)} → {reference.parent}"
    broken = _broken(unified, reference, sources)
    for value, source in broken[:_NAMED_MAX]:
        judged.fault(
            "foreign-key-broken",
            f"the reference {name} dangles, but {source} holds the row that it names",
            table=reference.child,
            column=",".join(reference.columns),
            actual=value,
        )
    if len(broken) > _NAMED_MAX:
        cause = f"{len(broken) - _NAMED_MAX} more references {name} dangle like these"
        judged.fault("foreign-key-broken", cause, table=reference.child)
    kept = int(str(dangling)) - len(broken)
    if kept > 0:
        judged.old[name] = judged.old.get(name, 0) + kept


class _Sources:
    """The sources, each opened as the main database at its first use, to look rows up in."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.connections: dict[str, apsw.Connection] = {}
        self.tables: dict[tuple[str, str], Table] = {}
        self.carried = _carried(evidence)
        self.carried_homes = {home.lower() for home in self.carried.values()}

    def close(self) -> None:
        for connection in self.connections.values():
            connection.close()

    def homes(self, reference: _Reference) -> Iterator[_Home]:
        """Yield the source tables whose rows live in the unified parent table."""
        parent = reference.parent.lower()
        places = [
            place
            for place, mapping in self.evidence.mapping.tables.items()
            if parent in {target.lower() for target in mapping.targets}
        ]
        places += [place for place, home in self.carried.items() if home.lower() == parent]
        for source, name in places:
            table = self._table(source, name)
            columns = _key_columns(reference, table) if table else None
            if table is not None and columns is not None:
                yield _Home(self.connections[source], source, table.name, columns)

    def origins(
        self, unified: apsw.Connection, child: str, condition: str
    ) -> dict[int, frozenset[str]]:
        """Return the sources of each row `c` of `child` under `condition`, by its rowid.

        Empty where the mapping does not tell: then any source counts as a row's own.
        """
        found: dict[int, set[str]] = {}
        for (source, _), mapping in self.evidence.mapping.tables.items():
            key = {name.lower(): key for name, key in mapping.targets.items()}.get(child.lower())
            if key is None:
                continue
            sql = (
                f"SELECT {key} FROM {mapping.from_} WHERE {key} IN"
                f" (SELECT c.rowid FROM {quote(child)} AS c WHERE {condition})"
            )
            try:
                for (row,) in unified.execute(sql):
                    found.setdefault(int(str(row)), set()).add(source)
            except apsw.SQLError:
                continue  # the rows checker reports an inverse that fails
        return {row: frozenset(names) for row, names in found.items()}

    def _table(self, source: str, name: str) -> Table | None:
        if source not in self.connections:
            if not is_database(self.evidence, source):
                return None
            self.connections[source] = self.evidence.before.open(source)
            for table in self.evidence.before.tables(source):
                self.tables[source, table.name.lower()] = table
        return self.tables.get((source, name.lower()))


def _key_columns(reference: _Reference, table: Table) -> tuple[str, ...] | None:
    """Return the source columns that hold what the unified key holds."""
    if {key.lower() for key in reference.keys} <= {column.name.lower() for column in table.columns}:
        return reference.keys
    return table.primary_key if len(table.primary_key) == len(reference.keys) else None


@dataclass(frozen=True, slots=True)
class _Home:
    """A source table that may hold the row that a reference names."""

    connection: apsw.Connection
    source: str
    table: str
    columns: tuple[str, ...]

    def holds(self, values: Sequence[Any], texts: int) -> bool:
        """Whether a row has these values; bit n of `texts` says that value n is text as bytes."""
        marks = ["CAST(? AS TEXT)" if texts >> n & 1 else "?" for n in range(len(values))]
        same = " AND ".join(
            f"{quote(column)} = {mark}" for column, mark in zip(self.columns, marks, strict=True)
        )
        sql = f"SELECT 1 FROM {quote(self.table)} WHERE {same} LIMIT 1"
        return self.connection.execute(sql, tuple(values)).get is not None


def _broken(
    unified: apsw.Connection, reference: _Reference, sources: _Sources
) -> list[tuple[str, str]]:
    """Return value and source of each dangling reference whose row its own source holds.

    What a row of one source names by chance in another is no loss of the migration's.
    """
    homes = list(sources.homes(reference))
    if not homes:
        return []
    values = [f"c.{quote(column)}" for column in reference.columns]
    condition = " AND ".join(f"{value} IS NOT NULL" for value in values)
    parent = unified.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE",
        (reference.parent,),
    ).get
    if parent is not None:
        same = " AND ".join(
            f"p.{quote(key)} = {value}" for key, value in zip(reference.keys, values, strict=True)
        )
        there = f"SELECT 1 FROM {quote(reference.parent)} AS p WHERE {same}"
        condition += f" AND NOT EXISTS ({there})"
    came_from = sources.origins(unified, reference.child, condition)
    rowid = "c.rowid" if came_from else "NULL"
    select = typed_select([rowid, *values], f"{quote(reference.child)} AS c WHERE {condition}")
    found: list[tuple[str, str]] = []
    for flags, row, *named in unified.execute(select):
        own = came_from.get(int(str(row)), frozenset()) if came_from else None
        held = (
            home
            for home in homes
            if (own is None or home.source in own) and home.holds(named, int(str(flags)) >> 1)
        )
        if home := next(held, None):
            found.append((_shown(named), f"{home.source}.{home.table}"))
    return found


def _shown(values: Sequence[Any]) -> str:
    texts = (v.decode("utf-8", "backslashreplace") if isinstance(v, bytes) else v for v in values)
    return ", ".join(str(text)[:200] for text in texts)


def is_database(evidence: Evidence, source: str) -> bool:
    """Whether the source is there, has bytes, and is a database."""
    try:
        return evidence.before.state(source) == "sqlite"
    except HarnessError:
        return False


def _carried(evidence: Evidence) -> dict[tuple[str, str], str]:
    if evidence.mapping.carried is None:
        return {}
    connection = evidence.open_after()
    try:
        rows = connection.execute(evidence.mapping.carried)
        return {(str(source), str(table)): str(home) for source, table, home in rows}
    except (apsw.Error, ValueError):
        return {}  # the schema checker reports a query that fails
    finally:
        connection.close()


def _source_orphans(evidence: Evidence) -> dict[str, int]:
    """Return how many references dangle in each source, table by table: the baseline."""
    found: dict[str, int] = {}
    for source in DATABASES:
        if not is_database(evidence, source):
            continue
        connection = evidence.before.open(source)
        try:
            for table in evidence.before.tables(source):
                sql = "SELECT count(*) FROM pragma_foreign_key_check(?)"
                try:
                    count = connection.execute(sql, (table.name,)).get
                except apsw.SQLError:
                    continue  # a declaration that SQLite cannot check
                if count:
                    found[f"{source}.{table.name}"] = int(str(count))
        finally:
            connection.close()
    return found
