"""The integrity checker: SQLite's own checks, old orphans told from new ones, sequences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import apsw

from harness.checkers.ddl import virtual_shape, words
from harness.checkers.ddl_diff import Kind, catalog_of
from harness.checkers.evidence import Evidence
from harness.checkers.leading import judge_leading
from harness.checkers.references import is_database, judge_references, unified_fault
from harness.checkers.throwaway import throwaway
from harness.checkers.working import text_index_problem
from harness.database import open_scratch
from harness.model import DATABASES, CheckResult, Finding

__all__ = ["check"]

_VERIFIES: Final = (
    "SQLite's integrity check of the unified database (NOT NULL, UNIQUE, CHECK, STRICT types and"
    " indexes included); every foreign key, where a reference that dangles is old only if it"
    " did so in its row's own source; that each AUTOINCREMENT of a source goes on after the highest"
    " number ever given; FTS5's own check of each full-text index against its content."
)
_DOES_NOT_VERIFY: Final = (
    "Whether a reference that holds names the right row (the rows checker does); references that"
    " no schema declares."
)
_NAMED_MAX: Final = 20


@dataclass(slots=True)
class _Work:
    """What one run of the checker gathers."""

    evidence: Evidence
    unified: apsw.Connection
    findings: list[Finding] = field(default_factory=list)
    examined: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


def check(evidence: Evidence) -> CheckResult:
    """Judge the unified database by itself and against the sources' old faults."""
    work = _Work(evidence, open_scratch())
    if evidence.after is not None:
        try:
            with throwaway(evidence.after) as copy:
                work.unified = copy
                _integrity(work)
                _references(work)
                _sequences(work)
                _text_indexes(work)
        except apsw.Error as error:
            work.findings.append(
                unified_fault("unreadable", f"the unified database cannot be read: {error}")
            )
    return CheckResult.judged(
        "integrity",
        work.findings,
        work.examined,
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
        details=work.details,
    )


def _integrity(work: _Work) -> None:
    # The throwaway copy is page by page, so that what is wrong in the file is wrong in it.
    answers = [str(row[0]) for row in work.unified.execute("PRAGMA integrity_check(100)")]
    tables = str(
        work.unified.execute(
            "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type <> 'view'"
        ).get
    )
    work.examined["tables checked by SQLite"] = int(tables)
    if answers != ["ok"]:
        for answer in answers[:_NAMED_MAX]:
            cause = f"SQLite's integrity check says: {answer}"
            work.findings.append(unified_fault("check-failed", cause, actual=answer))


def _references(work: _Work) -> None:
    judged = judge_references(work.evidence, work.unified)
    work.findings += judged.findings
    work.examined["foreign keys"] = judged.declared
    leading = judge_leading(work.evidence, work.unified)
    work.findings += leading.findings
    work.examined["references followed"] = leading.followed
    work.details["references that dangled before"] = judged.old
    work.details["references that dangle in the sources"] = judged.in_sources


def _sequences(work: _Work) -> None:
    """Each source's AUTOINCREMENT must go on where it stood, deleted numbers included."""
    homes: dict[tuple[str, str], str] = {}
    if work.evidence.mapping.sequences is not None:
        try:
            for source, table, home in work.unified.execute(work.evidence.mapping.sequences):
                homes[str(source), str(table).lower()] = str(home)
        except (apsw.Error, ValueError) as error:
            work.findings.append(
                unified_fault("query-failed", f"the mapping's `sequences` query fails: {error}")
            )
    now = _sequence_numbers(work.unified)
    count = 0
    for source in DATABASES:
        if not is_database(work.evidence, source):
            continue
        connection = work.evidence.before.open(source)
        try:
            before = _sequence_numbers(connection)
        finally:
            connection.close()
        for table, number in before.items():
            count += 1
            _sequence(work, source, table, number, homes.get((source, table)), now)
    work.examined["sequences"] = count


def _sequence(
    work: _Work, source: str, table: str, number: int, home: str | None, now: dict[str, int]
) -> None:
    actual = now.get(home.lower()) if home else None
    declared = work.unified.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE",
        (home or "",),
    ).get
    counts = declared is not None and "autoincrement" in words(str(declared))
    if home is not None and counts and actual is not None and actual >= number:
        return
    cause = f"the numbers of {source}.{table} were given up to {number}, and "
    if home is None:
        cause += "the mapping names no unified table that goes on with them"
    elif not counts:
        cause += f"{home} is no AUTOINCREMENT table"
    else:
        cause += f"{home} would give some of them again"
    work.findings.append(
        Finding(
            rule="integrity/sequence-lost",
            cause=cause,
            database=source,
            table=table,
            expected=f"at least {number}",
            actual=None if actual is None else str(actual),
        )
    )


def _sequence_numbers(connection: apsw.Connection) -> dict[str, int]:
    try:
        rows = connection.execute(
            "SELECT lower(name), max(seq) FROM sqlite_sequence"
            " WHERE typeof(seq) = 'integer' AND name IN (SELECT name FROM sqlite_master)"
            " GROUP BY lower(name)"
        ).fetchall()
    except apsw.SQLError:
        return {}
    return {str(name): int(str(number)) for name, number in rows}


def _text_indexes(work: _Work) -> None:
    count = 0
    for item in catalog_of(work.unified).values():
        if item.kind is not Kind.VIRTUAL or virtual_shape(item.sql).module != "fts5":
            continue
        count += 1
        problem = text_index_problem(work.unified, item.name)
        if problem is not None:
            work.findings.append(
                unified_fault(
                    "text-index-out-of-step",
                    f"the full-text index {item.name} does not match its content: {problem}",
                    table=item.name,
                    actual=problem,
                )
            )
    work.examined["full-text indexes"] = count
