"""What is written to a legacy database after its copy is in the unified one after a catch-up."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from devflow_tree import LegacyTree, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from devflow.live import capture
from devflow.live.authority import LEGACY, give_authority
from devflow.live.catching_up import behind, catch_up, index_origins, set_position
from devflow.live.following import begin_capture, following, take_capture_out
from devflow.migration import backups, shadow
from devflow.migration.inverse import mapping_document
from devflow.migration.tree import Tree

Writing = Callable[[sqlite3.Connection], object]


def copied(tree: LegacyTree) -> Tree:
    """Note writes from now on, and build the unified database of what is there."""
    at = Tree.at(tree.directory)
    begin_capture(at)
    backups.back_up_tree(at, "before", clean=take_capture_out)
    at.work.mkdir()
    with shadow.kept_open():
        for step in shadow.STEPS:
            shadow.run_step(at, step)
    manifest = backups.manifest_of(at.backup("before"))
    with following(at, at.shadow) as connection:
        index_origins(connection)
        give_authority(connection, "database-manager", LEGACY)
        for source, said in manifest["databases"].items():
            set_position(connection, source, said.get("captured", 0))
    return at


def caught_up(at: Tree, *, rows_max: int = 2_000) -> Path:
    with following(at, at.shadow) as connection:
        for source in ("root", "legacy", "vector"):
            while behind(connection, source):
                catch_up(connection, source, rows_max=rows_max)
    return at.shadow


def written(path: Path, *statements: str) -> None:
    """Write as an unmodified service does: by SQLite from the standard library."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as service:
        for statement in statements:
            service.execute(statement)


def rebuilt(unified: Path, source: str, table: str, columns: list[str]) -> list[object]:
    """Rebuild a legacy table from the unified database alone, by the declared inverse."""
    said = mapping_document()["tables"][f"{source}.{table}"]  # type: ignore[index]
    listed = ", ".join(said["columns"][name] for name in columns)
    return sorted(rows(unified, f"SELECT {listed} FROM {said['from']}"), key=repr)


def assert_follows(tree: LegacyTree, unified: Path) -> None:
    """Every planned table is rebuilt from the unified database exactly, and nothing is stale."""
    for name in mapping_document()["tables"]:  # type: ignore[attr-defined]
        source, table = name.split(".")
        path = tree.path(source)
        with contextlib.closing(apsw.Connection(str(path))) as connection:
            columns = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]
        if columns:
            listed = ", ".join(columns)
            legacy = sorted(rows(path, f"SELECT {listed} FROM {table}"), key=repr)
            assert rebuilt(unified, source, table, columns) == legacy, name
    with contextlib.closing(apsw.Connection(str(unified))) as connection:
        for index in ("memory_fts", "tasks_fts", "knowledge_entities_fts"):
            connection.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def lived_in(tree: LegacyTree) -> LegacyTree:
    for n in range(3):
        tree.insert("legacy", "task_contexts", id=f"t{n}", title=f"task {n}", status="pending")
        tree.insert(
            "legacy", "memory_blocks", id=f"b{n}", content=f"text {n}", type="note", timestamp="x"
        )
        tree.insert(
            "legacy", "memory_block_embeddings", id=None if n else "e0", memory_block_id=f"b{n}",
            model_id="m", embedding_vector=b"\0" * 8, dimensions=2,
        )  # fmt: skip
        tree.insert(
            "vector", "vector_memories", id=f"v{n}", content=f"vector text {n}", type="note",
            embedding_vector=b"\1" * 8, dimensions=2, model_id="m",
        )  # fmt: skip
    return tree


