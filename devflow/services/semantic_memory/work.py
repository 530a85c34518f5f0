"""Builds a context, and tells of each item why it is in it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from devflow.services.semantic_memory.candidates import Asked, Candidate, Source, gathered
from devflow.services.semantic_memory.choosing import Choice, Chosen, chosen, parts
from devflow.services.store import Connection
from devflow.services.values import sql_now
from devflow.services.vector_memory.index import Reach

__all__ = ["chosen_for", "mark", "shown"]

_SAID: dict[Source, str] = {
    "own": "a block of the task itself, number {} by importance",
    "dependencies": "a block of what the task depends on, number {}",
    "parents": "a block of what the task is a part of, number {}",
    "words": "number {} in memory by words",
    "nearness": "number {} in memory by nearness of vectors",
    "knowledge": "number {} in knowledge by words",
    "importance": "number {} by importance",
}
_NOTABLE = 0.5


def chosen_for(
    connection: Connection,
    reach: Reach,
    asked: Asked,
    *,
    budget_tokens: int,
    most: int,
    today: dt.date,
    half_life_days: float,
) -> tuple[list[Candidate], Choice]:
    """Return the candidates, and what is chosen of them, by one snapshot of the database."""
    candidates = gathered(connection, reach, asked)
    scored = parts(candidates, today=today, half_life_days=half_life_days)
    return candidates, chosen(scored, budget_tokens=budget_tokens, most=most)


def mark(connection: Connection, items: Iterable[Chosen]) -> int:
    """Note that the chosen blocks are read now, by which a trigger counts it; return how many."""
    names = [one.candidate.id for one in items if one.candidate.kind == "block"]
    connection.execute(
        "UPDATE memory_blocks SET last_accessed = ? WHERE id IN (SELECT value FROM json_each(?))",
        (sql_now(), json.dumps(names)),
    )
    return int(connection.changes())


def shown(one: Chosen) -> dict[str, Any]:
    """Return a chosen item as the answer shows it."""
    candidate = one.candidate
    return {
        "kind": candidate.kind,
        "id": candidate.id,
        "task_id": candidate.task_id,
        "type": candidate.type,
        "title": candidate.title,
        "content": candidate.content,
        "tokens": one.tokens,
        "score": round(one.parts.score, 6),
        "parts": {name: round(value, 6) for name, value in asdict(one.parts).items()},
        "ranks": dict(candidate.ranks),
        "similarity": round(one.similarity, 6),
        "reasons": _reasons(one),
    }


def _reasons(one: Chosen) -> list[str]:
    said = [_SAID[source].format(rank) for source, rank in one.candidate.ranks.items()]
    if one.parts.importance >= _NOTABLE:
        name = "importance" if one.candidate.kind == "block" else "confidence"
        said.append(f"{name} {one.parts.importance:.2f}")
    if one.parts.recency >= _NOTABLE:
        said.append(f"last changed on {one.candidate.changed_on}")
    if one.parts.use >= _NOTABLE:
        said.append(f"used {one.candidate.uses} times")
    said.append(f"{1_000 * one.value / one.tokens:.1f} worth for a thousand tokens")
    return said
