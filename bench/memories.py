"""A DevFlow tree with many memories, as text and as vectors: what the services are measured on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import numpy as np

from harness.fixture.build import build
from harness.fixture.recipe import Recipe
from harness.fixture.values import SENTENCE_PARTS

__all__ = ["DIMENSIONS", "MODEL", "build_memories", "vectors"]

DIMENSIONS = 768
MODEL = "gemma-7b-embedding"
_CLUSTERS = 64
_SPREAD = 0.6
_AT_ONCE = 10_000
_TASKS_MAX = 1_000


def vectors(number: int, *, seed: int) -> Iterator[np.ndarray]:
    """Yield `number` unit vectors of float32 in clusters, as embeddings of texts lie."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((_CLUSTERS, DIMENSIONS))
    for first in range(0, number, _AT_ONCE):
        many = min(_AT_ONCE, number - first)
        found = centres[rng.integers(_CLUSTERS, size=many)]
        found = found + _SPREAD * rng.standard_normal((many, DIMENSIONS))
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        yield from found.astype(np.float32)


def sentence(number: int) -> str:
    """Return a sentence for memory `number`; one in a thousand has the word `walrus`."""
    words = " ".join(part[number * 7 % len(part)] for part in SENTENCE_PARTS)
    return f"{words} in run {number}{' of the walrus' if number % 1_000 == 7 else ''}"


def build_memories(tree: Path, number: int, *, seed: int) -> None:
    """Make the tree `tree` with `number` memories in either legacy database, and some tasks."""
    build(Recipe(profile="empty", seed=seed), tree)
    with closing(apsw.Connection(str(tree / "data" / "devflow.sqlite"))) as legacy, legacy:
        legacy.executemany(
            "INSERT INTO memory_blocks (id, content, type, timestamp) VALUES (?, ?, ?,"
            " strftime('%Y-%m-%dT%H:%M:%fZ', 1757488454 + ?, 'unixepoch'))",
            ((f"mem-{n:07}", sentence(n), ("note", "decision")[n % 2], n) for n in range(number)),
        )
        legacy.executemany(
            "INSERT INTO task_contexts (id, title, status, priority) VALUES (?, ?, ?, ?)",
            (
                (f"task-{n:05}", sentence(n), ("pending", "in_progress")[n % 2], "medium")
                for n in range(min(number, _TASKS_MAX))
            ),
        )
    with closing(apsw.Connection(str(tree / "data" / "vector.sqlite"))) as vector, vector:
        vector.executemany(
            "INSERT INTO vector_memories (id, content, type, metadata, embedding_vector,"
            " dimensions, model_id, created_at)"
            " VALUES (?, ?, 'note', '{}', ?, ?, ?, datetime(1757488454 + ?, 'unixepoch'))",
            (
                (f"vec-{n:07}", sentence(n), found.tobytes(), DIMENSIONS, MODEL, n)
                for n, found in enumerate(vectors(number, seed=seed))
            ),
        )
