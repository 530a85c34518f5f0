"""What is written to the unified database flows back into the old shapes, and no trace stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
from devflow_tree import (
    REPOSITORY,
    LegacyTree,
    add_block,
    add_earlier,
    add_embedding,
    table_rows,
    values,
)
from reversing import Reversed, migrated_again

from devflow.live import reverse
from devflow.migration.errors import MigrationError
from devflow.services.database_manager.legacy import memory as old_memory
from devflow.services.database_manager.legacy import tasks as old_tasks
from devflow.services.database_manager.memory import work as memory
from devflow.services.database_manager.tasks import work as tasks
from devflow.services.vector_memory import legacy as old_vectors
from devflow.services.vector_memory.embedding import Embedded

_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"
EVERYTHING = [  # of the hazards, all that can be together
    *("auto-vacuum", "autoincrement-gap", "blobs-as-text", "dangling-foreign-keys"),
    *("duplicate-embeddings", "earlier-attempt", "earlier-attempt-edited", "embedded-nul"),
    *("embeddings-in-the-block", "emoji", "empty-strings-beside-nulls", "extra-columns"),
    *("equal-ids-different-things", "equal-ids-same-thing", "extra-tables", "foreign-page-size"),
    *("ids-differ-in-case", "ids-differ-in-trailing-blanks", "ids-of-odd-text"),
    *("ids-that-look-numeric", "integer-extremes", "integers-as-text", "integral-reals"),
    *("invalid-utf8", "malformed-vectors", "mixed-dimensions", "mixed-timestamps"),
    *("nan-and-infinity-vectors", "negative-zero", "null-primary-keys", "orphan-embeddings"),
    *("orphan-sessions", "parent-cycle", "root-has-usage-and-sessions", "rowid-gaps"),
    *("rows-only-in-wal", "several-embeddings-per-block", "text-that-looks-numeric"),
    *("unplanned-awkward-names", "unplanned-composite-keys", "unplanned-fts5"),
    *("unplanned-generated-columns", "unplanned-same-names", "unplanned-strict"),
    *("unplanned-takes-planned-names", "unplanned-triggers", "unplanned-without-rowid"),
    *("values-outside-checks", "vector-in-legacy"),
]


def build(profile: str, out: Path, *hazards: str) -> LegacyTree:
    """Build a fixture as the command does."""
    chosen = [part for name in hazards for part in ("--hazard", name)]
    subprocess.run(
        [sys.executable, "-m", "harness", "build", profile, "--out", str(out), *chosen],
        cwd=REPOSITORY, check=True, capture_output=True,
    )  # fmt: skip
    return LegacyTree(out)


@pytest.fixture
def reversed_(tree: LegacyTree, tmp_path: Path) -> Iterator[Reversed]:
    """A small tree, migrated, whose writes are noted."""
    tree.insert("root", "task_contexts", id="r1", title="of root")
    tree.insert("legacy", "task_contexts", id="t1", title="of legacy", status="in_progress")
    add_block(tree, "m1", type="note")
    add_embedding(tree, "e1", "m1")
    tree.insert(
        "vector", "vector_memories", id="v1", content="text", type="note", metadata="{}",
        embedding_vector=b"\0\0\x80?", dimensions=1, model_id="m",
    )  # fmt: skip
    with closing(Reversed(tree, tmp_path)) as found:
        yield found


def legacy(reversed_: Reversed, source: str, query: str) -> list[Any]:
    return values(reversed_.back.path(source), query)


# Noting ------------------------------------------------------------------------------------------


def noted(reversed_: Reversed) -> list[tuple[object, ...]]:
    found = reversed_.unified.execute("SELECT target, key FROM reverse_log ORDER BY n").fetchall()
    reversed_.unified.execute("DELETE FROM reverse_log")
    return found


def test_installing_twice_is_as_once_and_removing_leaves_the_schema_as_it_was(
    tree: LegacyTree,
) -> None:
    tree.apply()
    with closing(apsw.Connection(str(tree.root))) as connection:
        before = connection.execute(_SCHEMA).fetchall()
        watched = reverse.install(connection)
        installed = connection.execute(_SCHEMA).fetchall()
        assert reverse.install(connection) == watched > 25
        assert connection.execute(_SCHEMA).fetchall() == installed != before
        reverse.remove(connection)
        assert connection.execute(_SCHEMA).fetchall() == before


def test_each_kind_of_write_is_noted_by_its_key(reversed_: Reversed) -> None:
    run = reversed_.unified.execute
    run("INSERT INTO sessions VALUES (7, 'a', 'n', NULL, NULL, 'c', 'u')")
    assert noted(reversed_) == [("sessions", 7)]
    run("UPDATE sessions SET name = 'm' WHERE seq = 7")
    assert noted(reversed_) == [("sessions", 7)]
    run("UPDATE sessions SET seq = 9 WHERE seq = 7")
    assert noted(reversed_) == [("sessions", 7), ("sessions", 9)]
    run("DELETE FROM sessions WHERE seq = 9")
    assert noted(reversed_) == [("sessions", 9)]


@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_what_a_replace_displaces_is_noted_whatever_the_writer_has_set(
    reversed_: Reversed, recursive: str
) -> None:
    run = reversed_.unified.execute
    run(f"PRAGMA recursive_triggers = {recursive}")
    run("INSERT INTO sessions VALUES (7, 'a', 'n', NULL, NULL, 'c', 'u')")
    noted(reversed_)
    run("INSERT OR REPLACE INTO sessions VALUES (8, 'a', 'n', NULL, NULL, 'c', 'u')")
    assert set(noted(reversed_)) == {("sessions", 7), ("sessions", 8)}
    run("INSERT INTO sessions VALUES (9, 'b', 'n', NULL, NULL, 'c', 'u')")
    noted(reversed_)
    run("UPDATE OR REPLACE sessions SET id = 'a' WHERE seq = 9")
    assert set(noted(reversed_)) == {("sessions", 8), ("sessions", 9)}


def test_a_unique_index_over_some_rows_notes_only_those(reversed_: Reversed) -> None:
    run = reversed_.unified.execute
    run("INSERT INTO model_providers (seq, name, is_active) VALUES (51, 'a', 1), (52, 'b', 0)")
    noted(reversed_)
    run("INSERT INTO model_providers (seq, name, is_active) VALUES (53, 'c', 0)")
    assert noted(reversed_) == [("model_providers", 53)]


def test_draining_what_nobody_notes_is_refused_with_a_sentence(
    tree: LegacyTree, tmp_path: Path
) -> None:
    tree.apply()
    with (
        closing(apsw.Connection(str(tree.root))) as unified,
        closing(apsw.Connection(str(tmp_path / "sidecar.sqlite"))) as sidecar,
        pytest.raises(MigrationError, match="nobody notes what is written"),
    ):
        reverse.drain(unified, {}, sidecar=sidecar)


# Get, then put -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "hazards"),
    [("as-planned", []), ("partially-migrated", []), ("real-like", EVERYTHING)],
    ids=["as-planned", "partially-migrated", "every-hazard"],
)
def test_what_was_touched_and_not_changed_leaves_the_legacy_databases_as_they_were(
    tmp_path: Path, profile: str, hazards: list[str]
) -> None:
    with closing(Reversed(build(profile, tmp_path / "tree", *hazards), tmp_path)) as found:
        done = found.drain()
        assert (done.written, done.deleted, done.unchanged) == ({}, {}, 0)
        assert found.states() == found.states_before()
        rows = found.touch_everything()
        done = found.drain()
        assert (done.written, done.deleted, done.behind) == ({}, {}, 0)
        assert done.unchanged > rows // 3
        found.forget()
        assert found.states() == found.states_before()


# Put ---------------------------------------------------------------------------------------------


def test_an_old_clients_task_comes_back_in_its_own_words(reversed_: Reversed) -> None:
    given = {"title": "new", "description": None, "status": "waiting for me", "priority": "P0"}
    made = reversed_.write(lambda c: old_tasks.create(c, "t2", given))
    reversed_.write(lambda c: old_tasks.change(c, "t1", {"priority": "urgent"}))
    reversed_.drain()
    found = legacy(reversed_, "legacy", "SELECT id, title, status, priority, created_at FROM"
                   " task_contexts ORDER BY 1")  # fmt: skip
    assert found[0][:4] == ("t1", "of legacy", "in_progress", "urgent")
    assert found[1] == ("t2", "new", "waiting for me", "P0", made["created_at"])
    assert legacy(reversed_, "root", "SELECT id FROM task_contexts") == [("r1",)]


def test_a_state_that_a_new_client_set_comes_back_as_the_old_word_for_it(
    reversed_: Reversed,
) -> None:
    reversed_.write(lambda c: tasks.move(c, "t1", "archived"))
    reversed_.drain()
    assert legacy(reversed_, "legacy", "SELECT status FROM task_contexts") == [("cancelled",)]


def test_a_deleted_row_is_deleted_and_a_new_one_is_found_again(reversed_: Reversed) -> None:
    told = {"content": "c", "type": "note", "timestamp": "then"}
    reversed_.write(lambda c: old_memory.delete(c, "m1"))
    reversed_.write(lambda c: old_memory.create(c, "m2", told))
    reversed_.drain()
    query = "SELECT id, content FROM memory_blocks"
    assert legacy(reversed_, "legacy", query) == [("m2", "c")]
    assert legacy(reversed_, "legacy", "SELECT count(*) FROM memory_block_embeddings") == [(0,)]
    reversed_.write(lambda c: memory.change(c, "m2", {"content": "changed"}))
    reversed_.drain()
    assert legacy(reversed_, "legacy", query) == [("m2", "changed")]
    reversed_.write(lambda c: old_memory.delete(c, "m2"))
    reversed_.drain()
    assert legacy(reversed_, "legacy", query) == []


def test_a_change_of_a_merged_row_reaches_every_row_that_it_was(
    tree: LegacyTree, tmp_path: Path
) -> None:
    add_earlier(tree, "new-1", "m1")
    add_block(tree, "m1")
    with closing(Reversed(tree, tmp_path)) as found:
        found.write(lambda c: memory.change(c, "new-1", {"content": "changed"}))
        found.drain()
        query = "SELECT id, content FROM memory_blocks"
        assert legacy(found, "legacy", query) == [("m1", "changed")]
        assert legacy(found, "root", query) == [("new-1", "changed")]


def test_names_that_are_swapped_are_swapped_even_where_the_log_is_cut_between(
    reversed_: Reversed,
) -> None:
    insert = "INSERT INTO knowledge_entities (entity_type, name, extraction_source) VALUES"
    reversed_.unified.execute(f"{insert} ('rule', 'one', '[]'), ('rule', 'two', '[]')")
    reversed_.drain()
    ids = legacy(reversed_, "root", "SELECT id FROM knowledge_entities ORDER BY name")
    reversed_.unified.execute("UPDATE knowledge_entities SET name = 'x' WHERE name = 'one'")
    reversed_.unified.execute("UPDATE knowledge_entities SET name = 'one' WHERE name = 'two'")
    reversed_.unified.execute("UPDATE knowledge_entities SET name = 'two' WHERE name = 'x'")
    while reversed_.drain(1).behind:
        pass
    query = "SELECT id FROM knowledge_entities ORDER BY name"
    assert legacy(reversed_, "root", query) == ids[::-1]


def test_legacy_triggers_and_fences_see_nothing_and_are_left_as_they_are(
    reversed_: Reversed,
) -> None:
    fence = (
        "CREATE TRIGGER fence BEFORE INSERT ON memory_blocks BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    reversed_.back.run("legacy", fence)
    told = {"content": "c", "type": "note", "timestamp": "then"}
    reversed_.write(lambda c: old_memory.create(c, "m2", told))
    reversed_.drain()
    assert legacy(reversed_, "legacy", "SELECT count(*) FROM memory_blocks") == [(2,)]
    insert = "INSERT INTO memory_blocks VALUES ('x', 'x', 'x', 'x', NULL)"
    with (
        closing(apsw.Connection(str(reversed_.back.path("legacy")))) as connection,
        pytest.raises(apsw.ConstraintError, match="no"),
    ):
        connection.execute(insert)


def test_an_index_that_legacy_triggers_keep_finds_what_came_back(
    tree: LegacyTree, tmp_path: Path
) -> None:
    tree.run(
        "legacy",
        "CREATE VIRTUAL TABLE words USING fts5 (content, content='memory_blocks');"
        "CREATE TRIGGER words_ai AFTER INSERT ON memory_blocks BEGIN INSERT INTO words"
        " (rowid, content) VALUES (NEW.rowid, NEW.content); END",
    )
    with closing(Reversed(tree, tmp_path)) as found:
        told = {"content": "a walrus", "type": "note", "timestamp": "then"}
        found.write(lambda c: old_memory.create(c, "m2", told))
        found.drain()
        query = "SELECT content FROM words WHERE words MATCH 'walrus'"
        assert legacy(found, "legacy", query) == [("a walrus",)]
        found.back.run("legacy", "INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")


# Keep, and put back ------------------------------------------------------------------------------


def replayed(reversed_: Reversed, folder: Path) -> Path:
    """Drain, go back, migrate again, and put back what was kept; return the unified database."""
    while reversed_.drain().behind:
        pass
    reversed_.forget()
    return migrated_again(reversed_, folder)


def test_knowledge_comes_back_to_the_rows_that_it_is_about_under_whatever_keys(
    reversed_: Reversed, tmp_path: Path
) -> None:
    run = reversed_.unified.execute
    for number in range(3):  # keys that the next migration will not give
        run(f"INSERT INTO knowledge_entities (seq, id, entity_type, name, extraction_source)"
            f" VALUES ({70 + number}, 'e{number}', 'rule', 'n{number}', '[]')")  # fmt: skip
    run("DELETE FROM knowledge_entities WHERE id = 'e0'")
    run("INSERT INTO knowledge_learned SELECT seq, 'digest', 'rules', 'now' FROM memory_blocks")
    for name in ("e1", "e2"):
        run("INSERT INTO knowledge_mentions (block_seq, entity_seq, times, snippet)"
            " SELECT b.seq, e.seq, 2, 'words' FROM memory_blocks AS b, knowledge_entities AS e"
            " WHERE b.id = 'm1' AND e.id = ?", (name,))  # fmt: skip
    run("INSERT INTO knowledge_priors SELECT seq, 0.5, 'pending', 1 FROM knowledge_entities")
    run("INSERT INTO knowledge_feedback (id, entity_seq, kind, given_at)"
        " SELECT 'f', seq, 'confirm', 'now' FROM knowledge_entities WHERE id = 'e2'")  # fmt: skip
    queries = (
        "SELECT b.id, e.id, m.times FROM knowledge_mentions AS m JOIN memory_blocks AS b"
        " ON b.seq = m.block_seq JOIN knowledge_entities AS e ON e.seq = m.entity_seq ORDER BY 2",
        "SELECT a.id, b.id, p.blocks FROM knowledge_pairs AS p JOIN knowledge_entities AS a"
        " ON a.seq = p.first_seq JOIN knowledge_entities AS b ON b.seq = p.second_seq",
        "SELECT e.id, f.kind FROM knowledge_feedback AS f JOIN knowledge_entities AS e"
        " ON e.seq = f.entity_seq",
        "SELECT e.id, p.confidence FROM knowledge_priors AS p JOIN knowledge_entities AS e"
        " ON e.seq = p.entity_seq ORDER BY 1",
        "SELECT b.id, l.digest FROM knowledge_learned AS l JOIN memory_blocks AS b"
        " ON b.seq = l.block_seq ORDER BY 1",
    )
    expected = [run(query).fetchall() for query in queries]
    assert all(expected)
    again = replayed(reversed_, tmp_path / "again")
    assert [values(again, query) for query in queries] == expected
    assert not values(again, "SELECT 1 FROM pragma_foreign_key_check")
    keys = "SELECT min(seq) FROM knowledge_entities"
    assert values(again, keys) != run(keys).fetchall()


def test_what_the_registry_learned_and_forgot_comes_back(tree: LegacyTree, tmp_path: Path) -> None:
    line = '{"timestamp": "2025-09-18T10:00:0%d.000Z", "message": "Health check completed",' \
        ' "ollama": true, "synthetic": false, "active": "ollama"}'  # fmt: skip
    tree.log("\n".join(line % number for number in range(3)).encode())
    with closing(Reversed(tree, tmp_path)) as found:
        run = found.unified.execute
        run("DELETE FROM model_health_history WHERE seq = 1")  # as retention does
        run("UPDATE model_health_history SET rolled_up = 1 WHERE seq = 2")
        run("INSERT INTO model_health_history (provider, healthy) VALUES ('ollama', 0)")
        run("INSERT INTO model_health_history (provider, healthy) VALUES ('ollama', 1)")
        run("DELETE FROM model_health_history WHERE seq = (SELECT max(seq) FROM"
            " model_health_history)")  # fmt: skip
        query = "SELECT * FROM model_health_history ORDER BY seq"
        expected = run(query).fetchall()
        again = replayed(found, tmp_path / "again")
        assert values(again, query) == expected


def test_a_row_that_its_table_refuses_is_kept_and_writes_over_nothing(
    tree: LegacyTree, tmp_path: Path
) -> None:
    for source in ("legacy", "root"):
        if source == "root":
            tree.run("root", "CREATE TABLE sessions (id TEXT PRIMARY KEY, name NOT NULL, context,"
                     " metadata, created_at NOT NULL, updated_at NOT NULL)")  # fmt: skip
        tree.insert(source, "sessions", id="s", name=source, created_at="c", updated_at="u")
    with closing(Reversed(tree, tmp_path)) as found:
        # Root's row is gone; what replaced it belongs to the Database Manager, which has another.
        found.unified.execute("INSERT OR REPLACE INTO sessions (id, name, created_at, updated_at)"
                              " VALUES ('s', 'new', 'c', 'u')")  # fmt: skip
        assert found.drain().kept == {"sessions": 1}
        assert legacy(found, "root", "SELECT id FROM sessions") == []
        assert legacy(found, "legacy", "SELECT id, name FROM sessions") == [("s", "legacy")]
        again = replayed(found, tmp_path / "again")
        names = values(again, "SELECT id, name FROM sessions ORDER BY name")
        assert names == [("s", "legacy"), ("s~", "new")]


def test_a_database_that_is_not_there_loses_nothing(tree: LegacyTree, tmp_path: Path) -> None:
    tree.path("vector").unlink()
    with closing(Reversed(tree, tmp_path)) as found:
        found.write(
            lambda c: old_vectors.store(
                c, Embedded(np.ones(2, dtype=np.float32), "m"), identifier="v1", content="text",
                kind="note", metadata=None,
            )
        )  # fmt: skip
        kept = found.drain().kept
        assert (kept["memory_blocks"], kept["memory_block_embeddings"]) == (1, 1)
        again = replayed(found, tmp_path / "again")
        assert values(again, "SELECT id, content FROM memory_blocks") == [("v1", "text")]
        assert not values(again, "SELECT 1 FROM pragma_foreign_key_check")


def test_a_position_in_an_older_log_is_none_in_a_new_one(reversed_: Reversed) -> None:
    told = {"content": "c", "type": "note", "timestamp": "then"}
    reversed_.write(lambda c: old_memory.create(c, "m2", told))
    reversed_.drain()
    reverse.remove(reversed_.unified)
    reverse.install(reversed_.unified)
    reversed_.write(lambda c: memory.change(c, "m1", {"content": "changed"}))
    reversed_.drain()
    query = "SELECT id, content FROM memory_blocks ORDER BY id"
    assert legacy(reversed_, "legacy", query) == [("m1", "changed"), ("m2", "c")]


# Tables that nobody planned for ------------------------------------------------------------------

_UNPLANNED = """
CREATE TABLE plain (word TEXT, UNIQUE (word));
CREATE TABLE odd (id INTEGER PRIMARY KEY, word TEXT, kind TEXT);
CREATE UNIQUE INDEX odd_words ON odd (lower(word));
CREATE UNIQUE INDEX odd_kinds ON odd (kind)
WHERE kind
  <> 'any';