CHANGES = {
    "insert": "INSERT INTO memory_blocks VALUES ('new', 'fresh words', 'note', 'y', NULL)",
    "update": "UPDATE task_contexts SET status = 'done', title = 'other' WHERE id = 't1'",
    "delete": "DELETE FROM task_contexts WHERE id = 't0'",
    "replace": "INSERT OR REPLACE INTO memory_blocks VALUES ('b1', 'replaced', 'event', 'z', NULL)",
    "update-or-replace": "UPDATE OR REPLACE memory_blocks SET id = 'b1' WHERE id = 'b0'",
    "another-id": "UPDATE task_contexts SET id = 'renamed' WHERE id = 't2'",
    "null-key": "INSERT INTO memory_blocks VALUES (NULL, 'nobody', 'note', 'y', x'00')",
    "all-gone": "DELETE FROM memory_blocks",
    "embedding-gone": "DELETE FROM memory_block_embeddings WHERE id IS NULL",
    "same-again": "UPDATE task_contexts SET title = title",
    "usage": "INSERT INTO synthetic_usage VALUES ('u', 'p', 'a', 'm', 1, 2, 3, 0.5, '2025-01-01')",
    "odd-types": "INSERT INTO task_contexts (id, title) VALUES (x'ff', CAST(x'61ff' AS TEXT))",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_write_after_the_copy_is_followed(lived_in: LegacyTree, change: str) -> None:
    at = copied(lived_in)
    written(lived_in.path("legacy"), CHANGES[change])
    assert_follows(lived_in, caught_up(at))


def test_a_vector_memory_is_followed_into_both_of_its_parts(lived_in: LegacyTree) -> None:
    at = copied(lived_in)
    written(
        lived_in.path("vector"),
        "DELETE FROM vector_memories WHERE id = 'v0'",
        "INSERT INTO vector_memories (id, content, type, embedding_vector, dimensions, model_id)"
        " VALUES ('v9', 'more', 'note', x'0000803f', 1, 'm')",
        "UPDATE vector_memories SET content = 'changed' WHERE id = 'v1'",
    )
    unified = caught_up(at)
    assert_follows(lived_in, unified)
    assert rows(unified, "SELECT count(*) FROM memory_block_embeddings WHERE block_id = 'v0'") == [
        (("integer", 0),)
    ]


def test_a_table_that_nobody_planned_for_is_followed(lived_in: LegacyTree) -> None:
    lived_in.run("legacy", "CREATE TABLE extra (a, b); INSERT INTO extra VALUES (1, 2), (3, 4)")
    lived_in.run("legacy", "CREATE TABLE keyed (k TEXT PRIMARY KEY, v) WITHOUT ROWID")
    at = copied(lived_in)
    written(
        lived_in.path("legacy"),
        "UPDATE extra SET b = 5 WHERE a = 1",
        "INSERT INTO extra VALUES (6, 7)",
        "INSERT INTO keyed VALUES ('k', 1)",
        "INSERT INTO migration_log (migration_name) VALUES ('late')",
        "DELETE FROM migration_log",
    )
    unified = caught_up(at)
    for table in ("extra", "keyed", "migration_log", "sqlite_sequence WHERE name='migration_log'"):
        query = f"SELECT * FROM {table}"
        assert rows(unified, query) == rows(lived_in.path("legacy"), query)


def test_the_capture_leaves_no_trace(lived_in: LegacyTree) -> None:
    before = lived_in.state
    for source in ("root", "legacy", "vector"):
        with contextlib.closing(apsw.Connection(str(lived_in.path(source)))) as connection:
            assert capture.install(connection) > 0
            assert capture.install(connection) > 0
            capture.remove(connection)
    assert lived_in.state == before


def test_a_copy_holds_no_trace_of_the_capture(lived_in: LegacyTree) -> None:
    before = lived_in.copy(lived_in.directory.with_name("before"))
    at = copied(lived_in)
    for source in ("root", "legacy", "vector"):
        query = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
        assert rows(at.backup("before") / at.paths[source], query) == rows(
            before.path(source), query
        )


@pytest.mark.parametrize(
    "statement", ["DELETE FROM task_contexts", CHANGES["insert"], CHANGES["update"]]
)
def test_a_fenced_database_takes_no_write_and_keeps_its_rows(
    lived_in: LegacyTree, statement: str
) -> None:
    path = lived_in.path("legacy")
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        capture.install(connection)
        capture.fence(connection)
    with pytest.raises(sqlite3.IntegrityError, match=r"moved to devflow\.sqlite"):
        written(path, statement)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        capture.open_fence(connection)
    written(path, statement)


_KEYS = st.sampled_from(["b0", "b1", "b2", "b3", "b4"])
_WORDS = st.text(alphabet="abc \0é", max_size=6)
_WRITES = st.lists(
    st.one_of(
        st.tuples(st.just("INSERT OR IGNORE INTO memory_blocks VALUES (?, ?, 'note', 't', NULL)"),
                  st.tuples(_KEYS, _WORDS)),
        st.tuples(st.just("INSERT OR REPLACE INTO memory_blocks VALUES (?, ?, 'test', 't', x'01')"),
                  st.tuples(_KEYS, _WORDS)),
        st.tuples(st.just("UPDATE memory_blocks SET content = ? WHERE id = ?"),
                  st.tuples(_WORDS, _KEYS)),
        st.tuples(st.just("UPDATE OR REPLACE memory_blocks SET id = ? WHERE id = ?"),
                  st.tuples(_KEYS, _KEYS)),
        st.tuples(st.just("DELETE FROM memory_blocks WHERE id = ?"), st.tuples(_KEYS)),
        st.tuples(
            st.just("INSERT INTO memory_block_embeddings (memory_block_id, model_id,"
                    " embedding_vector, dimensions) VALUES (?, 'm', x'00', 1)"),
            st.tuples(_KEYS)),
        st.tuples(st.just("DELETE FROM memory_block_embeddings WHERE memory_block_id = ?"),
                  st.tuples(_KEYS)),
        st.tuples(st.just("INSERT OR REPLACE INTO task_contexts (id, title, status)"
                          " VALUES (?, ?, 'pending')"), st.tuples(_KEYS, _WORDS)),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


def test_any_writes_in_any_portions_are_followed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    base = LegacyTree.make(tmp_path_factory.mktemp("base") / "devflow")
    base.insert("root", "task_contexts", id="b1", title="root's", priority="m-")
    base.insert("legacy", "memory_blocks", id="b0", content="a", type="note", timestamp="t")
    copied(base)

    @settings(max_examples=60, deadline=None)
    @given(writes=_WRITES, portion=st.integers(1, 5))
    def follows(writes: list[tuple[str, tuple[str, ...]]], portion: int) -> None:
        tree = base.copy(tmp_path_factory.mktemp("example") / "devflow")
        with contextlib.closing(sqlite3.connect(tree.path("legacy"))) as service, service:
            for statement, bindings in writes:
                service.execute(statement, bindings)
        assert_follows(tree, caught_up(Tree.at(tree.directory), rows_max=portion))

    follows()
