"""Rows: every source row can be rebuilt from the unified database, value for value, type for type.

The mapping's inverse (or, for a table that nobody planned, the carried table itself) is one side,
the source table the other; the registry's log is compared line by line as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import apsw

from harness.checkers.compare import Comparison, SideError, compare
from harness.checkers.digests import Side
from harness.checkers.evidence import Evidence
from harness.checkers.explaining import FINDINGS_MAX, Place, explain
from harness.checkers.plan import (
    Correspondence,
    correspondences,
    rowid_name,
    source_tables,
    stores_no_numbers,
)
from harness.checkers.registry import check_lines, check_told
from harness.checkers.residue import residue_of
from harness.checkers.shown import shown_otherwise
from harness.checkers.worker import Worker
from harness.database import Table, quote
from harness.mapping import TableMapping
from harness.model import DATABASES, CheckResult, Finding

__all__ = ["check"]

VERIFIES = (
    "Every row of every source table can be rebuilt from the unified database alone: the same"
    " values, the same storage classes, the same bytes and NULLs, as often as it was there, and"
    " no row that was not. A value that stands a second time for services to read is the same"
    " there. Every line of the registry's log is there, byte for byte, and the providers, health"
    " checks, failovers and sums of days that the lines tell of."
)
DOES_NOT_VERIFY = (
    "That a value is where services look for it (in-use), that the tables' declarations are right"
    " (schema), the order in which rows lie in their table, and full-text tables that keep no"
    " content of their own."
)


@dataclass(slots=True)
class _Tally:
    """What accumulates over the tables, and the second process that large ones share."""

    findings: list[Finding] = field(default_factory=list)
    examined: dict[str, int] = field(default_factory=dict)
    tables: list[dict[str, Any]] = field(default_factory=list)
    residue: list[dict[str, Any]] = field(default_factory=list)
    worker: Worker | None = None


def check(evidence: Evidence) -> CheckResult:
    """Compare every source table and the log with what the unified database gives back."""
    tally = _Tally(examined={f"{source} rows": 0 for source in DATABASES})
    tally.examined["log lines"] = 0
    if evidence.after is None:
        tally.findings.append(
            Finding(rule="rows/no-unified-database", cause="there is no unified database to read")
        )
    else:
        try:
            with closing(evidence.open_after()) as unified, Worker() as worker:
                tally.worker = worker
                _check_all(evidence, unified, tally)
        except apsw.Error as error:
            tally.findings.append(
                Finding(
                    rule="rows/inverse-fails",
                    cause=f"the unified database cannot be read: {error}",
                    database="unified",
                )
            )
    return CheckResult.judged(
        "rows",
        tally.findings,
        tally.examined,
        verifies=VERIFIES,
        does_not_verify=DOES_NOT_VERIFY,
        details={"tables": tally.tables, "residue": tally.residue},
    )


def _check_all(evidence: Evidence, unified: apsw.Connection, tally: _Tally) -> None:
    plan, problems = correspondences(evidence, unified, check="rows")
    tally.findings += problems
    for source in DATABASES:
        tables = source_tables(evidence, source)
        if not tables:
            continue
        with closing(evidence.before.open(source)) as before:
            for table in tables:
                found = plan.pop((source, table.name), None)
                if found is None:
                    _lost(before, source, table, tally)
                else:
                    _check_table(evidence, table, found, (before, unified), tally)
    for left in plan.values():
        tally.findings += _invented(unified, left)
    _check_log(evidence, unified, tally)


def _lost(before: apsw.Connection, source: str, table: Table, tally: _Tally) -> None:
    counted = before.execute(f"SELECT count(*) FROM {quote(table.name)}").fetchall()
    rows = int(str(counted[0][0]))
    tally.examined[f"{source} rows"] += rows
    tally.findings.append(
        Finding(
            rule="rows/table-lost",
            cause=f"the table is neither in the mapping nor carried; it holds {rows} rows",
            database=source,
            table=table.name,
        )
    )


def _check_table(
    evidence: Evidence,
    table: Table,
    found: Correspondence,
    connections: tuple[apsw.Connection, apsw.Connection],
    tally: _Tally,
) -> None:
    columns = [c.name for c in table.columns if found.inverse_of(c.name) is not None]
    for column in table.columns:
        if column.name not in columns:
            tally.findings.append(
                Finding(
                    rule="rows/column-lost",
                    cause="the mapping has no inverse for this column",
                    database=found.source,
                    table=table.name,
                    column=column.name,
                )
            )
    key = tuple(columns.index(name) for name in table.primary_key if name in columns)
    key = key if len(key) == len(table.primary_key) else ()
    path = evidence.before.path(found.source)
    declared = {column.name: column.declared_type for column in table.columns}
    left = Side.table(
        path,
        table.name,
        columns,
        key=key,
        rowid=rowid_name(table),
        textual=[n for n, name in enumerate(columns) if stores_no_numbers(declared[name])],
    )
    right = Side(
        path=str(evidence.after),
        source=found.from_,
        expressions=tuple(found.inverse_of(name) or "NULL" for name in columns),
        key=key,
        row=found.row(table),
    )
    try:
        comparison = compare(
            left, right, listed_max=FINDINGS_MAX, connections=connections, worker=tally.worker
        )
    except SideError as error:
        if not error.right:
            raise
        tally.findings.append(_inverse_fails(found.source, table.name, str(error)))
        return
    place = Place(source=found.source, table=table.name, columns=tuple(columns), key=key)
    tally.findings += explain(place, comparison, connections[0])
    tally.examined[f"{found.source} rows"] += comparison.left_rows
    tally.tables.append(_figures(found, comparison))
    if isinstance(found.mapped, TableMapping):
        try:
            tally.residue += residue_of(
                connections[1], found.mapped, table, of=comparison.right_rows
            )
            tally.findings += shown_otherwise(connections[1], found.mapped)
        except apsw.Error as error:
            text = f"its residue, or what it shows: {error}"
            tally.findings.append(_inverse_fails(found.source, table.name, text))


def _figures(found: Correspondence, comparison: Comparison) -> dict[str, Any]:
    return {
        "source": found.source,
        "table": found.table,
        "how": "carried" if found.mapped is None else "mapped",
        "rows": comparison.left_rows,
        "given_back": comparison.right_rows,
        "missing": comparison.missing,
        "invented": comparison.invented,
        "changed": comparison.changed,
    }


def _inverse_fails(source: str, table: str | None, text: str) -> Finding:
    return Finding(
        rule="rows/inverse-fails",
        cause=f"the mapping's SQL fails on the unified database: {text}",
        database=source,
        table=table,
    )


def _invented(unified: apsw.Connection, found: Correspondence) -> Iterator[Finding]:
    """Judge a table that the mapping knows and the source does not have: it must yield nothing."""
    try:
        counted = unified.execute(f"SELECT count(*) FROM {found.from_}").fetchall()
    except apsw.SQLError:
        return  # nothing was made for a table that was never there
    rows = int(str(counted[0][0]))
    if rows:
        yield Finding(
            rule="rows/row-invented",
            cause=f"the source has no such table, but {rows} rows are given back for it",
            database=found.source,
            table=found.table,
        )


def _check_log(evidence: Evidence, unified: apsw.Connection, tally: _Tally) -> None:
    before, registry = evidence.before, evidence.mapping.registry
    there = before.state("registry") == "file"
    if registry is None:
        if there:
            tally.findings.append(
                Finding(
                    rule="rows/table-lost",
                    cause="the mapping does not say where the registry's log went",
                    database="registry",
                )
            )
        return
    try:
        lines, findings = check_lines(evidence, unified, registry)
        tally.examined["log lines"] = lines
        tally.findings += findings
        tally.findings += check_told(evidence, unified)
    except apsw.Error as error:
        tally.findings.append(_inverse_fails("registry", None, str(error)))
