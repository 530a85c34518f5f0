"""A DevFlow tree as found: a real machine's, where it lies beside the checkout, and ours."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from devflow_tree import REPOSITORY, LegacyTree, assert_all_kept, values

FOUND = REPOSITORY.parent / "shared" / "real" / "2025-09-18"
TREES = [pytest.param(FOUND, id="found")] if FOUND.is_dir() else []


def made_like_found(directory: Path) -> Path:
    """Build a tree like the one that was found: its oddities, a few rows of each."""
    tree = LegacyTree.make(directory)
    for number in range(3):
        tree.insert("root", "task_contexts", id=f"t{number}", title="x")
    for number in range(14):
        tree.insert(
            "root", "memory_block_embeddings", block_id=f"gone{number}", embedding=b"1234",
            model="m", dimensions=1,
        )  # fmt: skip
    tree.insert("root", "coordination_sessions", id="c", task_id="gone", platform="cursor")
    for name in ("system_event", "deployment", "test", "note"):
        tree.insert("legacy", "memory_blocks", id=name, content=name, type=name, timestamp="t")
    for number in range(9):
        tree.insert(
            "legacy", "memory_block_embeddings", id=f"e{number}" if number > 4 else None,
            memory_block_id="note", model_id=f"m{number % 3}", embedding_vector=b"1234",
            dimensions=1,
        )  # fmt: skip
    tree.log(b'{"message": "Health check completed", "ollama": true, "active": "ollama"}\n{"cut')
    return tree.directory


@pytest.fixture(params=[*TREES, pytest.param(None, id="made")])
def found(request: pytest.FixtureRequest, tmp_path: Path) -> LegacyTree:
    if request.param is None:
        return LegacyTree(made_like_found(tmp_path / "devflow"))
    for path in request.param.rglob("*"):  # file by file: the original may be read-only
        if path.is_file():
            copy = tmp_path / "devflow" / path.relative_to(request.param)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    shutil.copytree(REPOSITORY / "fixtures" / "tree", tmp_path / "devflow", dirs_exist_ok=True)
    return LegacyTree(tmp_path / "devflow")


def test_every_row_of_the_tree_is_kept_and_taken_back(found: LegacyTree, tmp_path: Path) -> None:
    before = found.copy(tmp_path / "before")
    found.apply()
    assert assert_all_kept(before, found.root) > 30
    nameless = "SELECT count(*) FROM origin_legacy_memory_block_embeddings WHERE rule = 'keyed'"
    assert values(found.root, nameless) == [(5,)]
    several = (
        "SELECT count(*) FROM (SELECT block_id FROM memory_block_embeddings"
        " GROUP BY block_id HAVING count(DISTINCT model) = 3)"
    )
    assert values(found.root, several) == [(1,)]
    log = (found.directory / "logs" / "model-registry.log").read_bytes()
    lines = values(found.root, "SELECT raw FROM model_registry_log ORDER BY line_no")
    assert [bytes(raw) for (raw,) in lines] == log.removesuffix(b"\n").split(b"\n")  # type: ignore[arg-type]
    assert not (found.directory / "data").exists()
    found.rollback()
    assert found.state == before.state
