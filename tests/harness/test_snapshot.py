"""Digests speak of content alone: any other content changes them, and nothing else does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from handmade import database, tree

from harness import snapshot, typed_rows
from harness.errors import BadInputError
from harness.snapshot import (
    Snapshot,
    TableFacts,
    database_digest,
    database_facts,
    differences,
)
from harness.typed_rows import sorted_digest

ROOT = """
PRAGMA user_version = 3;
CREATE TABLE t(id TEXT PRIMARY KEY, v, g AS (v || '!') STORED);
INSERT INTO t VALUES ('a', 1), (NULL, -0.5), (NULL, x'00'), ('b', CAST(x'61FF' AS TEXT));
CREATE TABLE n(id INTEGER PRIMARY KEY AUTOINCREMENT, v);
INSERT INTO n VALUES (5, 'x');
DELETE FROM n;
CREATE VIRTUAL TABLE f USING fts5(body);
INSERT INTO f VALUES ('some words');
CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END;
"""


def made(directory: Path) -> Path:
    files = {"logs/model-registry.log": '{"a":1}\nlast', ".env": "X=1\n"}
    return tree(directory, files, root=ROOT, vector="CREATE TABLE v(x)")


def changed(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "VACUUM",
        "DELETE FROM t WHERE v = x'00'; INSERT INTO t(id, v) VALUES (NULL, x'00')",
        "UPDATE t SET rowid = rowid + 100",
        "CREATE TABLE gone(x); INSERT INTO gone VALUES (zeroblob(100000)); DROP TABLE gone",
        "INSERT INTO f(f) VALUES ('optimize')",
    ],
)
def test_what_is_no_content_leaves_the_digest_alone(sql: str, tmp_path: Path) -> None:
    directory = made(tmp_path / "tree")
    before = Snapshot.of(directory).digest()
    changed(directory / "devflow.sqlite", sql)
    assert Snapshot.of(directory).digest() == before


@pytest.mark.parametrize(
    ("sql", "rule", "place"),
    [
        ("UPDATE t SET v = '1' WHERE id = 'a'", "rows-changed", ("t", None)),
        ("UPDATE t SET v = 1.0 WHERE id = 'a'", "rows-changed", ("t", None)),
        ("UPDATE t SET id = '' WHERE v = x'00'", "rows-changed", ("t", None)),
        ("UPDATE t SET v = CAST(v AS BLOB) WHERE id = 'b'", "rows-changed", ("t", None)),
        ("INSERT INTO t(id, v) SELECT id, v FROM t WHERE v = x'00'", "rows-changed", ("t", None)),
        ("UPDATE f SET body = 'other words'", "rows-changed", ("f_content", None)),
        ("UPDATE sqlite_sequence SET seq = 4", "sequence-changed", ("n", None)),
        ("PRAGMA user_version = 4", "pragma-changed", (None, "user_version")),
        ("PRAGMA journal_mode = WAL", "pragma-changed", (None, "journal_mode")),
        ("DROP TRIGGER tr", "schema-lost", ("t", "tr")),
        ("CREATE INDEX i ON t(v)", "schema-invented", ("t", "i")),
        ("DROP TRIGGER tr; CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 2; END",
         "schema-changed", ("t", "tr")),
    ],
)  # fmt: skip
def test_each_change_of_content_changes_the_digest_and_is_told(
    sql: str, rule: str, place: tuple[str | None, str | None], tmp_path: Path
) -> None:
    directory = made(tmp_path / "tree")
    shutil.copytree(directory, tmp_path / "before")
    changed(directory / "devflow.sqlite", sql)
    before, after = Snapshot.of(tmp_path / "before"), Snapshot.of(directory)
    assert before.digest() != after.digest()
    found = differences(before, after)
    assert (f"rollback/{rule}", *place) in {(f.rule, f.table, f.key) for f in found}
    assert {f.database for f in found} == {"root"}
    same_content = rule.startswith(("pragma", "schema"))
    digests = [database_digest(s.path("root"), content_only=True) for s in (before, after)]
    assert (digests[0] == digests[1]) is same_content


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda d: (d / ".env").write_text("X=2\n"), "file-changed"),
        (lambda d: (d / ".env").unlink(), "file-lost"),
        (lambda d: (d / "new").write_text(""), "file-invented"),
        (lambda d: (d / ".env").chmod(0o755), "file-mode"),
        (lambda d: (d / "link").symlink_to(".env"), "file-invented"),
        (lambda d: (d / "data" / "vector.sqlite").unlink(), "database-state"),
        (lambda d: (d / "data" / "vector.sqlite").write_bytes(b""), "database-state"),
        (lambda d: (d / "logs" / "model-registry.log").write_text(""), "file-changed"),
    ],
)
def test_each_change_of_a_file_changes_the_digest_and_is_told(
    change: Callable[[Path], object], rule: str, tmp_path: Path
) -> None:
    directory = made(tmp_path / "tree")
    shutil.copytree(directory, tmp_path / "before")
    change(directory)
    before, after = Snapshot.of(tmp_path / "before"), Snapshot.of(directory)
    assert before.digest() != after.digest()
    assert [f.rule for f in differences(before, after, check="idempotence")] == [
        f"idempotence/{rule}"
    ]


def test_ignored_paths_may_differ(tmp_path: Path) -> None:
    directory = made(tmp_path / "tree")
    shutil.copytree(directory, tmp_path / "before")
    (directory / "backups").mkdir()
    (directory / "backups" / "one").write_text("1")
    (directory / "backups2").write_text("2")
    before, after = Snapshot.of(tmp_path / "before"), Snapshot.of(directory)
    assert [f.key for f in differences(before, after, ignored=("backups",))] == ["backups2"]


def test_reading_leaves_no_file_behind_and_needs_no_right_to_write(tmp_path: Path) -> None:
    directory = made(tmp_path / "tree")
    changed(directory / "devflow.sqlite", "PRAGMA journal_mode = WAL")
    names = sorted(path.name for path in directory.rglob("*"))
    snap = Snapshot.of(directory)
    snap.digest()
    with snap.open("root") as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(4,)]
        with pytest.raises(apsw.ReadOnlyError):
            connection.execute("DELETE FROM t")
    connection.close()
    assert sorted(path.name for path in directory.rglob("*")) == names


def test_rows_that_live_in_the_wal_only_count(tmp_path: Path) -> None:
    directory = made(tmp_path / "tree")
    path = directory / "devflow.sqlite"
    writer = apsw.Connection(str(path))
    writer.pragma("journal_mode", "wal")
    before = Snapshot.of(directory).digest()
    writer.execute("INSERT INTO t(id, v) VALUES ('in the wal', 1)")
    shutil.copytree(directory, tmp_path / "copy")
    writer.close()
    copy = Snapshot.of(tmp_path / "copy")
    facts = copy.facts("root")
    assert facts is not None
    assert facts.tables["t"].rows == 5
    assert copy.digest() != before
    assert list(copy.files()) == [".env", "logs/model-registry.log"]


def test_states_tell_missing_empty_and_present_apart(tmp_path: Path) -> None:
    directory = made(tmp_path / "tree")
    snap = Snapshot.of(directory)
    assert [snap.state(n) for n in ("root", "legacy", "vector", "registry")] == [
        "sqlite", "missing", "sqlite", "file",
    ]  # fmt: skip
    snap.path("legacy").write_bytes(b"")
    assert (snap.state("legacy"), snap.tables("legacy"), snap.facts("legacy")) == (
        "empty",
        (),
        None,
    )
    assert list(snap.log_lines()) == [b'{"a":1}', b"last"]
    assert [table.name for table in snap.tables("root")] == ["n", "t"]


def test_what_is_no_database_gets_a_sentence(tmp_path: Path) -> None:
    directory = made(tmp_path / "tree")
    (directory / "data" / "devflow.sqlite").write_text("text in a database's place")
    with pytest.raises(BadInputError, match="is not an SQLite database"):
        Snapshot.of(directory).digest()
    with pytest.raises(BadInputError, match="is not a directory"):
        Snapshot.of(tmp_path / "nowhere")


def test_digests_spilled_to_disk_sort_as_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [os.urandom(32) for _ in range(1000)]
    whole = sorted_digest(digests)
    monkeypatch.setattr(typed_rows, "_CHUNK", 64)
    assert sorted_digest(reversed(digests)) == whole
    assert sorted_digest(digests[1:])[1] != whole[1]


def test_equal_content_in_two_tables_is_not_equal_content_in_one(tmp_path: Path) -> None:
    one = database(tmp_path / "1", "CREATE TABLE a(x); CREATE TABLE b(x); INSERT INTO a VALUES (1)")
    two = database(tmp_path / "2", "CREATE TABLE a(x); CREATE TABLE b(x); INSERT INTO b VALUES (1)")
    assert database_digest(one) != database_digest(two)
    assert isinstance(database_facts(one).tables["a"], TableFacts)


def test_of_equal_files_one_is_read_and_a_wal_beside_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = database(tmp_path / "1", "CREATE TABLE a(x); PRAGMA journal_mode=WAL")
    plain, with_wal = tmp_path / "plain", tmp_path / "with-wal"
    writer = apsw.Connection(str(first))
    writer.execute("INSERT INTO a VALUES (1)")
    for copy in (plain, with_wal):
        shutil.copyfile(first, copy)
    shutil.copyfile(f"{first}-wal", f"{with_wal}-wal")
    writer.close()

    assert database_facts(plain).tables["a"].rows == 0
    assert database_facts(with_wal).tables["a"].rows == 1
    again = shutil.copyfile(plain, tmp_path / "again")
    monkeypatch.setattr(snapshot, "_read_facts", None)
    assert database_facts(again) == database_facts(plain)
    again.write_bytes(again.read_bytes() + bytes(4096))
    with pytest.raises(TypeError):  # other bytes are read, which this test keeps it from
        database_facts(again)
