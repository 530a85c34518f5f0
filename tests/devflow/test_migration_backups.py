"""The three backups: complete, verified, restorable, and never in each other's way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest
from devflow_tree import DATABASES, LOG, LegacyTree, assert_all_kept, tables, tree_state, values

from devflow.migration.backups import MANIFEST, back_up_tree, manifest_of, same_pages
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree

BACKUPS = {"before": "pre", "during": "mid", "after": "post"}


def backup(tree: LegacyTree, when: str) -> Path:
    return tree.directory / "backups" / f"{BACKUPS[when]}-unification"


def manifest(directory: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
    return read


@pytest.fixture(scope="module")
def migrated(module_path: Path) -> tuple[LegacyTree, LegacyTree]:
    """A tree with a row in each database, one of them in its log only, before and after."""
    tree = LegacyTree.make(module_path / "devflow")
    tree.insert("root", "task_contexts", id="t", title="x")
    tree.insert("legacy", "task_contexts", id="u", title="y")
    tree.log(b"a line\n")
    (tree.directory / "data" / "notes").mkdir()
    (tree.directory / "data" / "notes" / "extra.bin").write_bytes(b"\0extra")
    _add_in_wal(tree.path("vector"))
    before = tree.copy(module_path / "before")
    tree.apply()
    return before, tree


def _add_in_wal(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(
            "INSERT INTO vector_memories"
            " (id, content, type, embedding_vector, dimensions, model_id) VALUES"
            " ('only in the log', 'c', 'note', x'0000803f', 1, 'm')"
        )
        kept = Path(f"{path}-wal").read_bytes(), path.read_bytes()
    Path(f"{path}-wal").write_bytes(kept[0])
    path.write_bytes(kept[1])


@pytest.mark.parametrize("when", list(BACKUPS))
def test_the_manifest_has_the_digest_of_every_file(
    migrated: tuple[LegacyTree, LegacyTree], when: str
) -> None:
    directory = backup(migrated[1], when)
    there = {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }
    assert manifest(directory)["digests"] == there
    assert manifest(directory)["of"] == when
    assert set(manifest(directory)["modes"]) <= set(there)


def test_the_first_backup_is_the_tree_as_it_was(migrated: tuple[LegacyTree, LegacyTree]) -> None:
    before, tree = migrated
    directory = backup(tree, "before")
    state = tree_state(directory)
    del state[MANIFEST]
    files = {n: was for n, was in before.state.items() if n not in DATABASES.values()}
    assert {name: state[name] for name in files if not name.endswith("/")} == {
        name: was for name, was in files.items() if not name.endswith("/")
    }
    for name, path in DATABASES.items():
        assert tables(directory / path) == tables(before.path(name))
    found = values(directory / DATABASES["vector"], "SELECT id FROM vector_memories")
    assert found == [("only in the log",)]


def test_the_second_backup_holds_the_unified_database_before_the_cutover(
    migrated: tuple[LegacyTree, LegacyTree], tmp_path: Path
) -> None:
    before, tree = migrated
    copy = shutil.copy(backup(tree, "during") / "unified.sqlite", tmp_path)
    assert_all_kept(before, Path(copy))


def test_the_last_backup_is_a_migrated_tree_that_could_start(
    migrated: tuple[LegacyTree, LegacyTree], tmp_path: Path
) -> None:
    before, tree = migrated
    copy = Path(shutil.copytree(backup(tree, "after"), tmp_path / "copy"))
    assert_all_kept(before, copy / "devflow.sqlite")
    assert "DEVFLOW_DB_PATH=./devflow.sqlite" in (copy / ".env.prod.example").read_text()
    assert (copy / LOG).read_bytes() == b"a line\n"


def test_other_files_of_the_data_directory_are_saved_and_come_back(
    migrated: tuple[LegacyTree, LegacyTree], tmp_path: Path
) -> None:
    before, tree = migrated
    assert not (tree.directory / "data").exists()
    again = tree.copy(tmp_path / "again")
    again.rollback()
    assert again.state == before.state
    assert (again.directory / "data/notes/extra.bin").read_bytes() == b"\0extra"


def test_a_file_that_came_into_data_after_the_backup_is_not_removed(tree: LegacyTree) -> None:
    tree.apply("validate")
    late = tree.directory / "data" / "late.txt"
    late.write_text("new")
    with pytest.raises(MigrationError, match="came after the backup") as caught:
        tree.apply()
    assert not caught.value.definite
    assert late.read_text() == "new"
    late.rename(tree.directory / "late.txt")
    tree.apply()
    assert tree.status == "cleanup"


def test_an_old_backup_of_something_else_is_moved_aside(tree: LegacyTree, tmp_path: Path) -> None:
    for number in range(2):
        tree.insert("root", "task_contexts", id=f"t{number}", title="x")
        tree.apply("backup")
        tree.rollback()
    tree.insert("root", "task_contexts", id="t2", title="x")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    names = sorted(path.name for path in (tree.directory / "backups").iterdir())
    assert names == [
        "mid-unification",
        "post-unification",
        "pre-unification",
        "pre-unification.1",
        "pre-unification.2",
    ]
    assert len(values(tree.directory / "backups/pre-unification.1/devflow.sqlite",
                      "SELECT id FROM task_contexts")) == 1  # fmt: skip
    tree.rollback()
    assert tree.state == before.state


def test_the_same_backup_again_takes_no_second_place(tree: LegacyTree) -> None:
    for _ in range(3):
        tree.apply("backup")
        tree.rollback()
    assert [path.name for path in (tree.directory / "backups").iterdir()] == ["pre-unification"]


def test_a_backup_that_was_cut_off_is_made_anew(tree: LegacyTree) -> None:
    partial = tree.directory / "backups" / "pre-unification.partial"
    partial.mkdir(parents=True)
    (partial / "half").write_text("half")
    tree.apply("backup")
    assert not partial.exists()
    assert not (backup(tree, "before") / "half").exists()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"databases": {}}', '{"databases": 7}'])
def test_a_rollback_without_a_readable_manifest_says_so(
    tree: LegacyTree, content: str | None
) -> None:
    tree.apply("cutover")
    path = backup(tree, "before") / MANIFEST
    kept = path.read_text()
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(MigrationError, match=r"backup\.manifest cannot be read") as caught:
        tree.rollback()
    assert not caught.value.definite
    path.write_text(kept)
    tree.rollback()
    assert tree.status == "none"


def test_a_backup_of_a_busy_database_is_consistent(tree: LegacyTree) -> None:
    with contextlib.closing(apsw.Connection(str(tree.root))) as writer:
        writer.execute("BEGIN IMMEDIATE; INSERT INTO schema_versions VALUES ('9', NULL, NULL)")
        back_up_tree(Tree.at(tree.directory), "before")
        writer.execute("COMMIT")
    copy = backup(tree, "before") / DATABASES["root"]
    assert values(copy, "SELECT count(*) FROM schema_versions") == [(0,)]
    databases = manifest_of(backup(tree, "before"))["databases"]
    assert databases["root"] == {"state": "sqlite", "journal_mode": "wal"}


def test_pages_are_compared_without_the_counters_of_commits(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    head = bytearray(b"SQLite format 3\0" + bytes(84))
    one.write_bytes(bytes(head) + b"page")
    head[24:28] = b"\0\0\0\7"
    head[92:100] = b"\1" * 8
    two.write_bytes(bytes(head) + b"page")
    assert same_pages(one, two)
    two.write_bytes(bytes(head) + b"pagf")
    assert not same_pages(one, two)
    two.write_bytes(bytes(head) + b"page!")
    assert not same_pages(one, two)
    one.write_bytes(b"text a")
    two.write_bytes(b"text b")
    assert not same_pages(one, two)


def test_a_manifest_of_the_roots_own_is_backed_up_and_comes_back(tree: LegacyTree) -> None:
    (tree.directory / "manifest.json").write_text('{"path": "./data/devflow.sqlite"}')
    before = tree.state
    tree.apply()
    assert "data/" not in (tree.directory / "manifest.json").read_text()
    tree.rollback()
    assert tree.state == before
