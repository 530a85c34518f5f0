"""What the registry's log tells is read again, and compared with the tables that hold it."""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade import evidence, rules

from harness.checkers.evidence import Evidence
from harness.checkers.registry import read_log
from harness.checkers.rows import check
from harness.model import Verdict

START = b'{"message":"Starting Model Registry Service","ollamaHost":"h","syntheticHost":"h"}'
CHECK = b'{"message":"Health check completed","ollama":true,"synthetic":false,"active":"%s"}'
FAILED = b'{"message":"Synthetic health check failed","error":""}'
LOG = [START, CHECK % b"ollama", FAILED, CHECK % b"ollama", CHECK % b"synthetic", b'{"messa']
UNIFIED = """
CREATE TABLE log(n INTEGER PRIMARY KEY, raw BLOB);
CREATE TABLE health(n, provider, healthy);
INSERT INTO health VALUES (2, 'ollama', 1), (2, 'synthetic', 0), (4, 'ollama', 1),
    (4, 'synthetic', 0), (5, 'ollama', 1), (5, 'synthetic', 0);
CREATE TABLE failovers(n, a, b);
INSERT INTO failovers VALUES (5, 'ollama', 'synthetic');
CREATE TABLE providers(name);
INSERT INTO providers VALUES ('ollama'), ('synthetic');
"""
REGISTRY = {
    "lines": "SELECT n, raw FROM log",
    "last_newline": "SELECT 1",
    "health": "SELECT n, provider, healthy FROM health",
    "failovers": "SELECT n, a, b FROM failovers",
    "providers": "SELECT name FROM providers",
}


# The same log with times, and everything asked for that can be asked of it.
TIMED = [
    line.replace(b"{", b'{"timestamp":"2025-09-1%dT01:02:03Z",' % n, 1)
    for n, line in enumerate(LOG)
]
ALL_ASKED = REGISTRY | {
    "health": "SELECT n, provider, healthy, at FROM checks",
    "failovers": "SELECT n, a, b, at, reason IS NOT NULL FROM moves",
    "states": "SELECT name, status, active, at FROM states",
    "days": "SELECT provider, day, checks, well FROM days",
}
ALL_TOLD = """
CREATE TABLE checks(n, provider, healthy, at);
INSERT INTO checks SELECT n, provider, healthy, '2025-09-1' || (n - 1) || 'T01:02:03Z' FROM health;
CREATE TABLE moves(n, a, b, at, reason);
INSERT INTO moves VALUES (5, 'ollama', 'synthetic', '2025-09-14T01:02:03Z', NULL);
CREATE TABLE states(name, status, active, at);
INSERT INTO states VALUES ('ollama', 'healthy', 0, '2025-09-14T01:02:03Z'),
    ('synthetic', 'unhealthy', 1, '2025-09-14T01:02:03Z');
CREATE TABLE days(provider, day, checks, well);
INSERT INTO days SELECT provider, substr(at, 1, 10), 1, healthy FROM checks;
"""


def made(
    directory: Path,
    unified: str = "",
    *,
    lines: list[bytes] = LOG,
    asked: dict[str, str] = REGISTRY,
) -> Evidence:
    log = directory / "before" / "logs" / "model-registry.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"".join(line + b"\n" for line in lines))
    kept = "".join(
        f"INSERT INTO log VALUES ({n}, x'{line.hex()}');" for n, line in enumerate(lines, 1)
    )
    return evidence(directory, sources={}, unified=UNIFIED + kept + unified, registry=asked)


def test_what_the_log_tells_is_there(tmp_path: Path) -> None:
    result = check(made(tmp_path))
    assert (result.verdict, result.findings) == (Verdict.VALID, ())
    assert result.examined["log lines"] == 6


