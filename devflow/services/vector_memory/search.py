"""Searches over memories: by words, by nearness, and both together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devflow.services.errors import ConflictError
from devflow.services.store import Connection, one, rows
from devflow.services.vector_memory.blocks import by_seqs
from devflow.services.vector_memory.index import Reach
from devflow.services.vector_memory.nearest import Asked, nearest
from devflow.services.vector_memory.vectors import Floats

__all__ = ["RRF_K", "Among", "by_both", "by_nearness", "by_words", "check_dimensions", "fts_query"]

RRF_K = 60
"""The constant of reciprocal rank fusion: each list adds 1 / (60 + rank) to a result's score.

60 is the value of Cormack, Clarke and Büttcher (2009), who introduced it: a result that both
lists rank in their middle comes before one that a single list ranks first.
"""
_DEPTH_MIN = 100
_WORDS_MAX = 64
_SOURCE = "memory_block_embeddings AS e JOIN memory_blocks AS u ON u.id = e.block_id"


@dataclass(frozen=True, slots=True)
class Among:
    """Which memories are searched: those whose columns have the given values."""

    columns: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def condition(self) -> str:
        """SQL on `u`, with a binding for each column that is given."""
        return " AND ".join(f"u.{name} = :{name}" for name in self.bindings) or "1"

    @property
    def bindings(self) -> dict[str, str]:
        """What the condition binds."""
        return {name: value for name, value in self.columns.items() if value is not None}


def fts_query(words: str) -> str | None:
    """Return an FTS5 query for any of the words, quoted; None where there are none."""
    found = list(dict.fromkeys(re.findall(r"\w+", words)))[:_WORDS_MAX]
    return " OR ".join(f'"{word}"' for word in found) or None


def _worded(
    connection: Connection, words: str, among: Among, limit: int
) -> list[tuple[int, float]]:
    """Return seqs of blocks with any of the words, the best by BM25 first, with their scores."""
    query = fts_query(words)
    if query is None:
        return []
    found = rows(
        connection,
        "SELECT u.seq AS seq, -bm25(memory_fts) AS score FROM memory_fts"
        " JOIN memory_blocks AS u ON u.seq = memory_fts.rowid"
        f" WHERE memory_fts MATCH :query AND {among.condition}"
        " ORDER BY score DESC, u.seq LIMIT :limit",
        {**among.bindings, "query": query, "limit": limit},
    )
    return [(row["seq"], float(row["score"])) for row in found]


def _near(
    connection: Connection,
    reach: Reach,
    vector: Floats,
    model: str | None,
    among: Among,
    limit: int,
) -> list[tuple[int, float]]:
    """Return seqs of blocks by the cosine of their nearest embedding, with it."""
    asked = Asked(
        vector=vector,
        source=_SOURCE,
        key="u.seq",
        model=model,
        condition=among.condition,
        bindings=among.bindings,
    )
    found = nearest(connection, reach, asked, limit).hits
    if not found:
        check_dimensions(connection, model, len(vector), "memory_block_embeddings")
    return [(hit.key, hit.similarity) for hit in found[:limit]]


def check_dimensions(
    connection: Connection, model: str | None, dimensions: int, table: str
) -> None:
    """Refuse a vector of a size that the model does not have here, where it has another."""
    if model is None:
        return
    if one(
        connection,
        f"SELECT 1 FROM {table} WHERE model = ? AND dimensions = ? LIMIT 1",
        (model, dimensions),
    ):
        return
    others = rows(
        connection,
        f"SELECT DISTINCT dimensions FROM {table} WHERE model = ? ORDER BY 1 LIMIT 5",
        (model,),
    )
    if others:
        sizes = " and ".join(str(row["dimensions"]) for row in others)
        raise ConflictError(
            f"the model {model!r} has vectors of {sizes} dimensions here, and this one has"
            f" {dimensions}; give a vector that {model!r} made, or name its own model"
        )


def by_words(connection: Connection, words: str, among: Among, limit: int) -> list[dict[str, Any]]:
    """Return memories with any of the words, the best first."""
    found = _worded(connection, words, among, limit)
    shown = by_seqs(connection, [seq for seq, _ in found])
    return [
        {"memory": shown[seq], "score": score, "text_rank": rank, "text_score": score}
        for rank, (seq, score) in enumerate(found, start=1)
    ]


def by_nearness(
    connection: Connection,
    reach: Reach,
    vector: Floats,
    *,
    model: str | None,
    among: Among,
    limit: int,
) -> list[dict[str, Any]]:
    """Return the memories nearest to a vector, the nearest first."""
    found = _near(connection, reach, vector, model, among, limit)
    shown = by_seqs(connection, [seq for seq, _ in found])
    return [
        {"memory": shown[seq], "score": near, "vector_rank": rank, "similarity": near}
        for rank, (seq, near) in enumerate(found, start=1)
    ]


def by_both(
    connection: Connection,
    reach: Reach,
    words: str,
    vector: Floats,
    *,
    model: str | None,
    among: Among,
    limit: int,
) -> list[dict[str, Any]]:
    """Return memories by reciprocal rank fusion of their places by words and by nearness."""
    depth = max(2 * limit, _DEPTH_MIN)
    results: dict[int, dict[str, Any]] = {}
    near = _near(connection, reach, vector, model, among, depth)
    for kind, measure, found in (
        ("vector_rank", "similarity", near),
        ("text_rank", "text_score", _worded(connection, words, among, depth)),
    ):
        for rank, (seq, measured) in enumerate(found, start=1):
            result = results.setdefault(seq, {"score": 0.0})
            result |= {kind: rank, measure: measured}
            result["score"] += 1.0 / (RRF_K + rank)
    best = sorted(results, key=lambda seq: (-results[seq]["score"], seq))[:limit]
    shown = by_seqs(connection, best)
    return [{"memory": shown[seq], **results[seq]} for seq in best]
