"""What may belong into a context: lists of blocks and entities, each in its own order.

The lists are those of `WEIGHTS`. A thing that several of them name is one candidate, which
remembers its rank in each. Rows whose identifier is no text are passed over.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from devflow.services.database_manager.tasks.graph import ancestors, needed
from devflow.services.errors import ConflictError, MissingError
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import number, text, whole
from devflow.services.vector_memory.embedding import Embedded
from devflow.services.vector_memory.index import Reach
from devflow.services.vector_memory.search import Among, by_nearness, by_words, fts_query

__all__ = ["DEPTH", "Asked", "Candidate", "Kind", "Source", "gathered", "text_of_task", "worth"]

Kind = Literal["block", "entity"]
Source = Literal["own", "dependencies", "parents", "words", "nearness", "knowledge", "importance"]
Ranks = dict[tuple[Kind, str], dict[Source, int]]
DEPTH = 100
"""Rows of each list at most."""
_WORDS_MAX = 48
_UNTOLD_IMPORTANCE = 0.5
# Words that nearly every English text has: they tell nothing, and their postings are long.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a about after all also an and any are as at be been before but by can do does for from "
        "had has have how if in into is it its may more no not of on one only or other our out "
        "over so some such than that the their them then there these they this to up was we "
        "were what when where which who will with you ",
    )
)
_OF_TASK = (
    "SELECT id FROM memory_blocks WHERE task_id = ?"
    " ORDER BY importance_score DESC, created_at DESC, id LIMIT ?"
)
_IMPORTANT = (
    "SELECT id FROM memory_blocks ORDER BY importance_score DESC, created_at DESC, id LIMIT ?"
)
_ENTITIES = (
    "SELECT k.id AS id FROM knowledge_entities_fts JOIN knowledge_entities AS k"
    " ON k.seq = knowledge_entities_fts.rowid WHERE knowledge_entities_fts MATCH ?"
    " AND k.validation_status IS NOT 'rejected'"
    " ORDER BY bm25(knowledge_entities_fts), k.seq LIMIT ?"
)
_NAMED = "IN (SELECT value FROM json_each(?))"
_BLOCKS = (
    "SELECT id, task_id, block_type AS type, label AS title, content,"
    " importance_score AS importance, COALESCE(updated_at, created_at) AS changed_at,"
    f" access_count AS uses FROM memory_blocks WHERE id {_NAMED}"
)
_KNOWN = (
    "SELECT id, learned_from_task_id AS task_id, entity_type AS type, name AS title,"
    " COALESCE(description, '') AS content, confidence_score AS importance,"
    " COALESCE(last_confirmed, first_seen) AS changed_at, usage_count AS uses"
    f" FROM knowledge_entities WHERE id {_NAMED}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a context is wanted for: a task, a text, or neither, and the text's vector."""

    task_id: str | None
    text: str
    embedded: Embedded | None
    entities: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A block or entity that may be chosen, with what its worth is reckoned from."""

    kind: Kind
    id: str
    task_id: str | None
    type: str | None
    title: str
    content: str
    importance: float
    changed_on: dt.date | None
    uses: int
    ranks: dict[Source, int] = field(default_factory=dict)


def text_of_task(connection: Connection, identifier: str) -> str:
    """Return a task's title and description; MissingError if there is no such task."""
    row = one(
        connection, "SELECT title, description FROM task_contexts WHERE id = ?", (identifier,)
    )
    if row is None:
        raise MissingError(f"there is no task '{identifier}'")
    return "\n".join(part for part in (text(row["title"]), text(row["description"])) if part)


def worth(words: str) -> str:
    """Return the different words of a text that tell something, the first of them."""
    there = fts_query(words)
    names = [] if there is None else [word.strip('"') for word in there.split(" OR ")]
    telling = [word for word in names if word.casefold() not in _COMMON]
    return " ".join(telling[:_WORDS_MAX])


def gathered(connection: Connection, reach: Reach, asked: Asked) -> list[Candidate]:
    """Return all candidates, in the order of their kinds and identifiers."""
    ranks: Ranks = {}
    if asked.task_id is not None:
        _add(ranks, "block", "own", _of_tasks(connection, [asked.task_id]))
        row = one(connection, "SELECT depends_on FROM task_contexts WHERE id = ?", (asked.task_id,))
        before = needed(row["depends_on"]) if row else []
        _add(ranks, "block", "dependencies", _of_tasks(connection, before))
        above = ancestors(connection, asked.task_id)
        _add(ranks, "block", "parents", _of_tasks(connection, above))
    words = worth(asked.text)
    if words:
        found = by_words(connection, words, Among(), DEPTH)
        _add(ranks, "block", "words", (each["memory"]["id"] for each in found))
        if asked.entities:
            found = rows(connection, _ENTITIES, (fts_query(words), DEPTH))
            _add(ranks, "entity", "knowledge", _ids(found))
    if asked.embedded is not None:
        _add(ranks, "block", "nearness", _near(connection, reach, asked.embedded))
    if asked.task_id is None and not asked.text.strip():
        _add(ranks, "block", "importance", _ids(rows(connection, _IMPORTANT, (DEPTH,))))
    return [
        *_read(connection, "block", _BLOCKS, ranks),
        *_read(connection, "entity", _KNOWN, ranks),
    ]


def _ids(found: list[Row]) -> list[str]:
    return [row["id"] for row in found if isinstance(row["id"], str)]


def _of_tasks(connection: Connection, tasks: Sequence[str]) -> list[str]:
    found: list[str] = []
    for task in dict.fromkeys(tasks):
        if len(found) < DEPTH:
            found += _ids(rows(connection, _OF_TASK, (task, DEPTH - len(found))))
    return found


def _near(connection: Connection, reach: Reach, embedded: Embedded) -> list[str]:
    try:
        found = by_nearness(
            connection,
            reach,
            embedded.vector,
            model=embedded.model,
            among=Among(),
            limit=DEPTH,
        )
    except ConflictError:  # what is stored of this model has another size: none of it is near
        return []
    return [each["memory"]["id"] for each in found if each["similarity"] > 0]


def _add(ranks: Ranks, kind: Kind, source: Source, names: Iterable[str]) -> None:
    for rank, name in enumerate(names, start=1):
        ranks.setdefault((kind, name), {}).setdefault(source, rank)


def _read(connection: Connection, kind: Kind, sql: str, ranks: Ranks) -> list[Candidate]:
    names = sorted(name for each, name in ranks if each == kind)
    found = rows(connection, sql, (json.dumps(names),)) if names else []
    return sorted(
        (
            _candidate(kind, row, ranks[kind, row["id"]])
            for row in found
            if (kind, row["id"]) in ranks
        ),
        key=lambda candidate: candidate.id,
    )


def _candidate(kind: Kind, row: Row, ranks: dict[Source, int]) -> Candidate:
    importance = number(row["importance"])
    return Candidate(
        kind=kind,
        id=row["id"],
        task_id=text(row["task_id"]),
        type=text(row["type"]),
        title=text(row["title"]) or "",
        content=text(row["content"]) or "",
        importance=_UNTOLD_IMPORTANCE if importance is None else min(max(importance, 0.0), 1.0),
        changed_on=_day(text(row["changed_at"])),
        uses=max(whole(row["uses"]) or 0, 0),
        ranks=ranks,
    )


def _day(moment: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat((moment or "")[:10])
    except ValueError:
        return None