@pytest.mark.parametrize(
    ("unified", "rule", "table"),
    [
        ("DELETE FROM failovers", "registry-missing", "failovers"),
        ("UPDATE failovers SET b = 'ollama'", "registry-invented", "failovers"),
        ("INSERT INTO failovers SELECT * FROM failovers", "registry-invented", "failovers"),
        ("UPDATE health SET healthy = 1 WHERE n = 4", "registry-missing", "health"),
        ("INSERT INTO health VALUES (6, 'ollama', 1)", "registry-invented", "health"),
        ("DELETE FROM providers WHERE name = 'ollama'", "registry-missing", "providers"),
        ("INSERT INTO providers VALUES ('other')", "registry-invented", "providers"),
    ],
)
def test_what_the_log_does_not_tell_is_found(
    unified: str, rule: str, table: str, tmp_path: Path
) -> None:
    result = check(made(tmp_path, unified + ";"))
    assert f"rows/{rule}" in rules(result)
    assert {finding.table for finding in result.findings} == {table}


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("", None),
        ("UPDATE checks SET at = '2025-09-11' WHERE n = 2 AND healthy", "health"),
        ("UPDATE moves SET at = '2025-09-11T01:02:03Z'", "failovers"),
        ("UPDATE moves SET reason = 'ollama was unhealthy'", "failovers"),
        ("UPDATE states SET status = 'healthy'", "states"),
        ("UPDATE states SET active = 1 - active", "states"),
        ("UPDATE states SET at = NULL WHERE active", "states"),
        ("DELETE FROM states WHERE active", None),
        ("UPDATE days SET well = 1", "days"),
        ("UPDATE days SET checks = checks + 1", "days"),
        ("DELETE FROM days WHERE day = '2025-09-11'", "days"),
    ],
)
def test_times_reasons_states_and_sums_are_judged_where_they_are_asked_for(
    change: str, table: str | None, tmp_path: Path
) -> None:
    result = check(made(tmp_path, ALL_TOLD + change + ";", lines=TIMED, asked=ALL_ASKED))
    assert {finding.table for finding in result.findings} == ({table} if table else set())


def test_a_failed_check_may_stand_in_the_health_history_too(tmp_path: Path) -> None:
    kept = "INSERT INTO health VALUES (3, 'synthetic', 0);"
    assert check(made(tmp_path, kept)).verdict is Verdict.VALID


def test_many_missing_rows_are_counted_and_some_listed(tmp_path: Path) -> None:
    rows = ", ".join(f"({n}, 'x', 1)" for n in range(100, 140))
    result = check(made(tmp_path, f"INSERT INTO health VALUES {rows};"))
    assert len(result.findings) == 26
    assert result.findings[-1].cause == "15 more rows are invented and not listed"


def test_lines_that_are_no_objects_tell_nothing() -> None:
    lines = [b"", b"[1]", b"\xff", b"[" * 100_000, b'{"message": 5}', b'{"active":"x"}']
    told = read_log(lines)
    assert not told.health
    assert not told.failovers
    assert not told.providers


def test_a_full_text_table_with_rows_of_its_own_is_compared(tmp_path: Path) -> None:
    table = """CREATE VIRTUAL TABLE notes USING fts5(title, body UNINDEXED);
    INSERT INTO notes(rowid, title, body) VALUES (7, 'a title', 'a body'), (9, NULL, x'00');"""
    decided = """CREATE TABLE decided(a, b, c, d, e, f);
    INSERT INTO decided VALUES ('legacy', 'virtual table', 'notes', 'carried', 'r', 'notes');"""
    keys = {"decisions": "SELECT * FROM decided"}
    sources = {"legacy": table}
    good = evidence(tmp_path / "1", sources=sources, unified=table + decided, **keys)
    assert (check(good).verdict, check(good).examined["legacy rows"]) == (Verdict.VALID, 2)
    changes = ("UPDATE notes SET body = 'other' WHERE rowid = 7", "DELETE FROM notes",
               "UPDATE notes SET rowid = 8 WHERE rowid = 7")  # fmt: skip
    for number, change in enumerate(changes, start=2):
        unified = f"{table}{decided}{change};"
        spoiled = evidence(tmp_path / str(number), sources=sources, unified=unified, **keys)
        assert check(spoiled).verdict is Verdict.INVALID
    lost = evidence(tmp_path / "lost", sources=sources, unified="CREATE TABLE x(y)")
    assert rules(check(lost)) == {"rows/table-lost"}


def test_a_lost_row_is_told_as_one_of_several(tmp_path: Path) -> None:
    table = """CREATE TABLE e(id TEXT PRIMARY KEY, block_id TEXT);
    INSERT INTO e VALUES ('1', 'b'), ('2', 'b'), ('3', 'b'), ('4', 'c');"""
    unified = table + "DELETE FROM e WHERE id = '2';"
    carried = "SELECT 'legacy', 'e', 'e'"
    result = check(evidence(tmp_path, sources={"legacy": table}, unified=unified, carried=carried))
    assert [f.cause for f in result.findings] == [
        "the row cannot be given back from the unified database: it is one of 3 rows of"
        " block_id 'b'"
    ]
