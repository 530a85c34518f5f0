"""The schema checker: as declared, every source object accounted for, and all of it works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import apsw

from harness.checkers.ddl import affinity, words
from harness.checkers.ddl_diff import (
    Catalog,
    Difference,
    Item,
    Kind,
    Weight,
    catalog_of,
    compare,
    shape_of,
)
from harness.checkers.decided import Account, Claims, claims_of, source_objects
from harness.checkers.evidence import Evidence
from harness.checkers.throwaway import throwaway
from harness.checkers.working import Trial, try_schema
from harness.database import Column, Table, columns_of, load_vectors
from harness.errors import BadInputError
from harness.model import DATABASES, CheckResult, Finding, Severity

__all__ = ["check"]

_VERIFIES: Final = (
    "The unified database has the schema that the mapping declares, compared by meaning. Every"
    " table, column, index, view, trigger and virtual table of the sources is in it or stands"
    " among the decisions, and what was dropped was dead in the source or is said by something"
    " else. Each view was selected, each trigger fired by made-up rows, each full-text index"
    " checked, rebuilt and checked again, and a table renamed, on a throwaway copy."
)
_DOES_NOT_VERIFY: Final = (
    "Whether the declared schema is a good one, and has the sources' UNIQUE constraints, defaults"
    " and actions of foreign keys; whether a trigger or view that runs does what its author meant,"
    " on each change; whether what was merged or repaired serves its old purpose; triggers counted"
    " as not fired."
)
_SEVERITIES: Final = {
    Weight.BREAKING: Severity.ERROR,
    Weight.LOSSY: Severity.ERROR,
    Weight.ADDITIVE: Severity.WARNING,
    Weight.COSMETIC: Severity.NOTE,
}


def check(evidence: Evidence) -> CheckResult:
    """Judge the unified schema; without a unified database the verdict is unknown."""
    findings: list[Finding] = []
    examined: dict[str, int] = {}
    details: dict[str, Any] = {}
    if evidence.after is not None:
        try:
            with throwaway(evidence.after) as copy:
                _examine(evidence, copy, findings, examined, details)
        except apsw.Error as error:
            findings.append(
                Finding(
                    rule="schema/unreadable",
                    cause=f"the unified database cannot be read: {error}",
                    database="unified",
                    actual=str(error),
                )
            )
    return CheckResult.judged(
        "schema",
        findings,
        examined,
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
        details=details,
    )


def _examine(
    evidence: Evidence,
    copy: apsw.Connection,
    findings: list[Finding],
    examined: dict[str, int],
    details: dict[str, Any],
) -> None:
    unified = catalog_of(copy)
    claims = claims_of(evidence)
    account = source_objects(evidence, claims, unified)
    findings += account.findings
    examined["source objects"] = account.objects
    details["source objects by outcome"] = account.outcomes
    details["decisions"] = account.listed
    tables = {source: evidence.before.tables(source) for source in DATABASES}
    declared: Catalog = {}
    if evidence.mapping.schema_path is not None:
        declared = _declared(evidence.mapping.schema_path)
        unplanned = _unplanned_columns(evidence, tables)
        kept = [
            difference
            for difference in compare(declared, unified)
            if not _expected(difference, unplanned, claims, account)
        ]
        findings += [_finding(difference) for difference in kept]
        examined["declared objects"] = len(declared)
        details["differences by class"] = dict(Counter(d.weight.value for d in kept))
    findings += _affinities(evidence, tables, copy)
    findings += _twins(unified, claims)
    trial = _tried(copy, unified, account, declared)
    findings += trial.findings
    examined |= {
        "views selected": trial.views,
        "triggers fired": trial.triggers - len(trial.silent),
        "virtual tables tried": trial.virtual_tables,
    }
    details["triggers not fired"] = trial.silent


def _tried(copy: apsw.Connection, unified: Catalog, account: Account, declared: Catalog) -> Trial:
    def excused(item: Item) -> bool:
        return item.key not in declared and item.name.lower() in account.dead_carried

    return try_schema(copy, unified, excused=excused)


def _declared(path: Path) -> Catalog:
    try:
        sql = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: the declared schema cannot be read: {error}") from error
    try:
        return dict(_built(sql))
    except apsw.Error as error:
        raise BadInputError(f"{path}: the declared schema does not execute: {error}") from error


@lru_cache(maxsize=16)
def _built(sql: str) -> tuple[tuple[tuple[Kind, str], Item], ...]:
    """Execute the declared schema in memory, so that SQLite itself says what it declares."""
    connection = apsw.Connection(":memory:")
    try:
        load_vectors(connection)
        connection.execute(sql)
        return tuple(catalog_of(connection).items())
    finally:
        connection.close()


def _expected(
    difference: Difference, unplanned: frozenset[str], claims: Claims, account: Account
) -> bool:
    """Whether an addition is one that unplanned source objects bring along."""
    if difference.weight is not Weight.ADDITIVE:
        return False
    item = difference.item
    if difference.column is not None:
        return difference.column in unplanned
    homes = {name.lower() for name in claims.carried.values()}
    return item.table.lower() in homes or item.name.lower() in account.twins | claims.names


def _unplanned_columns(evidence: Evidence, tables: Mapping[str, Sequence[Table]]) -> frozenset[str]:
    """Return the names under which columns that nobody planned for are kept."""
    names: set[str] = set()
    for (source, name), mapping in evidence.mapping.tables.items():
        if mapping.other_columns is None:
            continue
        known = {column.lower() for column in mapping.columns}
        for table in tables[source]:
            if table.name.lower() == name.lower():
                for column in table.columns:
                    if column.name.lower() not in known:
                        names.update(words(mapping.inverse_of(column.name) or ""))
    return frozenset(names)


def _affinities(
    evidence: Evidence, tables: Mapping[str, Sequence[Table]], copy: apsw.Connection
) -> Iterator[Finding]:
    """Note where a column of the same name has another affinity in the unified table."""
    for (source, name), mapping in evidence.mapping.tables.items():
        for table in tables[source]:
            if table.name.lower() != name.lower():
                continue
            for target in mapping.targets:
                theirs = {c.name.lower(): c.declared_type for c in columns_of(copy, target)}
                yield from _affinity_notes(source, name, target, table.columns, theirs)


def _twins(unified: Catalog, claims: Claims) -> Iterator[Finding]:
    """Warn of indexes and triggers that do the same work twice, but for those carried over."""
    homes = {name.lower() for name in claims.carried.values()}
    seen: dict[Any, Item] = {}
    for item in unified.values():
        if item.kind not in (Kind.INDEX, Kind.TRIGGER) or item.table.lower() in homes:
            continue
        first = seen.setdefault((item.kind, shape_of(item)), item)
        if first is not item:
            yield Finding(
                rule="schema/twice",
                severity=Severity.WARNING,
                cause=f"the {item.kind} {item.name} does what {first.name} does",
                database="unified",
                table=item.table,
                key=item.name,
            )


def _affinity_notes(
    source: str, table: str, target: str, columns: Iterable[Column], theirs: dict[str, str]
) -> Iterator[Finding]:
    for column in columns:
        other = theirs.get(column.name.lower())
        if other is None or affinity(other) == affinity(column.declared_type):
            continue
        yield Finding(
            rule="schema/affinity-changed",
            severity=Severity.NOTE,
            cause=f"{target}.{column.name} has another affinity than in {source}.{table}; its"
            " values can come back exactly only through residue",
            database=source,
            table=table,
            column=column.name,
            expected=f"{column.declared_type} ({affinity(column.declared_type)})",
            actual=f"{other} ({affinity(other)})",
        )


def _finding(difference: Difference) -> Finding:
    return Finding(
        rule=difference.rule,
        severity=_SEVERITIES[difference.weight],
        cause=f"{difference.weight.value}: {difference.cause}",
        database="unified",
        table=difference.item.table,
        key=difference.item.name,
        column=difference.column,
        expected=difference.expected,
        actual=difference.actual,
    )
