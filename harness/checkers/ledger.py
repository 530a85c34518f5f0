"""Ledger: every source row is accounted for exactly once, and no unified row is unexplained.

The entries are the leaves of a Merkle tree (RFC 6962, SHA-256) whose root goes into the
attestation; `store` keeps them, so that what became of one row can be proven later.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from harness.checkers.accounting import LOG_TABLE, Accounts, LedgerEntry, Problems, key_expression
from harness.checkers.attempts import judge_attempts
from harness.checkers.doubled import judge_doubled
from harness.checkers.evidence import Evidence
from harness.checkers.values import render
from harness.database import quote, row_tables
from harness.merkle import MerkleTree
from harness.model import CheckResult, Finding

__all__ = ["check", "entries", "store"]

VERIFIES = (
    "Every source row, carried rows and log lines included, is accounted for exactly once by a"
    " named rule; every unified row that one became is there; every row of a target table is"
    " either what a source row became or declared as added; what an earlier attempt brought in"
    " was known again, and mended; what two sources hold alike came over once."
)
DOES_NOT_VERIFY = "That the values are right (rows) and that they are in use (in-use)."


def entries(evidence: Evidence) -> Iterator[LedgerEntry]:
    """Yield every entry of the ledger in its fixed order; raises apsw.Error."""
    yield from Accounts(evidence)


def check(evidence: Evidence) -> CheckResult:
    """Account for every source row, and compute the ledger's root."""
    tree = MerkleTree()
    examined = {"source rows": 0, "log lines": 0, "unified rows": 0}
    details: dict[str, Any] = {}
    problems = Problems()
    if evidence.after is None:
        problems.add(
            Finding(rule="ledger/no-unified-database", cause="there is no unified database to read")
        )
    else:
        try:
            accounts = Accounts(evidence)
            problems = accounts.problems
            rules: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
            for entry in accounts:
                tree.add(entry.hash())
                rules[entry.source, entry.table][entry.rule] += 1
            with closing(evidence.open_after()) as unified:
                examined["unified rows"] = _check_unified(evidence, unified, problems)
                attempts, examined["earlier attempts"] = judge_attempts(evidence, unified)
                doubled, examined["things in two sources"] = judge_doubled(evidence, unified)
                for finding in (*attempts, *doubled):
                    problems.add(finding)
            examined["log lines"] = accounts.rows.pop(("registry", LOG_TABLE), 0)
            examined["source rows"] = accounts.rows.total()
            details = _details(accounts, tree, rules)
        except apsw.Error as error:
            problems.add(
                Finding(
                    rule="ledger/inverse-fails",
                    cause=f"the unified database cannot be read: {error}",
                    database="unified",
                )
            )
    return CheckResult.judged(
        "ledger",
        problems.all(),
        examined,
        verifies=VERIFIES,
        does_not_verify=DOES_NOT_VERIFY,
        details=details,
    )


def _details(
    accounts: Accounts, tree: MerkleTree, rules: dict[tuple[str, str], Counter[str]]
) -> dict[str, Any]:
    total: Counter[str] = Counter()
    for counts in rules.values():
        total += counts
    places = [*accounts.rows]
    places += [place for place in rules if place not in accounts.rows]
    return {
        "root": tree.root().hex(),
        "leaves": tree.leaves,
        "dispositions": dict(sorted(total.items())),
        "tables": [
            {
                "source": source,
                "table": table,
                "rows": accounts.rows.get((source, table), rules[source, table].total()),
                "dispositions": dict(sorted(rules[source, table].items())),
            }
            for source, table in places
        ],
    }


