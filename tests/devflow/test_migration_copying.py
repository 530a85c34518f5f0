"""Planned tables: forward into the unified shape, and back to the bit."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from devflow_tree import (
    DATABASES,
    LegacyTree,
    RawText,
    add_block,
    assert_all_kept,
    assert_kept,
    opened,
    quoted,
    values,
)

from devflow.migration import copying
from devflow.migration.tables import PLANNED

ODD = (
    None,
    "",
    "plain",
    "nul\0inside",
    RawText(b"not \xff utf-8"),
    RawText(b"nul\0and \xff"),
    "007",
    "1e3",
    "12345678901234567890",
    "  blanks ",
    b"",
    b"\x00\xff blob",
    0,
    -(2**63),
    2**63 - 1,
    1.0,
    -0.0,
    0.1,
    float("inf"),
    "2025-09-13T21:42:07.223Z",
    "😀 é e\u0301",
)
_NOT_FOUND = {  # planned tables that the schemas as found do not have, from newer copies
    ("root", "synthetic_usage"),
    ("root", "sessions"),
    ("legacy", "vector_memories"),
}


def _fill_with_odd_values(tree: LegacyTree, source: str, table: str) -> None:
    """Add for each column and odd value a row that has it there, where the schema lets it in."""
    with opened(tree.path(source)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON; BEGIN")
        described = connection.execute(
            "SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden = 0", (table,)
        ).fetchall()
        number = 0
        for column, _ in described:
            for odd in ODD:
                number += 1
                row = {
                    str(name): f"{name}-{number}" if "TEXT" in str(kind) else number
                    for name, kind in described
                }
                _insert(connection, table, {**row, str(column): odd})
        connection.execute("COMMIT")


def _insert(connection: apsw.Connection, table: str, row: dict[str, object]) -> None:
    marks = ", ".join("CAST(? AS TEXT)" if isinstance(v, RawText) else "?" for v in row.values())
    columns = ", ".join(quoted(name) for name in row)
    try:
        connection.execute(
            f"INSERT INTO {quoted(table)} ({columns}) VALUES ({marks})", tuple(row.values())
        )
    except (apsw.ConstraintError, apsw.MismatchError):
        return  # NOT NULL, UNIQUE and rowids hold in the legacy databases too


def _add_tables_of_newer_copies(tree: LegacyTree) -> None:
    for target, source, table in (
        ("root", "legacy", "synthetic_usage"),
        ("root", "legacy", "sessions"),
        ("legacy", "vector", "vector_memories"),
    ):
        query = "SELECT sql FROM sqlite_master WHERE name = ?"
        tree.run(target, str(values(tree.path(source), query, (table,))[0][0]))


@pytest.fixture(scope="module")
def odd(module_path: Path) -> tuple[LegacyTree, LegacyTree]:
    """A tree full of odd values, before and after its migration."""
    before = LegacyTree.make(module_path / "before")
    _add_tables_of_newer_copies(before)
    for table in PLANNED:
        _fill_with_odd_values(before, table.source, table.table)
    after = before.copy(module_path / "after")
    after.apply()
    return before, after


@pytest.mark.parametrize("name", [table.name for table in PLANNED])
def test_every_odd_value_comes_back_with_its_type(
    odd: tuple[LegacyTree, LegacyTree], name: str
) -> None:
    before, after = odd
    source, table = name.split(".")
    count = values(before.path(source), f"SELECT count(*) FROM {table}")[0][0]
    assert isinstance(count, int)
    assert count > 20
    assert_kept(before, after.root, source, table)


def test_odd_values_come_back_from_a_rollback_too(
    odd: tuple[LegacyTree, LegacyTree], tmp_path: Path
) -> None:
    before, after = odd
    again = after.copy(tmp_path / "again")
    again.rollback()
    assert again.state == before.state


def test_the_unified_values_keep_their_checks(odd: tuple[LegacyTree, LegacyTree]) -> None:
    _, after = odd
    with opened(after.root) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
    assert found == [("ok",)]


# Identifiers --------------------------------------------------------------------------------


def test_a_row_without_an_id_gets_one_and_keeps_its_null(tree: LegacyTree, tmp_path: Path) -> None:
    tree.run("legacy", "INSERT INTO task_contexts (id, title) VALUES (NULL, 'a'), (NULL, 'b')")
    tree.insert("root", "task_contexts", id=None, title="c")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    found = values(tree.root, "SELECT id FROM task_contexts WHERE title IN ('a', 'b', 'c')")
    assert len(set(found)) == 3
    assert (None,) not in found
    assert values(tree.root, "SELECT DISTINCT rule FROM origin_legacy_task_contexts") == [
        ("keyed",)
    ]


def test_a_row_without_an_id_does_not_send_its_chunk_the_careful_way(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.run("legacy", "INSERT INTO task_contexts (id, title) VALUES ('a', 'a'), (NULL, 'b')")
    monkeypatch.delattr(copying, "Placing")
    tree.apply()
    query = "SELECT source_rowid, rule, x_id FROM origin_legacy_task_contexts"
    assert values(tree.root, query) == [(1, "kept", None), (2, "keyed", None)]


def test_an_id_that_another_thing_has_is_renamed_and_nothing_overwritten(
    tree: LegacyTree, tmp_path: Path
) -> None:
    tree.insert("root", "task_contexts", id="t1", title="root's")
    tree.insert("root", "task_contexts", id="legacy:t1", title="sits on the first other name")
    tree.insert("legacy", "task_contexts", id="t1", title="legacy's")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    found = dict(values(tree.root, "SELECT title, id FROM task_contexts"))
    assert found == {
        "root's": "t1",
        "sits on the first other name": "legacy:t1",
        "legacy's": "legacy:t1~",
    }
    assert values(tree.root, "SELECT rule FROM origin_legacy_task_contexts") == [("renamed",)]


def test_new_names_do_not_collide_among_themselves(tree: LegacyTree, tmp_path: Path) -> None:
    tree.insert("root", "task_contexts", id="t1", title="root's")
    for identifier in ("t1", "legacy:t1", "legacy:t1~", "legacy:task_contexts:9", None):
        tree.insert("legacy", "task_contexts", id=identifier, title=f"legacy's {identifier}")
    tree.run("legacy", "UPDATE task_contexts SET rowid = 9 WHERE id IS NULL")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert values(tree.root, "SELECT count(DISTINCT id) FROM task_contexts") == [(6,)]


def test_ids_that_differ_in_type_only_both_stay(tree: LegacyTree, tmp_path: Path) -> None:
    tree.run(
        "legacy",
        "DROP TABLE sessions; CREATE TABLE sessions (id PRIMARY KEY, name, context, metadata,"
        " created_at, updated_at);"
        "INSERT INTO sessions (id, name) VALUES (1, 'i'), ('1', 't'), (x'31', 'b'), (1.5, 'r'),"
        " ('a', 'l'), ('A', 'u'), ('a ', 's')",
    )
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert values(tree.root, "SELECT count(*) FROM sessions") == [(7,)]


def test_the_same_task_in_two_databases_becomes_one_row(tree: LegacyTree, tmp_path: Path) -> None:
    tree.insert("root", "task_contexts", id="t1", title="one", description="d", status="active")
    tree.insert("legacy", "task_contexts", id="t1", title="one", description="d", status="pending")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert values(tree.root, "SELECT id, status FROM task_contexts") == [("t1", "active")]
    assert values(tree.root, "SELECT rule FROM origin_legacy_task_contexts") == [("merged",)]


def test_equal_usage_and_sessions_in_two_databases_become_one_row_unless_they_differ(
    tree: LegacyTree, tmp_path: Path
) -> None:
    _add_tables_of_newer_copies(tree)
    session = {"name": "n", "created_at": "c", "updated_at": "u"}
    for source in ("root", "legacy"):
        tree.insert(source, "sessions", id="same", **session)
        tree.insert(source, "sessions", id="other", context=source, **session)
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    found = values(tree.root, "SELECT id FROM sessions ORDER BY id")
    assert found == [("legacy:other",), ("other",), ("same",)]


def test_the_same_text_as_a_memory_and_as_a_block_becomes_one_block(
    tree: LegacyTree, tmp_path: Path
) -> None:
    block = {"id": "m1", "content": "text", "type": "note"}
    vector = {"embedding_vector": b"\0\0\x80?", "dimensions": 1, "model_id": "m"}
    tree.insert("legacy", "memory_blocks", timestamp="t", **block)
    tree.insert("vector", "vector_memories", created_at="t2", **block, **vector)
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert values(tree.root, "SELECT id FROM memory_blocks") == [("m1",)]
    assert values(tree.root, "SELECT block_id FROM memory_block_embeddings") == [("m1",)]


# Shapes ---------------------------------------------------------------------------------


def test_an_old_copy_with_three_tables_migrates(tmp_path: Path) -> None:
    tree = LegacyTree.make(tmp_path / "devflow", without=["legacy"])
    tree.run(
        "legacy",
        "CREATE TABLE task_contexts (id TEXT PRIMARY KEY, title TEXT NOT NULL);"
        "CREATE TABLE memory_blocks (id TEXT PRIMARY KEY, content TEXT NOT NULL, type TEXT);"
        "CREATE TABLE memory_block_embeddings (id TEXT, memory_block_id TEXT,"
        " embedding_vector BLOB);"
        "INSERT INTO task_contexts VALUES ('t', 'title');"
        "INSERT INTO memory_blocks VALUES ('m', 'text', NULL);"
        "INSERT INTO memory_block_embeddings VALUES (NULL, 'm', x'00')",
    )
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert assert_all_kept(before, tree.root) == 3
    tree.rollback()
    assert tree.state == before.state


def test_columns_that_nobody_planned_for_come_along(tree: LegacyTree, tmp_path: Path) -> None:
    tree.run(
        "legacy",
        """ALTER TABLE task_contexts ADD COLUMN "od""d name";
        ALTER TABLE task_contexts ADD COLUMN seq INTEGER;
        ALTER TABLE task_contexts ADD COLUMN rule TEXT;
        ALTER TABLE task_contexts ADD COLUMN twice GENERATED ALWAYS AS (seq * 2) VIRTUAL;
        INSERT INTO task_contexts (id, title, "od""d name", seq, rule)
        VALUES ('t', 'x', -0.0, 7, x'00')""",
    )
    tree.run(
        "root",
        "ALTER TABLE task_contexts ADD COLUMN origin TEXT;"
        "INSERT INTO task_contexts (id, title, origin) VALUES ('r', 'y', NULL)",
    )
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    found = values(tree.root, "SELECT name FROM schema_decisions WHERE type = 'column' ORDER BY 1")
    assert [name for (name,) in found] == [
        'task_contexts.od"d name',
        "task_contexts.origin",
        "task_contexts.rule",
        "task_contexts.seq",
        "task_contexts.twice",
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE task_contexts (id TEXT PRIMARY KEY, title TEXT) WITHOUT ROWID",
        "CREATE TABLE task_contexts (id TEXT PRIMARY KEY, title TEXT, rowid TEXT)",
        "CREATE TABLE task_contexts (ID TEXT PRIMARY KEY, TITLE TEXT)",
        "CREATE TABLE Task_Contexts (id TEXT PRIMARY KEY, title TEXT)",
        "CREATE TABLE task_contexts (name TEXT, title TEXT)",
        "CREATE TABLE task_contexts (id TEXT PRIMARY KEY, title TEXT, DESCRIPTION TEXT)",
        "CREATE TABLE task_contexts (id INTEGER PRIMARY KEY, title TEXT)",
        "CREATE TABLE task_contexts (id TEXT PRIMARY KEY, title TEXT) STRICT",
    ],
)
@pytest.mark.parametrize("source", ["root", "legacy"])
def test_a_planned_name_in_another_shape_keeps_its_rows(
    tmp_path: Path, source: str, statement: str
) -> None:
    tree = LegacyTree.make(tmp_path / "devflow", without=[source])
    tree.run(source, statement)
    columns = [row[0] for row in values(tree.path(source), "PRAGMA table_xinfo(task_contexts)")]
    tree.run(source, f"INSERT INTO task_contexts VALUES ({', '.join(str(n + 1) for n in columns)})")
    before = tree.copy(tmp_path / "before")
    tree.apply("validate")
    assert assert_all_kept(before, tree.root) == 1
    tree.rollback()
    assert tree.state == before.state


def test_rowids_of_either_sign_are_all_copied(tree: LegacyTree, tmp_path: Path) -> None:
    for rowid in (-(2**63), -5, 0, 1, 2**63 - 1):
        tree.run(
            "legacy",
            "INSERT INTO task_contexts (rowid, id, title) VALUES (?, ?, 'x')",
            (rowid, f"t{rowid}"),
        )
        tree.insert("root", "session_audit_log", id=rowid, session_id="s")
    before = tree.copy(tmp_path / "before")
    tree.apply("shadow")
    assert assert_all_kept(before, tree.directory / ".devflow-migration/unified.sqlite") == 10


def test_a_planned_sequence_never_gives_a_deleted_number_again(
    tree: LegacyTree, tmp_path: Path
) -> None:
    tree.insert("root", "session_audit_log", id=99, session_id="s")
    tree.run("root", "DELETE FROM session_audit_log")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    found = values(tree.root, "SELECT seq FROM sqlite_sequence WHERE name = 'session_audit_log'")
    assert found == [(99,)]
    mapped = values(tree.root, "SELECT * FROM carried_sequences WHERE source = 'root'")
    assert mapped == [("root", "session_audit_log", "session_audit_log")]
    tree.rollback()
    assert tree.state == before.state


def test_ids_and_versions_that_the_migration_would_make_up_are_left_to_those_who_have_them(
    tree: LegacyTree, tmp_path: Path
) -> None:
    tree.insert("root", "task_contexts", id="legacy-import", title="taken")
    tree.insert("root", "schema_versions", version="2.0.0")
    add_block(tree, "m1")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert values(tree.root, "SELECT task_id FROM memory_blocks") == [("legacy-import~",)]
    versions = values(tree.root, "SELECT version FROM schema_versions ORDER BY seq")
    assert versions == [("2.0.0",), ("2.0.0+",)]


def test_entities_of_types_that_are_none_keep_their_names_apart(
    tree: LegacyTree, tmp_path: Path
) -> None:
    for kind in ("pattern", "concept", "idea"):
        tree.run(
            "root",
            "PRAGMA ignore_check_constraints = ON; INSERT INTO knowledge_entities"
            " (id, entity_type, name, extraction_source) VALUES (?1, ?1, 'Lens', '{}')",
            (kind,),
        )
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    found = values(tree.root, "SELECT entity_type, name FROM knowledge_entities ORDER BY seq")
    assert found == [("pattern", "Lens"), ("pattern", "Lens [concept]"), ("pattern", "Lens [idea]")]


def test_rows_that_the_unified_table_allows_once_stop_the_migration_and_can_be_taken_back(
    tmp_path: Path,
) -> None:
    tree = LegacyTree.make(tmp_path / "devflow", without=["root"])
    tree.run(
        "root",
        "CREATE TABLE cost_analytics (id TEXT PRIMARY KEY, date TEXT, platform TEXT, model TEXT);"
        "INSERT INTO cost_analytics VALUES ('a', 'd', 'p', 'm'), ('b', 'd', 'p', 'm')",
    )
    before = tree.copy(tmp_path / "before")
    code, events = tree.call("apply")
    assert code == 3
    assert events[-1]["text"].startswith("SQLite refused: UNIQUE constraint failed: cost_analytics")
    assert tree.state == before.state
    tree.rollback()
    assert tree.status == "none"


def test_empty_databases_migrate_and_come_back(tree: LegacyTree, tmp_path: Path) -> None:
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert values(tree.root, "SELECT count(*) FROM task_contexts") == [(0,)]
    assert sorted(DATABASES) == ["legacy", "root", "vector"]
    tree.rollback()
    assert tree.state == before.state
