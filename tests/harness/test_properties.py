"""Trees that once broke the property, kept small: each must pass from now on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.candidate import Candidate, Driver
from harness.generators.plan import DatabasePlan, RawText, Row, TreePlan, materialise
from harness.model import Finding, Severity
from harness.run import rehearse

BLOCK = {"content": "text", "type": "note", "timestamp": "2025-09-13 21:42:13", "embedding": None}
EMBEDDING = {
    "memory_block_id": "a",
    "model_id": "gemma-7b-embedding",
    "dimensions": 4,
    "created_at": None,
}

TREES = {
    "an added column in a table without rows": TreePlan(
        root=DatabasePlan(before=('ALTER TABLE "task_contexts" ADD COLUMN "note"',))
    ),
    "an added column that is named like residue": TreePlan(
        legacy=DatabasePlan(
            before=('ALTER TABLE "memory_blocks" ADD COLUMN "x_id" TEXT',),
            rows=(Row("memory_blocks", {"id": "a", **BLOCK}),),
            after=('UPDATE "memory_blocks" SET "x_id" = \'kept\'',),
        )
    ),
    "vectors that are text and integers beside a true one": TreePlan(
        legacy=DatabasePlan(
            rows=(
                Row("memory_blocks", {"id": "a", **BLOCK}),
                Row("memory_block_embeddings", {"id": "1", "embedding_vector": "[1]", **EMBEDDING}),
                Row("memory_block_embeddings", {"id": "2", "embedding_vector": 7, **EMBEDDING}),
                Row(
                    "memory_block_embeddings",
                    {"id": "3", "embedding_vector": b"\x00\x00\x80\x3f" * 4, **EMBEDDING},
                ),
            )
        )
    ),
    "a virtual table that is named like a unified table": TreePlan(
        vector=DatabasePlan(
            before=('CREATE VIRTUAL TABLE "origin_legacy_memory_blocks" USING fts5(body)',),
            rows=(Row("origin_legacy_memory_blocks", {"body": "found"}),),
        )
    ),
    "a full-text index over a table that gets another name": TreePlan(
        root=DatabasePlan(
            before=('CREATE TABLE "model_providers" (id INTEGER PRIMARY KEY, body TEXT)',),
            rows=(Row("model_providers", {"id": 1, "body": RawText(b"a\x00b")}),),
            after=(
                "CREATE VIRTUAL TABLE words USING fts5(body, content='model_providers',"
                " content_rowid='id')",
                "INSERT INTO words(words) VALUES ('rebuild')",
            ),
        )
    ),
    "a table with a planned name and another shape": TreePlan(
        legacy=DatabasePlan(
            before=("CREATE TABLE vector_memories (id TEXT PRIMARY KEY, body TEXT)",),
            rows=(Row("vector_memories", {"id": "a", "body": "kept"}),),
        )
    ),
    "a virtual table with a planned name": TreePlan(
        legacy=DatabasePlan(
            before=("CREATE VIRTUAL TABLE vector_memories USING fts5(body)",),
            rows=(Row("vector_memories", {"body": "kept"}),),
        )
    ),
    "nothing but zero bytes": TreePlan(
        root=DatabasePlan(state="empty"),
        legacy=DatabasePlan(state="empty"),
        vector=DatabasePlan(state="empty"),
        log=b"",
    ),
    "the root alone": TreePlan(
        legacy=DatabasePlan(state="missing"), vector=DatabasePlan(state="missing")
    ),
}


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Candidate.load().session() as session:
        yield session


@pytest.mark.parametrize("name", list(TREES))
def test_a_tree_that_broke_the_property_passes(name: str, driver: Driver, tmp_path: Path) -> None:
    materialise(TREES[name], tmp_path / "tree")
    result = rehearse(tmp_path / "tree", Candidate.load(), tmp_path / "run", driver=driver)
    assert errors(result.findings) == []


def errors(findings: tuple[Finding, ...]) -> list[str]:
    return [f"{f.rule}: {f.cause}" for f in findings if f.severity is Severity.ERROR]
