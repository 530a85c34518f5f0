"""Foreign keys of the unified database: which dangle, and which did so before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import apsw

from harness.checkers.evidence import Evidence
from harness.checkers.throwaway import attach_at_rest
from harness.database import open_scratch, quote
from harness.errors import HarnessError
from harness.model import DATABASES, Finding, Severity

__all__ = ["JudgedReferences", "is_database", "judge_references"]

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
        self.findings.append(
            Finding(
                rule=f"integrity/{rule}",
                cause=cause,
                severity=severity,
                database="unified",
                **more,
            )
        )


@dataclass(frozen=True, slots=True)
class _Reference:
    """One declared foreign key of a unified table."""

    child: str
    parent: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]


def judge_references(evidence: Evidence, unified: apsw.Connection) -> JudgedReferences:
    """Check every foreign key; one that dangles is old unless a source holds the row it names."""
    judged = JudgedReferences(in_sources=_source_orphans(evidence))
    sources = _WithSources(evidence)
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
    sources: _WithSources,
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
    broken = sources.broken(reference)
    if isinstance(broken, str):
        judged.fault("foreign-key-unjudged", f"{name} could not be judged: {broken}")
        return
    for key, value, source in broken[:_NAMED_MAX]:
        judged.fault(
            "foreign-key-broken",
            f"the reference {name} dangles, but {source} holds the row that it names",
            table=reference.child,
            key=key,
            column=",".join(reference.columns),
            actual=value,
        )
    if len(broken) > _NAMED_MAX:
        cause = f"{len(broken) - _NAMED_MAX} more references {name} dangle like these"
        judged.fault("foreign-key-broken", cause, table=reference.child)
    kept = int(str(dangling)) - len(broken)
    if kept > 0:
        judged.old[name] = judged.old.get(name, 0) + kept


class _WithSources:
    """The unified database and the sources on one connection, to look references up."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.connection: apsw.Connection | None = None
        self.tables: dict[tuple[str, str], tuple[str, frozenset[str], tuple[str, ...]]] = {}
        self.carried = _carried(evidence)
        self.carried_homes = {home.lower() for home in self.carried.values()}

    def open(self) -> apsw.Connection:
        if self.connection is None:
            self.connection = open_scratch()
            assert self.evidence.after is not None  # noqa: S101 (check asks first)
            attach_at_rest(self.connection, self.evidence.after, "unified")
            for source in DATABASES:
                if is_database(self.evidence, source):
                    attach_at_rest(self.connection, self.evidence.before.path(source), source)
                    for table in self.evidence.before.tables(source):
                        names = frozenset(column.name.lower() for column in table.columns)
                        known = (table.name, names, table.primary_key)
                        self.tables[source, table.name.lower()] = known
        return self.connection

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()

    def homes(self, parent: str) -> Iterator[tuple[str, str]]:
        """Yield the source tables whose rows live in a unified table."""
        for (source, table), mapping in self.evidence.mapping.tables.items():
            if parent.lower() in {target.lower() for target in mapping.targets}:
                yield source, table.lower()
        for (source, table), home in self.carried.items():
            if home.lower() == parent.lower():
                yield source, table.lower()

    def broken(self, reference: _Reference) -> list[tuple[str, str, str]] | str:
        """Return child key, value and source of each reference that held in a source."""
        connection = self.open()
        child, parent = (f"unified.{quote(n)}" for n in (reference.child, reference.parent))
        values = [f"c.{quote(column)}" for column in reference.columns]
        held: list[str] = []
        for source, table in self.homes(reference.parent):
            found = self.tables.get((source, table))
            columns = self._keys(reference, found)
            if found is None or columns is None:
                continue
            same = " AND ".join(
                f"p.{quote(key)} = {value}" for key, value in zip(columns, values, strict=True)
            )
            held.append(
                f"WHEN EXISTS (SELECT 1 FROM {quote(source)}.{quote(found[0])} AS p WHERE {same})"
                f" THEN '{source}.{found[0].replace(chr(39), chr(39) * 2)}'"
            )
        if not held:
            return []
        try:
            return self._query(connection, reference, child, parent, values, held)
        except apsw.Error as error:
            return str(error)

    def _query(
        self,
        connection: apsw.Connection,
        reference: _Reference,
        child: str,
        parent: str,
        values: list[str],
        held: list[str],
    ) -> list[tuple[str, str, str]]:
        present = " AND ".join(f"{value} IS NOT NULL" for value in values)
        found = "1"
        exists = connection.execute(
            "SELECT 1 FROM unified.sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE",
            (reference.parent,),
        ).get
        if exists:
            same = " AND ".join(
                f"{value} = q.{quote(key)}"
                for key, value in zip(reference.keys, values, strict=True)
            )
            found = f"NOT EXISTS (SELECT 1 FROM {parent} AS q WHERE {same})"
        shown = " || ',' || ".join(f"substr(hex({value}), 1, 200)" for value in values)
        rows = connection.execute(
            f"SELECT hex({values[0]}), {shown}, CASE {' '.join(held)} END AS source"
            f" FROM {child} AS c WHERE {present} AND {found} AND source IS NOT NULL"
        )
        return [(_shown(str(k)), _shown(str(v)), str(s)) for k, v, s in rows]

    def _keys(
        self,
        reference: _Reference,
        found: tuple[str, frozenset[str], tuple[str, ...]] | None,
    ) -> tuple[str, ...] | None:
        """Return the source columns that hold what the unified key holds."""
        if found is None:
            return None
        _, names, primary = found
        if {key.lower() for key in reference.keys} <= names:
            return reference.keys
        return primary if len(primary) == len(reference.keys) else None


def _shown(hexadecimal: str) -> str:
    parts = [
        bytes.fromhex(part).decode("utf-8", "backslashreplace") for part in hexadecimal.split(",")
    ]
    return ", ".join(parts)


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
