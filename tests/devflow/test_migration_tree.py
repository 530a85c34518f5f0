"""What stands where a database should be: told before anything is changed."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from devflow_tree import (
    DATABASES,
    LOG,
    LegacyTree,
    assert_all_kept,
    opened,
    speak,
    tree_state,
    values,
)

from devflow.migration import tree as tree_module
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree

BLOCK = (
    "INSERT INTO memory_blocks (id, content, type, timestamp) VALUES ('m1', 'said', 'note', 't')"
)


def refused(tree: LegacyTree, *, code: str, naming: str) -> None:
    """Demand that apply says no in one sentence and leaves no trace."""
    files = {p: p.read_bytes() for p in tree.directory.rglob("*") if p.is_file()}
    with pytest.raises(MigrationError) as caught:
        tree.apply()
    assert caught.value.code == code
    assert caught.value.definite
    assert naming in caught.value.text
    assert "\n" not in caught.value.text
    assert {p: p.read_bytes() for p in tree.directory.rglob("*") if p.is_file()} == files


@pytest.mark.parametrize("missing", [["root"], ["legacy"], ["vector"], ["legacy", "vector"]])
def test_missing_databases_migrate_and_come_back(tmp_path: Path, missing: list[str]) -> None:
    tree = LegacyTree.make(tmp_path / "devflow", without=missing)
    if "legacy" not in missing:
        tree.run("legacy", BLOCK)
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert not (tree.directory / "data").exists()
    tree.rollback()
    assert tree.state == before.state


def test_a_tree_without_any_database_gets_an_empty_unified_one(tmp_path: Path) -> None:
    tree = LegacyTree.make(tmp_path / "devflow", without=list(DATABASES))
    shutil.rmtree(tree.directory / "data")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert values(tree.root, "SELECT count(*) FROM task_contexts") == [(0,)]
    tree.rollback()
    assert tree.state == before.state
    assert not (tree.directory / "data").exists()


@pytest.mark.parametrize("empty", list(DATABASES))
def test_a_zero_byte_database_is_an_empty_one_and_comes_back_so(tmp_path: Path, empty: str) -> None:
    tree = LegacyTree.make(tmp_path / "devflow", without=[empty])
    tree.path(empty).touch(mode=0o640)
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert values(tree.root, "SELECT count(*) FROM memory_blocks") == [(0,)]
    tree.rollback()
    assert tree.state == before.state


def test_rows_that_stand_only_in_the_log_come_along(tree: LegacyTree, tmp_path: Path) -> None:
    for name in DATABASES:
        _leave_in_wal(tree.path(name), "CREATE TABLE late (a); INSERT INTO late VALUES (7)")
    assert {path.name for path in tree.directory.rglob("*-wal") if path.stat().st_size} == {
        "devflow.sqlite-wal",
        "vector.sqlite-wal",
    }
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert assert_all_kept(before, tree.root) == 3
    tree.rollback()
    assert tree.state == before.state


def _leave_in_wal(path: Path, sql: str) -> None:
    """Run `sql` and take the files away from under the connection, as a crash does."""
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(sql)
        wal = Path(f"{path}-wal").read_bytes()
        main = path.read_bytes()
    path.write_bytes(main)
    Path(f"{path}-wal").write_bytes(wal)


def test_a_database_whose_rows_and_header_stand_only_in_the_log_is_no_empty_one(
    tmp_path: Path,
) -> None:
    tree = LegacyTree.make(tmp_path / "devflow", without=["vector"])
    path = tree.path("vector")
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        assert Tree.at(tree.directory).state("vector") == "sqlite"
        tree.apply("shadow")
    assert values(tree.directory / ".devflow-migration/unified.sqlite", "SELECT a FROM t") == [(1,)]


@pytest.mark.parametrize("source", list(DATABASES))
@pytest.mark.parametrize("content", [b"this is no database\n", b"x", b"SQLite format 2\0" * 64])
def test_another_file_in_a_databases_place_is_refused(
    tree: LegacyTree, source: str, content: bytes
) -> None:
    tree.path(source).write_bytes(content)
    refused(tree, code="not-a-database", naming=str(tree.path(source)))


def test_a_directory_in_a_databases_place_is_refused(tree: LegacyTree) -> None:
    tree.path("vector").unlink()
    tree.path("vector").mkdir()
    refused(tree, code="not-a-database", naming=str(tree.path("vector")))


@pytest.mark.parametrize("source", list(DATABASES))
def test_a_database_cut_off_after_its_header_is_refused(tree: LegacyTree, source: str) -> None:
    tree.path(source).write_bytes(tree.path(source).read_bytes()[:100])
    refused(tree, code="unreadable", naming=str(tree.path(source)))


@pytest.mark.parametrize("source", list(DATABASES))
def test_a_damaged_page_is_found_before_anything_is_changed(
    tree: LegacyTree, tmp_path: Path, source: str
) -> None:
    tree.run(source, "CREATE TABLE big (a); INSERT INTO big VALUES (zeroblob(100)), ('x')")
    root = values(tree.path(source), "SELECT rootpage FROM sqlite_master WHERE name = 'big'")[0][0]
    assert isinstance(root, int)
    content = bytearray(tree.path(source).read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xee" * 4096
    tree.path(source).write_bytes(bytes(content))
    with pytest.raises(MigrationError) as caught:
        tree.apply()
    assert caught.value.code == "damaged"
    assert DATABASES[source] in caught.value.text
    assert tree.path(source).read_bytes() == bytes(content)
    assert tree.status == "none"
    tree.rollback()
    assert not list((tree.directory / "backups").iterdir())


def test_a_database_in_utf_16_is_refused_with_the_way_out(tmp_path: Path) -> None:
    tree = LegacyTree.make(tmp_path / "devflow", without=["legacy"])
    tree.run("legacy", "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    refused(tree, code="encoding", naming="UTF-16le")


@contextlib.contextmanager
def _locked_by_another_process(path: Path) -> Iterator[None]:
    script = (
        "import apsw, sys\n"
        "c = apsw.Connection(sys.argv[1])\n"
        "c.execute('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;'"
        " 'CREATE TABLE held (a)').fetchall()\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    arguments = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.kill()


@pytest.mark.parametrize(
    ("source", "mode"), [("root", "DELETE"), ("root", "WAL"), ("legacy", "WAL"), ("vector", "WAL")]
)
def test_a_database_locked_by_another_process_is_refused_in_one_sentence(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch, source: str, mode: str
) -> None:
    monkeypatch.setattr("devflow.migration.database._BUSY_MS", 50)
    tree.run(source, f"PRAGMA journal_mode = {mode}")
    state = tree_state(tree.directory)
    with (
        _locked_by_another_process(tree.path(source)),
        pytest.raises(MigrationError) as caught,
    ):
        tree.apply()
    assert caught.value.code == "locked"
    assert caught.value.definite
    assert str(tree.path(source)) in caught.value.text
    assert tree_state(tree.directory) == state


@pytest.mark.parametrize("name", ["devflow.sqlite", "data/vector.sqlite", "data", "data/notes"])
def test_a_link_where_files_are_removed_and_restored_is_refused(
    tree: LegacyTree, tmp_path: Path, name: str
) -> None:
    path = tree.directory / name
    if path.exists():
        path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(tree, code="link", naming=str(path))


def test_directories_in_data_come_back_with_their_modes(tree: LegacyTree, tmp_path: Path) -> None:
    (tree.directory / "data" / "empty" / "deep").mkdir(parents=True)
    (tree.directory / "data" / "empty").chmod(0o711)
    (tree.directory / "data").chmod(0o700)
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert not (tree.directory / "data").exists()
    tree.rollback()
    assert tree.state == before.state


def test_a_tree_that_is_not_there_is_refused(tmp_path: Path) -> None:
    code, events = speak(["apply"], f'{{"contract": 1, "tree": "{tmp_path}/nowhere"}}')
    assert code == 1
    assert events[-1]["code"] == "no-tree"


def test_paths_of_the_request_are_used(tmp_path: Path) -> None:
    tree = LegacyTree.make(tmp_path / "devflow")
    tree.run("legacy", BLOCK)
    tree.log(b"a line\n")
    (tree.directory / "old").mkdir()
    paths = {"legacy": "old/basic.db", "vector": "old/vec.db", "registry": "old/registry.log"}
    for name, to in {**DATABASES, "registry": LOG}.items():
        if name in paths:
            (tree.directory / to).rename(tree.directory / paths[name])
    code, events = tree.call("apply", paths=paths)
    assert (code, events[-1]) == (0, {"event": "done", "state": "cleanup"})
    assert not (tree.directory / "old" / "basic.db").exists()
    found = values(tree.root, "SELECT (SELECT count(*) FROM model_registry_log), id FROM"
                   " memory_blocks")  # fmt: skip
    assert found == [(1, "m1")]


def test_the_defaults_are_the_paths_of_the_old_services() -> None:
    assert tree_module._DEFAULTS == {**DATABASES, "registry": LOG}


def test_looking_at_a_database_leaves_no_file_beside_it(tree: LegacyTree) -> None:
    names = set(tree.directory.rglob("*"))
    tree.call("plan")
    tree.call("status")
    assert set(tree.directory.rglob("*")) == names


def test_pages_of_another_size_and_settings_come_back(tmp_path: Path) -> None:
    tree = LegacyTree.make(tmp_path / "devflow", without=["root", "vector"])
    tree.run(
        "root",
        "PRAGMA page_size = 1024; PRAGMA auto_vacuum = FULL; CREATE TABLE t (a);"
        "PRAGMA user_version = 7; PRAGMA application_id = 99; INSERT INTO t VALUES ('x')",
    )
    tree.run("vector", "PRAGMA page_size = 65536; CREATE TABLE u (a); INSERT INTO u VALUES (1)")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert values(tree.root, "PRAGMA journal_mode") == [("wal",)]
    tree.rollback()
    assert tree.state == before.state
    with opened(tree.root) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_directory_without_any_source_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "start.sh").write_text("DATABASE_PATH=./data/devflow.sqlite serve\n")
    before = tree_state(tmp_path)
    for operation in ("plan", "apply"):
        exit_code, events = speak([operation], json.dumps({"contract": 1, "tree": str(tmp_path)}))
        assert exit_code == 1
        assert events[-1]["definite"]
        assert "is no DevFlow root" in events[-1]["text"]
    assert tree_state(tmp_path) == before


WRITES = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    connection.execute("INSERT INTO more VALUES (1)")
connection.close()
"""


def test_a_look_at_a_database_lets_go_of_no_lock_on_it(tree: LegacyTree) -> None:
    path = tree.path("vector")
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("CREATE TABLE more (a)")
        assert Tree.at(tree.directory).state("vector") == "sqlite"
        for written in (1, 2):  # who believes to be the last to close it takes the log away
            subprocess.run([sys.executable, "-c", WRITES, str(path)], check=True)
            seen = connection.execute("SELECT count(*) FROM more").fetchall()
            assert seen == [(written,)]