def _check_unified(evidence: Evidence, unified: apsw.Connection, problems: Problems) -> int:
    """Look for unexplained and for missing rows in every target table; return the rows seen."""
    tables = {table.name.lower(): table for table in row_tables(unified)}
    claims: defaultdict[str, list[str]] = defaultdict(list)
    for mapped in evidence.mapping.tables.values():
        if not _answers(unified, f"SELECT {mapped.key} FROM {mapped.from_}"):
            continue  # told where its rows were to be accounted for, if there were any
        for name, expression in mapped.targets.items():
            claims[name.lower()].append(f"SELECT {expression} FROM {mapped.from_}")
    _check_merged(evidence, unified, claims, problems)
    added = evidence.mapping.added
    declared = f"(SELECT * FROM ({added}))" if added else "(SELECT NULL, NULL, NULL)"
    given = f"WITH given(name, key, rule) AS {declared} SELECT"
    seen = 0
    for name, claimed in claims.items():
        if (table := tables.get(name)) is None:
            continue
        counted = unified.execute(f"SELECT count(*) FROM {quote(table.name)}").fetchall()
        seen += int(str(counted[0][0]))
        existing = f"SELECT {key_expression(table)} FROM {quote(table.name)} AS t"
        ours = f"{given} key FROM given WHERE lower(name) = ?"
        unexplained = f"{existing} EXCEPT {' EXCEPT '.join(claimed)}"
        _report(
            problems,
            unified.execute(
                f"SELECT * FROM ({unexplained}) EXCEPT SELECT * FROM ({ours})", (name,)
            ),
            rule="row-unexplained",
            cause="no source row became it, and it is not declared as added",
            table=table.name,
        )
        _report(
            problems,
            unified.execute(f"SELECT * FROM ({ours}) EXCEPT {existing}", (name,)),
            rule="added-missing",
            cause="it is declared as added, but is not there",
            table=table.name,
        )
        became = " UNION ".join(claimed)
        _report(
            problems,
            unified.execute(f"SELECT * FROM ({ours}) INTERSECT SELECT * FROM ({became})", (name,)),
            rule="added-not-added",
            cause="it is declared as added, but a source row became it",
            table=table.name,
        )
    if added:
        for table_name, key in unified.execute(f"{given} name, key FROM given").fetchall():
            if str(table_name).lower() not in tables:
                _report(
                    problems,
                    iter([(key,)]),
                    rule="added-missing",
                    cause="it is declared as added to a table that is not there",
                    table=str(table_name),
                )
    return seen


def _check_merged(
    evidence: Evidence,
    unified: apsw.Connection,
    claims: dict[str, list[str]],
    problems: Problems,
) -> None:
    """See that a row which is said to be merged shares a unified row with another one."""
    for mapped in evidence.mapping.tables.values():
        rows = f"SELECT {mapped.key} FROM {mapped.from_} WHERE {mapped.rule} = 'merged'"
        if mapped.rule is None or not mapped.targets or not _answers(unified, rows):
            continue
        alone = " AND ".join(
            f"{expression} NOT IN (SELECT * FROM ({' UNION ALL '.join(claims[name.lower()])})"
            " GROUP BY 1 HAVING count(*) > 1)"
            for name, expression in mapped.targets.items()
        )
        for (key,) in unified.execute(f"{rows} AND {alone}"):
            problems.add(
                Finding(
                    rule="ledger/merged-alone",
                    cause="it is said to be merged, but no other row became its unified row",
                    database=mapped.source,
                    table=mapped.table,
                    key=render(key),
                )
            )


def _answers(unified: apsw.Connection, sql: str) -> bool:
    try:
        unified.execute(f"{sql} LIMIT 0").fetchall()
    except apsw.SQLError:
        return False
    return True


def _report(
    problems: Problems, keys: Iterator[tuple[Any, ...]], *, rule: str, cause: str, table: str
) -> None:
    for (key,) in keys:
        problems.add(
            Finding(
                rule=f"ledger/{rule}",
                cause=cause,
                database="unified",
                table=table,
                key=render(key),
            )
        )


_STORE = """
CREATE TABLE ledger(root TEXT NOT NULL, leaves INTEGER NOT NULL);
CREATE TABLE entries(
    number INTEGER PRIMARY KEY, source TEXT NOT NULL, source_table TEXT NOT NULL,
    key TEXT NOT NULL, source_row TEXT NOT NULL, digest TEXT NOT NULL, rule TEXT NOT NULL,
    targets TEXT NOT NULL, leaf BLOB NOT NULL
);
"""


def store(evidence: Evidence, path: Path) -> str:
    """Write every entry and the root into a new SQLite file; return the root in hexadecimal."""
    path.unlink(missing_ok=True)
    tree = MerkleTree()

    def rows() -> Iterator[tuple[Any, ...]]:
        for number, entry in enumerate(entries(evidence)):
            hashed = entry.hash()
            tree.add(hashed)
            targets = json.dumps([[t.table, t.key, t.digest] for t in entry.targets])
            place = (number, entry.source, entry.table, entry.key, entry.row)
            yield *place, entry.digest, entry.rule, targets, hashed

    with closing(apsw.Connection(str(path))) as connection, connection:
        connection.execute(_STORE)
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows())
        connection.execute("CREATE INDEX by_key ON entries(source, source_table, key)")
        root = tree.root().hex()
        connection.execute("INSERT INTO ledger VALUES (?, ?)", (root, tree.leaves))
    return root
