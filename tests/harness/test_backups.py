from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import apsw
import pytest
from handmade import database, mapping, rules, tree

from harness.checkers import backups
from harness.checkers.evidence import Evidence
from harness.model import Verdict
from harness.snapshot import Snapshot

FOLDERS = {"before": "backups/pre", "during": "backups/mid", "after": "backups/post"}
ROOT = "CREATE TABLE t (a); INSERT INTO t VALUES (1), (CAST(x'61ff' AS TEXT)), (NULL);"
UNIFIED = "CREATE TABLE u (a); INSERT INTO u VALUES (1);"
FILES = {".env": "DEVFLOW_DB_PATH=x\n", "logs/model-registry.log": "{}\n", "README.md": "x"}


def write_manifest(folder: Path) -> None:
    digests = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "backup.manifest"
    }
    (folder / "backup.manifest").write_text(json.dumps({"digests": digests}))


@pytest.fixture
def made(tmp_path: Path) -> Evidence:
    before = tree(tmp_path / "before", FILES, root=ROOT)
    (before / "data").mkdir()
    (before / "data" / "vector.sqlite").touch()
    after = database(tmp_path / "after.sqlite", UNIFIED)
    root = tmp_path / "tree"
    for when, folder in FOLDERS.items():
        target = root / folder
        if when == "after":
            target.mkdir(parents=True)
            shutil.copy(after, target / "devflow.sqlite")
        else:
            shutil.copytree(before, target)
        if when == "during":
            shutil.copy(after, target / "unified.sqlite")
        write_manifest(target)
    return Evidence(
        before=Snapshot.of(before),
        mapping=mapping(tmp_path),
        after=after,
        tree=root,
        backups=FOLDERS,
    )


def folder_of(made: Evidence, when: str) -> Path:
    assert made.tree is not None
    return made.tree / FOLDERS[when]


def test_three_whole_backups_are_valid(made: Evidence) -> None:
    result = backups.check(made)
    assert result.findings == ()
    assert result.verdict is Verdict.VALID
    assert result.examined["backups"] == 3
    assert result.examined["databases"] == 4


def test_no_declared_backups_are_unknown(tmp_path: Path) -> None:
    before = Snapshot.of(tree(tmp_path / "before"))
    made = Evidence(before=before, mapping=mapping(tmp_path), tree=before.directory)
    assert backups.check(made).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("when", sorted(FOLDERS))
def test_a_backup_that_is_not_there_is_found(made: Evidence, when: str) -> None:
    shutil.rmtree(folder_of(made, when))
    assert rules(backups.check(made)) == {"backups/missing"}


@pytest.mark.parametrize("content", ["{", "[]", '{"digests": {"a": 1}}', None])
def test_a_manifest_that_says_nothing_is_found(made: Evidence, content: str | None) -> None:
    path = folder_of(made, "before") / "backup.manifest"
    path.unlink()
    if content is not None:
        path.write_text(content)
    expected = "backups/manifest-missing" if content is None else "backups/manifest-broken"
    assert rules(backups.check(made)) == {expected}


def test_a_byte_that_changed_after_the_manifest_is_found(made: Evidence) -> None:
    path = folder_of(made, "after") / "devflow.sqlite"
    content = bytearray(path.read_bytes())
    content[27] ^= 1  # the change counter: SQLite itself does not mind
    path.write_bytes(content)
    assert rules(backups.check(made)) == {"backups/digest-differs"}


def test_files_beside_and_missing_from_the_manifest_are_found(made: Evidence) -> None:
    folder = folder_of(made, "before")
    (folder / "more").touch()
    (folder / "README.md").unlink()
    assert rules(backups.check(made)) == {"backups/file-unlisted", "backups/file-missing"}


def test_a_backup_that_lacks_its_wal_is_found(made: Evidence, tmp_path: Path) -> None:
    live = apsw.Connection(str(tmp_path / "live.sqlite"))
    live.pragma("journal_mode", "wal")
    live.pragma("wal_autocheckpoint", 0)
    live.execute("PRAGMA user_version = 0; CREATE TABLE t (a);")
    live.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    live.execute("INSERT INTO t VALUES (1), (CAST(x'61ff' AS TEXT)), (NULL);")
    folder = folder_of(made, "before")
    for end in ("", "-wal"):  # even with its WAL beside it: a restore by `cp` would forget it
        shutil.copy(tmp_path / f"live.sqlite{end}", folder / f"devflow.sqlite{end}")
    live.close()
    write_manifest(folder)
    assert rules(backups.check(made)) == {"backups/rows-changed"}


def test_rows_that_differ_are_found(made: Evidence) -> None:
    for when in ("during", "after"):
        folder = folder_of(made, when)
        connection = apsw.Connection(str(folder / "devflow.sqlite"))
        connection.execute(f"DELETE FROM {'t' if when == 'during' else 'u'}")
        connection.close()
        write_manifest(folder)
    result = backups.check(made)
    assert rules(result) == {"backups/rows-changed"}
    assert {finding.database for finding in result.findings} == {"root", "unified"}


def test_what_was_missing_or_empty_must_be_so(made: Evidence) -> None:
    folder = folder_of(made, "before")
    (folder / "data" / "vector.sqlite").unlink()
    database(folder / "data" / "devflow.sqlite", "CREATE TABLE t (a)")
    write_manifest(folder)
    result = backups.check(made)
    assert rules(result) == {"backups/database-state"}
    assert {finding.database for finding in result.findings} == {"legacy", "vector"}


def test_configuration_and_log_belong_to_a_backup(made: Evidence) -> None:
    folder = folder_of(made, "before")
    (folder / ".env").unlink()
    (folder / "logs" / "model-registry.log").write_text("other\n")
    (folder / "README.md").unlink()  # nothing that a migration changes
    write_manifest(folder)
    assert rules(backups.check(made)) == {"backups/file-missing", "backups/file-differs"}


def test_a_damaged_database_is_found(made: Evidence) -> None:
    for when in ("during", "after"):
        name = "unified.sqlite" if when == "during" else "devflow.sqlite"
        folder = folder_of(made, when)
        content = bytearray((folder / name).read_bytes())
        content[4096:4200] = b"\xff" * 104
        (folder / name).write_bytes(content)
        write_manifest(folder)
    assert rules(backups.check(made)) == {"backups/database-damaged"}
