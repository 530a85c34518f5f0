from __future__ import annotations

from pathlib import Path

import pytest
from handmade import evidence, rules

from harness.checkers import integrity
from harness.model import CheckResult, Severity, Verdict

LEGACY = """
CREATE TABLE blocks (id TEXT PRIMARY KEY, body TEXT);
CREATE TABLE vectors (id TEXT, block TEXT REFERENCES blocks (id));
CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, said TEXT);
INSERT INTO blocks VALUES ('b1', 'one'), ('b2', 'two');
INSERT INTO vectors VALUES ('v1', 'b1'), ('v2', 'nowhere');
INSERT INTO log VALUES (7, 'x');
DELETE FROM log;
"""
UNIFIED = """
CREATE TABLE memory (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT);
CREATE TABLE embeddings (seq INTEGER PRIMARY KEY, id TEXT, block TEXT REFERENCES memory (id));
CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, said TEXT);
CREATE VIRTUAL TABLE memory_fts USING fts5(body, content='memory', content_rowid='seq');
INSERT INTO memory VALUES (1, 'b1', 'one'), (2, 'b2', 'two');
INSERT INTO embeddings VALUES (1, 'v1', 'b1'), (2, 'v2', 'nowhere');
INSERT INTO log VALUES (7, 'x');
DELETE FROM log;
INSERT INTO memory_fts (memory_fts) VALUES ('rebuild');
"""
TABLES = {
    "legacy.blocks": {
        "from": "memory",
        "key": "seq",
        "columns": {"id": "id", "body": "body"},
        "targets": {"memory": "seq"},
    },
    "legacy.vectors": {
        "from": "embeddings",
        "key": "seq",
        "columns": {"id": "id", "block": "block"},
        "targets": {"embeddings": "seq"},
    },
}


def check(
    directory: Path,
    unified: str = UNIFIED,
    *,
    legacy: str = LEGACY,
    sequences: str = "SELECT 'legacy', 'log', 'log'",
) -> CheckResult:
    return integrity.check(
        evidence(
            directory,
            sources={"legacy": legacy},
            unified=unified,
            tables=TABLES,
            carried="SELECT 'legacy', 'log', 'log'",
            sequences=sequences,
        )
    )


