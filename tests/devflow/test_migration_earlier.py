"""Rows that an earlier attempt brought in are recognised, and every embedding finds its block."""

from __future__ import annotations

from pathlib import Path

import pytest
from devflow_tree import (
    LegacyTree,
    RawText,
    add_block,
    add_earlier,
    add_embedding,
    assert_all_kept,
    values,
)

from devflow.migration import copying

# Earlier attempts ---------------------------------------------------------------------------------


def test_an_earlier_attempts_block_is_recognised_and_repaired(
    tree: LegacyTree, tmp_path: Path
) -> None:
    add_earlier(tree, "new-1", "m1")
    add_earlier(tree, "new-2", "m2", block_type="implementation", embedding=b"kept")
    add_block(tree, "m1")
    add_block(tree, "m2", embedding=None, type="note")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    found = values(
        tree.root, "SELECT id, block_type, label, created_at, embedding FROM memory_blocks"
    )
    stamp = "2025-09-13T21:42:07.223Z"
    assert found == [
        ("new-1", "decision", "decision", stamp, b"\1\2\3\4"),
        ("new-2", "context", "note", stamp, b"kept"),
    ]
    rules = values(tree.root, "SELECT rule FROM origin_legacy_memory_blocks")
    assert rules == [("earlier-attempt",)] * 2


def test_an_embedding_of_an_earlier_attempts_block_hangs_from_that_block(
    tree: LegacyTree, tmp_path: Path
) -> None:
    add_earlier(tree, "new-1", "m1")
    add_block(tree, "m1")
    tree.insert(
        "legacy", "memory_block_embeddings", id="e1", memory_block_id="m1", model_id="m",
        embedding_vector=b"\0\0\x80?", dimensions=1,
    )  # fmt: skip
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert values(tree.root, "SELECT block_id FROM memory_block_embeddings") == [("new-1",)]


def test_a_block_that_was_edited_since_the_earlier_attempt_stays_beside_the_legacy_one(
    tree: LegacyTree, tmp_path: Path
) -> None:
    add_earlier(tree, "new-1", "m1", content="edited since")
    add_block(tree, "m1")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    found = values(tree.root, "SELECT id, content FROM memory_blocks ORDER BY 1")
    assert found == [("m1", "text of m1"), ("new-1", "edited since")]


def test_what_an_earlier_attempt_brought_twice_is_recognised_once(
    tree: LegacyTree, tmp_path: Path
) -> None:
    add_earlier(tree, "new-1", "m1")
    add_earlier(tree, "new-2", "m1")
    add_block(tree, "m1")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert values(tree.root, "SELECT count(*) FROM memory_blocks") == [(2,)]


@pytest.mark.parametrize(
    "metadata",
    [
        "{not json",
        "[]",
        '{"source":"migration"}',
        '{"source":"migration","original_id":7}',
        '{"source":"another","original_id":"m1"}',
        '{"source":["migration"],"original_id":"m1"}',
        b'{"source":"migration","original_id":"m1"}',
        RawText(b'{"source":"migration","original_id":"m1\xff"}'),
        7,
        None,
    ],
)
def test_other_metadata_is_no_earlier_attempt(
    tree: LegacyTree, tmp_path: Path, metadata: object
) -> None:
    add_earlier(tree, "new-1", "m1", metadata=metadata)
    add_block(tree, "m1")
    before = tree.copy(tmp_path / "before")
    tree.apply("shadow")
    shadow = tree.directory / ".devflow-migration" / "unified.sqlite"
    assert_all_kept(before, shadow)
    assert values(shadow, "SELECT count(*) FROM memory_blocks") == [(2,)]


# Embeddings -----------------------------------------------------------------------------


def test_several_embeddings_of_a_block_all_stay(tree: LegacyTree, tmp_path: Path) -> None:
    add_block(tree, "m1")
    for model in ("one", "two", "three"):
        add_embedding(tree, None, "m1", model_id=model)
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    found = values(tree.root, "SELECT block_id, model FROM memory_block_embeddings ORDER BY 2")
    assert found == [("m1", "one"), ("m1", "three"), ("m1", "two")]


