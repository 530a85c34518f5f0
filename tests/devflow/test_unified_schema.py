"""The unified schema: each trigger, view and index works, and full-text search keeps step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import apsw
import pytest

from devflow.migration.account import script
from devflow.migration.database import statements

TASK = "INSERT INTO task_contexts (id, title, description) VALUES ('t', 'Birds', 'they migrate')"
BLOCK = (
    "INSERT INTO memory_blocks (id, task_id, session_id, block_type, label, content)"
    " VALUES ('m', 't', 's', 'decision', 'label', 'we decided to migrate')"
)
ENTITY = (
    "INSERT INTO knowledge_entities (id, entity_type, name, description, extraction_source, tags)"
    " VALUES ('k', 'pattern', 'Lens', 'two ways', '{}', '[\"law\"]')"
)
SESSION = "INSERT INTO coordination_sessions (id, task_id, platform) VALUES ('c', 't', 'cursor')"
EMBEDDING = (
    "INSERT INTO memory_block_embeddings (id, block_id, model, dimensions, embedding, updated_at)"
    " VALUES ('e', 'm', 'x', 1, x'0000803f', 'old')"
)


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(script()).fetchall()
        for statement in (TASK, BLOCK, ENTITY, SESSION, EMBEDDING):
            connection.execute(statement)
        yield connection


def ask(db: apsw.Connection, query: str, *bindings: object) -> list[tuple[object, ...]]:
    return db.execute(query, bindings).fetchall()  # type: ignore[arg-type]


def found(db: apsw.Connection, index: str, word: str) -> int:
    return len(ask(db, f"SELECT rowid FROM {index} WHERE {index} MATCH ?", word))


def check(db: apsw.Connection) -> None:
    for index in ("memory_fts", "tasks_fts", "knowledge_entities_fts"):
        db.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)")
    assert ask(db, "PRAGMA integrity_check") == [("ok",)]
    assert ask(db, "PRAGMA foreign_key_check") == []


def names(db: apsw.Connection, kind: str) -> set[str]:
    return {str(name) for (name,) in ask(db, "SELECT name FROM sqlite_master WHERE type = ?", kind)}


FULL_TEXT = {
    "tasks_fts": ("task_contexts", "title", "description"),
    "memory_fts": ("memory_blocks", "content", "label"),
    "knowledge_entities_fts": ("knowledge_entities", "name", "description", "tags"),
}


@pytest.mark.parametrize("index", FULL_TEXT)
def test_full_text_search_follows_inserts_updates_and_deletes(
    db: apsw.Connection, index: str
) -> None:
    table, *searched = FULL_TEXT[index]
    for number, column in enumerate(searched):
        before = ask(db, f"SELECT {column} FROM {table}")[0][0]
        old = str(before).strip("[]\"'").split()[-1]
        assert found(db, index, old), column
        db.execute(f"UPDATE {table} SET {column} = ?", (f"replaced{number} word",))
        assert not ask(db, f"SELECT 1 FROM {index} WHERE {index} MATCH ?", f"{column} : {old}"), (
            column
        )
        assert found(db, index, f"replaced{number}"), column
        check(db)
    db.execute(f"UPDATE {table} SET seq = 50")
    assert ask(db, f"SELECT rowid FROM {index} WHERE {index} MATCH 'replaced0'") == [(50,)]
    check(db)
    db.execute(f"DELETE FROM {table}")
    assert not found(db, index, "replaced0")
    check(db)


def test_an_update_that_leaves_the_text_alone_leaves_the_index_alone(db: apsw.Connection) -> None:
    before = ask(db, "SELECT id, block FROM memory_fts_data ORDER BY id")
    db.execute("UPDATE memory_blocks SET importance_score = 0.9")
    assert ask(db, "SELECT id, block FROM memory_fts_data ORDER BY id") == before


def test_search_knows_the_stem_of_a_word(db: apsw.Connection) -> None:
    assert found(db, "memory_fts", "migrating")
    assert found(db, "tasks_fts", "migrates")


@pytest.mark.parametrize(
    "table",
    [
        "task_contexts",
        "memory_blocks",
        "memory_block_embeddings",
        "knowledge_entities",
        "coordination_sessions",
    ],
)
def test_an_update_stamps_the_row_unless_its_writer_does(db: apsw.Connection, table: str) -> None:
    changed = {
        "task_contexts": "title",
        "memory_blocks": "content",
        "memory_block_embeddings": "model",
        "knowledge_entities": "name",
        "coordination_sessions": "model_used",
    }[table]
    db.execute(f"UPDATE {table} SET updated_at = 'his own stamp', {changed} = 'x'")
    assert ask(db, f"SELECT updated_at FROM {table}") == [("his own stamp",)]
    db.execute(f"UPDATE {table} SET {changed} = 'y'")
    assert ask(db, f"SELECT updated_at = CURRENT_TIMESTAMP FROM {table}") in ([(1,)], [(0,)])
    assert ask(db, f"SELECT updated_at FROM {table}") != [("his own stamp",)]
    check(db)


def test_a_completed_task_knows_when(db: apsw.Connection) -> None:
    db.execute("UPDATE task_contexts SET status = 'active'")
    assert ask(db, "SELECT completed_at FROM task_contexts") == [(None,)]
    db.execute("UPDATE task_contexts SET status = 'completed'")
    assert ask(db, "SELECT completed_at IS NULL FROM task_contexts") == [(0,)]
    db.execute("UPDATE task_contexts SET completed_at = 'then'")
    db.execute("UPDATE task_contexts SET status = 'completed'")
    assert ask(db, "SELECT completed_at FROM task_contexts") == [("then",)]


def test_an_access_counts_and_an_edit_does_not(db: apsw.Connection) -> None:
    db.execute("UPDATE memory_blocks SET label = 'edited'")
    assert ask(db, "SELECT access_count FROM memory_blocks") == [(1,)]
    db.execute("UPDATE memory_blocks SET last_accessed = 'now'")
    assert ask(db, "SELECT access_count FROM memory_blocks") == [(2,)]


def test_a_session_without_a_stamp_gets_one(db: apsw.Connection) -> None:
    db.execute(
        "INSERT INTO coordination_sessions (id, task_id, platform, updated_at)"
        " VALUES ('d', 't', 'cursor', NULL), ('f', 't', 'cursor', 'his')"
    )
    stamped = ask(db, "SELECT id, updated_at IS NULL, updated_at = 'his' FROM coordination_sessions"
                      " WHERE id IN ('d', 'f') ORDER BY id")  # fmt: skip
    assert stamped == [("d", 0, 0), ("f", 0, 1)]


def test_a_sessions_status_is_audited_and_its_end_is_stamped(db: apsw.Connection) -> None:
    db.execute("UPDATE coordination_sessions SET status = 'active'")
    assert ask(db, "SELECT count(*) FROM session_audit_log") == [(0,)]
    db.execute("UPDATE coordination_sessions SET status = 'handed_off'")
    db.execute("UPDATE coordination_sessions SET status = 'completed'")
    audited = ask(db, "SELECT session_id, old_status, new_status FROM session_audit_log")
    assert audited == [("c", "active", "handed_off"), ("c", "handed_off", "completed")]
    assert ask(db, "SELECT end_time IS NULL, duration_seconds IS NULL FROM coordination_sessions"
               ) == [(0, 0)]  # fmt: skip
    check(db)


def test_a_sessions_own_end_is_kept(db: apsw.Connection) -> None:
    db.execute("UPDATE coordination_sessions SET end_time = '2025-09-18 22:00:00'")
    db.execute("UPDATE coordination_sessions SET status = 'completed'")
    assert ask(db, "SELECT end_time FROM coordination_sessions") == [("2025-09-18 22:00:00",)]


def test_every_trigger_was_meant_by_a_test(db: apsw.Connection) -> None:
    assert names(db, "trigger") == {
        *(f"{table}_{when}" for table in ("memory_blocks", "task_contexts", "knowledge_entities")
          for when in ("ai", "ad", "au")),
        *(f"{table}_update_timestamp" for table in ("memory_blocks", "task_contexts",
                                                    "knowledge_entities", "memory_embeddings")),
        "task_contexts_completion_tracking",
        "update_memory_access",
        *(f"memory_embeddings_{what}" for what in ("changed", "deleted", "put_in")),
        *(f"trg_coordination_sessions_{what}" for what in ("insert_timestamp", "update_timestamp",
                                                           "status_change", "completion")),
        *(f"synthetic_usage_counts_{when}" for when in ("insert", "delete", "before", "after")),
        *(f"cost_sums_shown_{when}" for when in ("insert", "update")),
        "memory_blocks_unlearned",
        *(f"knowledge_learned_{what}" for what in ("added", "gone")),
        *(f"knowledge_mentions_{what}" for what in ("paired", "parted")),
        *(f"knowledge_pairs_{what}" for what in ("counted", "gone")),
    }  # fmt: skip


def test_pairs_of_entities_are_counted_whoever_deletes_what_mentions_them(
    db: apsw.Connection,
) -> None:
    db.execute("INSERT INTO memory_blocks (id, task_id, session_id, block_type, label, content)"
               " VALUES ('n', 't', 's', 'decision', 'l', 'c');"
               "INSERT INTO knowledge_entities (seq, id, entity_type, name, extraction_source)"
               " VALUES (7, 'x', 'rule', 'x', '{}'), (8, 'y', 'rule', 'y', '{}');"
               "INSERT INTO knowledge_learned SELECT seq, 'd', 'r', 'now' FROM memory_blocks;"
               "INSERT INTO knowledge_mentions (block_seq, entity_seq, times, snippet)"
               " SELECT b.seq, e.seq, 1, 's' FROM memory_blocks AS b, knowledge_entities AS e"
               " WHERE e.seq IN (7, 8);"
               "INSERT INTO entity_relationships (seq, source_entity_id, target_entity_id,"
               " relationship_type, confirmed_count) VALUES (5, 'x', 'y', 'co_occurs', 2);"
               "UPDATE knowledge_pairs SET relationship_seq = 5")  # fmt: skip
    counted = "SELECT p.blocks, r.confirmed_count FROM knowledge_pairs AS p LEFT JOIN"
    counted += " entity_relationships AS r ON r.seq = p.relationship_seq"
    assert ask(db, counted) == [(2, 2)]
    assert ask(db, "DELETE FROM knowledge_stale RETURNING seq") == [(1,)]
    db.execute("UPDATE memory_blocks SET label = 'l', content = content")
    assert ask(db, counted) == [(2, 2)]
    db.execute("UPDATE memory_blocks SET content = 'new' WHERE id = 'n'")
    assert ask(db, counted) == [(1, 1)]
    assert ask(db, "SELECT seq FROM knowledge_stale") == [(1,)]
    db.execute("DELETE FROM memory_blocks")
    assert ask(db, counted) == []
    assert ask(db, "SELECT count(*) FROM entity_relationships") == [(0,)]
    check(db)


def changes(db: apsw.Connection) -> list[object]:
    return [seq for (seq,) in ask(db, "SELECT embedding_seq FROM memory_embedding_changes")]


def test_what_happens_to_embeddings_elsewhere_than_at_the_end_is_noted(
    db: apsw.Connection,
) -> None:
    new = "INSERT {} INTO memory_block_embeddings (seq, block_id, model, dimensions, embedding)"
    added = new.format("") + " VALUES (?, 'm', 'y', 1, x'00000000')"
    db.execute(added, (None,))
    db.execute(added, (20,))
    assert changes(db) == []
    db.execute(added, (10,))
    db.execute("UPDATE memory_block_embeddings SET embedding = x'0000803f' WHERE seq = 20")
    db.execute("UPDATE memory_block_embeddings SET updated_at = 'then' WHERE seq = 20")
    db.execute("UPDATE memory_block_embeddings SET seq = 11 WHERE seq = 10")
    assert changes(db) == [10, 20, 10, 11]
    db.execute(new.format("OR REPLACE") + " VALUES (20, 'm', 'z', 1, x'00000000')")
    db.execute("DELETE FROM memory_blocks")
    assert sorted(map(str, changes(db)[4:])) == ["1", "11", "2", "20", "20"]


# Views ------------------------------------------------------------------------------------------


def test_every_view_selects_what_is_there(db: apsw.Connection) -> None:
    db.execute(
        "INSERT INTO platform_performance (platform, capability_domain, task_type, success_rate)"
        " VALUES ('cursor', 'debugging', 'x', 0.5), ('cursor', 'debugging', 'y', 1.0);"
        "UPDATE coordination_sessions SET end_time = datetime(start_time, '+60 seconds'),"
        " tokens_used = 10, handoff_success = 1, user_satisfaction = 4"
    )
    rows = {view: ask(db, f"SELECT * FROM {view}") for view in names(db, "view")}
    assert rows["active_tasks"][0][:4] == ("t", "Birds", "m-", None)
    assert rows["active_tasks_with_sessions"][0][0] == "t"
    assert rows["active_tasks_with_sessions"][0][-1] == 1
    assert rows["recent_memory_blocks"][0][:3] == ("m", "decision", "s")
    assert rows["platform_performance_summary"][0][:4] == ("cursor", "debugging", 0.75, 2)
    assert rows["knowledge_entity_types_summary"] == [("pattern", 1, 0.5)]
    efficiency = rows["platform_efficiency_summary"][0]
    assert efficiency[0] == "cursor"
    assert efficiency[1:4] == (1, pytest.approx(60, abs=0.01), 10)
    assert rows["counted_usage"] == rows["counted_analytics"] == []
    assert len(rows) == 8


# Keys ---------------------------------------------------------------------------------------------


def test_a_block_takes_its_embeddings_with_it_and_a_task_its_blocks(db: apsw.Connection) -> None:
    db.execute("DELETE FROM task_contexts")
    for table in ("memory_blocks", "memory_block_embeddings", "coordination_sessions"):
        assert ask(db, f"SELECT count(*) FROM {table}") == [(0,)]
    check(db)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO memory_blocks (task_id, session_id, block_type, label, content)"
        " VALUES ('no such', 's', 'context', 'l', 'c')",
        "INSERT INTO memory_block_embeddings (block_id, model, dimensions, embedding)"
        " VALUES ('no such', 'm', 1, x'00')",
        "INSERT INTO coordination_sessions (task_id, platform) VALUES ('no such', 'cursor')",
        "INSERT INTO task_contexts (title, parent_task_id) VALUES ('x', 'no such')",
        "INSERT INTO task_contexts (id, title) VALUES (NULL, 'x')",
        "INSERT INTO task_contexts (id, title) VALUES ('t', 'x')",
        "INSERT INTO task_contexts (title, status) VALUES ('x', 'pending')",
        "INSERT INTO model_health_history (provider, healthy) VALUES ('no such', 1)",
        "INSERT INTO session_audit_log (session_id) VALUES ('no such')",
    ],
)
def test_a_new_row_must_fit(db: apsw.Connection, statement: str) -> None:
    with pytest.raises(apsw.ConstraintError):
        db.execute(statement)


def test_a_block_has_as_many_embeddings_as_there_are_models(db: apsw.Connection) -> None:
    for model in ("y", "z"):
        db.execute(
            "INSERT INTO memory_block_embeddings (block_id, model, dimensions, embedding)"
            " VALUES ('m', ?, 1, x'00')",
            (model,),
        )
    assert ask(db, "SELECT count(*) FROM memory_block_embeddings WHERE block_id = 'm'") == [(3,)]
    check(db)


def test_every_table_has_a_rowid_that_stays_and_a_key_that_is_never_null(
    db: apsw.Connection,
) -> None:
    ours = (
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
        " AND name NOT GLOB 'sqlite_*'"
    )
    for (table,) in ask(db, ours):
        keys = ask(db, 'SELECT type, "notnull" FROM pragma_table_xinfo(?) WHERE pk', table)
        assert keys, table
        assert all(kind == "INTEGER" or not_null for kind, not_null in keys), table


def test_no_index_is_there_twice(db: apsw.Connection) -> None:
    seen: dict[object, str] = {}
    for name, table in ask(
        db, "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND sql NOT NULL"
    ):
        shape = (table, *ask(db, 'SELECT name, "desc", coll FROM pragma_index_xinfo(?)', name))
        assert shape not in seen, (name, seen.get(shape))
        seen[shape] = str(name)


def test_the_script_is_split_into_whole_statements() -> None:
    with closing(apsw.Connection(":memory:")) as one, closing(apsw.Connection(":memory:")) as two:
        one.execute(script()).fetchall()
        for statement in statements(script()):
            two.execute(statement).fetchall()
        query = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
        assert ask(one, query) == ask(two, query)