CREATE TABLE some (id INTEGER PRIMARY KEY, word TEXT, active INTEGER);
CREATE UNIQUE INDEX some_words ON some (word) WHERE active;
CREATE TABLE keyed (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, word TEXT);
INSERT INTO plain VALUES ('one'), (CAST(x'61ff' AS TEXT)), (NULL), (NULL);
INSERT INTO odd VALUES (1, 'One', 'any'), (2, 'Two', 'only');
INSERT INTO some VALUES (1, 'w', 1), (2, 'w', 0);
INSERT INTO keyed VALUES ('a', 1), ('b', 2);
INSERT INTO counted VALUES (1, 'x');
"""


def test_tables_that_nobody_planned_for_are_followed_too(tree: LegacyTree, tmp_path: Path) -> None:
    tree.run("legacy", _UNPLANNED)
    with closing(Reversed(tree, tmp_path)) as found:
        run = found.unified.execute
        run("INSERT OR REPLACE INTO plain VALUES ('one')")
        run("UPDATE plain SET word = 'none' WHERE word IS NULL AND rowid = 3")
        run("INSERT OR REPLACE INTO odd VALUES (5, 'ONE', 'any')")
        run("UPDATE OR REPLACE odd SET kind = 'only' WHERE id = 5")
        run("UPDATE OR REPLACE some SET active = 1 WHERE id = 2")
        run("DELETE FROM keyed WHERE a = 'a'")
        run("INSERT INTO keyed VALUES ('c', 3)")
        run("INSERT INTO counted (word) VALUES ('y'), ('z')")
        run("DELETE FROM counted WHERE word = 'z'")
        assert found.drain().kept == {}
        found.forget()
        for table in ("plain", "odd", "some", "keyed", "counted"):
            assert table_rows(found.back.path("legacy"), table) == table_rows(tree.root, table)
        sequence = "SELECT seq FROM sqlite_sequence WHERE name = 'counted'"
        assert legacy(found, "legacy", sequence) == [(3,)]
