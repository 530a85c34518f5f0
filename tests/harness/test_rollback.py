from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from handmade import mapping, rules, tree

from harness.checkers import rollback
from harness.checkers.evidence import Evidence
from harness.model import Verdict
from harness.snapshot import Snapshot

ROOT = """
CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a);
INSERT INTO t VALUES (5, 'x');
CREATE TRIGGER watch AFTER INSERT ON t BEGIN SELECT 1; END;
"""
FILES = {".env": "A=1\n", "logs/model-registry.log": "{}\n"}


@pytest.fixture
def made(tmp_path: Path) -> Evidence:
    before = tree(tmp_path / "before", FILES, root=ROOT, legacy="CREATE TABLE l (a);")
    after = tmp_path / "rolled_back"
    shutil.copytree(before, after)
    return Evidence(
        before=Snapshot.of(before),
        mapping=mapping(tmp_path),
        rolled_back=Snapshot.of(after),
        backups={"before": "backups/pre"},
    )


def test_a_tree_as_it_was_is_valid(made: Evidence) -> None:
    assert made.rolled_back is not None
    for folder in ("backups/pre", "backups/pre.1"):
        (made.rolled_back.directory / folder).mkdir(parents=True)
        (made.rolled_back.directory / folder / "backup.manifest").touch()
    result = rollback.check(made)
    assert result.findings == ()
    assert result.verdict is Verdict.VALID
    assert result.examined == {"databases": 3, "schema objects": 4, "rows": 1, "files": 2}


def test_no_rollback_is_unknown(made: Evidence) -> None:
    assert rollback.check(replace(made, rolled_back=None)).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("UPDATE t SET a = x'78'", "rollback/rows-changed"),
        ("DELETE FROM t", "rollback/rows-changed"),
        ("DROP TRIGGER watch", "rollback/schema-lost"),
        ("CREATE TABLE more (a)", "rollback/schema-invented"),
        ("DELETE FROM sqlite_sequence", "rollback/sequence-lost"),
        ("PRAGMA user_version = 3", "rollback/pragma-changed"),
        ("PRAGMA journal_mode = wal", "rollback/pragma-changed"),
    ],
)
def test_what_a_database_lost_or_gained_is_found(made: Evidence, sql: str, rule: str) -> None:
    assert made.rolled_back is not None
    connection = apsw.Connection(str(made.rolled_back.path("root")))
    connection.execute(sql).fetchall()
    connection.close()
    assert rules(rollback.check(made)) == {rule}


def test_files_lost_changed_or_left_over_are_found(made: Evidence) -> None:
    assert made.rolled_back is not None
    directory = made.rolled_back.directory
    (directory / "logs" / "model-registry.log").unlink()
    (directory / ".env").write_text("A=2\n")
    (directory / "shadow.sqlite").touch()
    (directory / ".devflow-migration").mkdir()
    result = rollback.check(made)
    assert rules(result) == {
        "rollback/file-lost",
        "rollback/file-changed",
        "rollback/file-invented",
        "rollback/folder-left-over",
    }


def test_permissions_are_compared(made: Evidence) -> None:
    assert made.rolled_back is not None
    (made.rolled_back.directory / ".env").chmod(0o600)
    made.rolled_back.path("root").chmod(0o600)
    (made.rolled_back.directory / "data").chmod(0o777)
    assert rules(rollback.check(made)) == {
        "rollback/file-mode",
        "rollback/database-mode",
        "rollback/folder-mode",
    }


def test_folders_that_are_gone_or_new_are_found_also_without_a_file_in_them(
    made: Evidence,
) -> None:
    assert made.rolled_back is not None
    (made.before.directory / "data" / "attachments" / "empty").mkdir(parents=True)
    (made.rolled_back.directory / "data" / "attachments" / "other").mkdir(parents=True)
    found = {(one.rule, one.key) for one in rollback.check(made).findings}
    assert found == {
        ("rollback/folder-lost", "data/attachments/empty"),
        ("rollback/folder-left-over", "data/attachments/other"),
    }


def test_a_missing_or_broken_database_is_a_finding(made: Evidence) -> None:
    assert made.rolled_back is not None
    made.rolled_back.path("legacy").unlink()
    assert rules(rollback.check(made)) == {"rollback/database-state"}
    made.rolled_back.path("legacy").write_bytes(b"no database " * 100)
    assert rules(rollback.check(made)) == {"rollback/unreadable"}