def test_equal_embeddings_of_one_database_stay_several(tree: LegacyTree, tmp_path: Path) -> None:
    add_block(tree, "m1")
    for _ in range(3):
        add_embedding(tree, None, "m1")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert values(tree.root, "SELECT count(*) FROM memory_block_embeddings") == [(3,)]


def test_an_embedding_that_root_has_already_is_merged(tree: LegacyTree, tmp_path: Path) -> None:
    add_block(tree, "m1")
    add_embedding(tree, "e1", "m1")
    add_embedding(tree, "e2", "m1", embedding_vector=b"\0\0\x80@")
    tree.insert(
        "root", "memory_block_embeddings", block_id="m1", embedding=b"\0\0\x80?", model="m",
        dimensions=1,
    )  # fmt: skip
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert values(tree.root, "SELECT count(*) FROM memory_block_embeddings") == [(2,)]
    found = values(tree.root, "SELECT rule FROM origin_legacy_memory_block_embeddings ORDER BY 1")
    assert found == [("kept",), ("merged",)]


def test_embeddings_follow_a_block_that_was_renamed(tree: LegacyTree, tmp_path: Path) -> None:
    add_earlier(tree, "m1", "nothing", content="another thing")
    add_block(tree, "m1")
    add_embedding(tree, "e1", "m1")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    found = values(
        tree.root,
        "SELECT b.content FROM memory_block_embeddings AS e JOIN memory_blocks AS b"
        " ON b.id = e.block_id",
    )
    assert found == [("text of m1",)]


def test_references_to_nothing_stay_as_they_are(tree: LegacyTree, tmp_path: Path) -> None:
    add_embedding(tree, "e1", "no such block")
    add_embedding(tree, "e2", None)
    add_embedding(tree, "e3", b"blob")
    tree.insert("root", "coordination_sessions", id="c1", task_id="no such", platform="cursor")
    tree.insert("root", "task_contexts", id="t1", title="a", parent_task_id="t2")
    tree.insert("root", "task_contexts", id="t2", title="b", parent_task_id="t1")
    tree.insert("root", "session_audit_log", id=40, session_id="no such")
    before = tree.copy(tmp_path / "before")
    events = tree.apply()
    assert_all_kept(before, tree.root)
    found = values(tree.root, "SELECT block_id FROM memory_block_embeddings ORDER BY id")
    assert found == [("no such block",), (None,), (b"blob",)]
    integrity = next(e for e in events if e.get("step") == "validate.integrity")
    assert integrity["event"] == "step_started"
    dangling = next(
        e["counts"] for e in events if e.get("step") == "validate.integrity" and "counts" in e
    )
    assert dangling == {"full-text indexes": 3, "dangling references": 4}


# Chunks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_chunks_give_the_same_rows_as_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    tree = LegacyTree.make(tmp_path / "devflow")
    for number in range(6):
        add_block(tree, f"m{number}")
        add_block(tree, None, content=f"nameless {number}")
        add_embedding(tree, None, f"m{number % 2}")
        tree.insert("legacy", "task_contexts", id=f"t{number}", title="legacy")
        tree.insert("root", "task_contexts", id=f"t{number}", title=("root", "legacy")[number % 2])
        if number % 3 == 0:
            add_earlier(tree, f"new-{number}", f"m{number}")
    before = tree.copy(tmp_path / "before")
    whole = tree.copy(tmp_path / "whole")
    whole.apply("shadow")
    monkeypatch.setattr(copying, "CHUNK_ROWS", size)
    tree.apply("shadow")
    shadow = ".devflow-migration/unified.sqlite"
    assert_all_kept(before, tree.directory / shadow)
    for table in ("task_contexts", "memory_blocks", "memory_block_embeddings"):
        query = f"SELECT * FROM {table} ORDER BY seq"
        assert values(tree.directory / shadow, query) == values(whole.directory / shadow, query)