def test_a_sound_database_with_an_old_orphan_is_valid(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert result.verdict is Verdict.VALID
    assert rules(result, Severity.NOTE) == {"integrity/foreign-key-old"}
    assert result.details["references that dangled before"] == {"embeddings.block → memory": 1}
    assert result.details["references that dangle in the sources"] == {"legacy.vectors": 1}
    assert result.examined["foreign keys"] == 1
    assert result.examined["sequences"] == 1
    assert result.examined["full-text indexes"] == 1


def test_nothing_after_is_unknown(tmp_path: Path) -> None:
    made = evidence(tmp_path, sources={"legacy": LEGACY}, unified=None)
    assert integrity.check(made).verdict is Verdict.UNKNOWN


def test_a_reference_whose_row_a_source_holds_is_broken(tmp_path: Path) -> None:
    lost = (
        "DELETE FROM memory WHERE id = 'b1'; INSERT INTO memory_fts (memory_fts) VALUES ('rebuild')"
    )
    result = check(tmp_path, UNIFIED + lost)
    assert rules(result) == {"integrity/foreign-key-broken"}
    assert [f.actual for f in result.findings if f.severity is Severity.ERROR] == ["b1"]


def test_a_reference_with_odd_bytes_is_no_crash(tmp_path: Path) -> None:
    odd = "INSERT INTO {} VALUES (CAST(x'61ff' AS TEXT){});"
    vector = "INSERT INTO vectors VALUES ('v3', CAST(x'61ff' AS TEXT));"
    unified = UNIFIED + "INSERT INTO embeddings VALUES (3, 'v3', CAST(x'61ff' AS TEXT));"
    result = check(tmp_path, unified, legacy=LEGACY + odd.format("blocks", ", 'odd'") + vector)
    assert [f.actual for f in result.findings if f.severity is Severity.ERROR] == ["a\\xff"]


def test_a_parent_table_that_is_gone_breaks_what_held(tmp_path: Path) -> None:
    result = check(tmp_path, UNIFIED + "DROP TABLE memory_fts; DROP TABLE memory;")
    assert "integrity/foreign-key-broken" in rules(result)


def test_an_index_over_text_out_of_step_is_found(tmp_path: Path) -> None:
    stale = UNIFIED + "UPDATE memory SET body = 'changed' WHERE id = 'b1';"
    assert rules(check(tmp_path, stale)) == {"integrity/text-index-out-of-step"}


@pytest.mark.parametrize(
    ("unified", "sequences"),
    [
        (UNIFIED + "DELETE FROM sqlite_sequence;", "SELECT 'legacy', 'log', 'log'"),
        (UNIFIED + "UPDATE sqlite_sequence SET seq = 6;", "SELECT 'legacy', 'log', 'log'"),
        (UNIFIED, "SELECT 'legacy', 'log', 'memory'"),
        (UNIFIED, "SELECT 1, 2, 3 WHERE 0"),
    ],
)
def test_a_sequence_that_would_repeat_numbers_is_found(
    tmp_path: Path, unified: str, sequences: str
) -> None:
    assert rules(check(tmp_path, unified, sequences=sequences)) == {"integrity/sequence-lost"}


def test_a_failing_query_of_the_mapping_is_a_finding(tmp_path: Path) -> None:
    result = check(tmp_path, sequences="SELECT * FROM nowhere")
    assert "integrity/query-failed" in rules(result)


def test_what_integrity_check_says_is_a_finding(tmp_path: Path) -> None:
    wrong = (
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'body TEXT',"
        " 'body TEXT NOT NULL') WHERE name = 'memory'; PRAGMA writable_schema = OFF;"
        "INSERT INTO memory VALUES (3, 'b3', NULL)"
    )
    result = check(tmp_path, UNIFIED + wrong)
    assert "integrity/check-failed" in rules(result)


def test_a_file_that_is_no_database_is_a_finding(tmp_path: Path) -> None:
    made = evidence(tmp_path, sources={"legacy": LEGACY}, unified="CREATE TABLE t (a)")
    assert made.after is not None
    made.after.write_bytes(b"no database at all " * 400)
    assert rules(integrity.check(made)) == {"integrity/unreadable"}


def test_views_that_name_their_database_are_no_fault(tmp_path: Path) -> None:
    view = "CREATE VIEW told AS SELECT said FROM main.log;"
    lost = "DELETE FROM memory WHERE id = 'b1';"
    result = check(tmp_path, UNIFIED + view + lost, legacy=LEGACY + view)
    assert "integrity/foreign-key-broken" in rules(result)
    assert "integrity/unreadable" not in rules(result)


def test_rows_of_carried_tables_are_looked_up_too(tmp_path: Path) -> None:
    tables = (
        "CREATE TABLE p (a INT, b INT, PRIMARY KEY (a, b));"
        "CREATE TABLE c (id INTEGER PRIMARY KEY, x INT, y INT, FOREIGN KEY (x, y) REFERENCES p);"
    )
    rows = "INSERT INTO c VALUES " + ",".join(f"({n}, {n}, 1)" for n in range(30)) + ";"
    parents = "INSERT INTO p VALUES " + ",".join(f"({n}, 1)" for n in range(25)) + ";"
    made = evidence(
        tmp_path,
        sources={"legacy": LEGACY + tables + rows + parents},
        unified=UNIFIED + tables + rows,
        tables=TABLES,
        carried="SELECT 'legacy', 'log', 'log' UNION ALL SELECT 'legacy', 'p', 'p'"
        " UNION ALL SELECT 'legacy', 'c', 'c'",
        sequences="SELECT 'legacy', 'log', 'log'",
    )
    result = integrity.check(made)
    broken = [f for f in result.findings if f.rule == "integrity/foreign-key-broken"]
    assert len(broken) == 21
    assert broken[0].actual == "0, 1"
    assert broken[-1].cause.startswith("5 more references")
    assert result.details["references that dangled before"]["c.x,y → p"] == 5


def test_a_foreign_key_that_sqlite_cannot_check_is_found(tmp_path: Path) -> None:
    odd = (
        "CREATE TABLE q (a); CREATE TABLE r (a REFERENCES q (a));"
        "INSERT INTO r VALUES (1); INSERT INTO q VALUES (1);"
    )
    assert rules(check(tmp_path / "planned", UNIFIED + odd)) == {"integrity/foreign-key-mismatch"}
    made = evidence(
        tmp_path / "carried",
        sources={"legacy": LEGACY + odd},
        unified=UNIFIED + odd,
        tables=TABLES,
        carried="SELECT 'legacy', 'r', 'r'",
        sequences="SELECT 'legacy', 'log', 'log'",
    )
    result = integrity.check(made)
    assert rules(result) == set()
    assert "integrity/foreign-key-mismatch" in rules(result, Severity.NOTE)
