"""Embeddings of knowledge entities: stored, and searched exactly, for entities are few."""

from __future__ import annotations

import uuid
from typing import Any

from devflow.services.costs.recording import record_usage
from devflow.services.errors import ConflictError, MissingError
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import number, sql_now, text
from devflow.services.vector_memory.blocks import embedding_shown
from devflow.services.vector_memory.embedding import Embedded
from devflow.services.vector_memory.nearest import Asked, scanned
from devflow.services.vector_memory.search import check_dimensions
from devflow.services.vector_memory.vectors import Floats, packed

__all__ = ["ENTITY_TYPES", "add", "embeddings", "search", "text_of"]

ENTITY_TYPES = ("person", "technology", "pattern", "antipattern", "rule", "preference")
_COLUMNS = "k.seq, k.id, k.entity_type, k.name, k.description, k.confidence_score"
_SOURCE = "knowledge_entity_embeddings AS e JOIN knowledge_entities AS k ON k.id = e.entity_id"


def _entity(connection: Connection, identifier: str) -> Row:
    row = one(
        connection, f"SELECT {_COLUMNS} FROM knowledge_entities AS k WHERE k.id = ?", (identifier,)
    )
    if row is None:
        raise MissingError(f"there is no entity '{identifier}'")
    return row


def text_of(connection: Connection, identifier: str) -> str:
    """Return the text that stands for an entity: its name and description."""
    row = _entity(connection, identifier)
    return "\n".join(part for part in (text(row["name"]), text(row["description"])) if part)


def add(connection: Connection, identifier: str, embedded: Embedded) -> dict[str, Any]:
    """Insert an embedding of an entity, and the usage that it took; return it."""
    _entity(connection, identifier)
    dimensions = len(embedded.vector)
    if one(
        connection,
        "SELECT 1 FROM knowledge_entity_embeddings"
        " WHERE entity_id = ? AND model = ? AND dimensions = ?",
        (identifier, embedded.model, dimensions),
    ):
        raise ConflictError(
            f"the entity '{identifier}' has an embedding of {embedded.model}"
            f" with {dimensions} dimensions already"
        )
    now = sql_now()
    row = one(
        connection,
        "INSERT INTO knowledge_entity_embeddings"
        " (id, entity_id, model, dimensions, embedding, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
        " RETURNING id, entity_id AS block_id, model, dimensions, created_at",
        (
            uuid.uuid4().hex,
            identifier,
            embedded.model,
            dimensions,
            packed(embedded.vector),
            now,
            now,
        ),
    )
    assert row is not None  # noqa: S101 - RETURNING yields the row
    if embedded.usage is not None:
        record_usage(connection, embedded.usage)
    return _shown(row)


def embeddings(connection: Connection, identifier: str) -> list[dict[str, Any]]:
    """Return the embeddings of an entity, without their values, the oldest first."""
    _entity(connection, identifier)
    found = rows(
        connection,
        "SELECT e.id, e.entity_id AS block_id, e.model, e.dimensions, e.created_at"
        " FROM knowledge_entity_embeddings AS e WHERE e.entity_id = ? ORDER BY e.seq",
        (identifier,),
    )
    return [_shown(row) for row in found]


def _shown(row: Row) -> dict[str, Any]:
    shown = embedding_shown(row)
    return {"entity_id": shown.pop("block_id"), **shown}


def search(
    connection: Connection,
    vector: Floats,
    *,
    model: str | None,
    entity_type: str | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return the entities nearest to a vector, the nearest first."""
    asked = Asked(
        vector=vector,
        source=_SOURCE,
        key="k.seq",
        model=model,
        condition="1" if entity_type is None else "k.entity_type = :entity_type",
        bindings={} if entity_type is None else {"entity_type": entity_type},
    )
    hits = scanned(connection, asked, limit)[:limit]
    if not hits:
        check_dimensions(connection, model, len(vector), "knowledge_entity_embeddings")
    marks = ", ".join("?" * len(hits))
    found = rows(
        connection,
        f"SELECT {_COLUMNS} FROM knowledge_entities AS k WHERE k.seq IN ({marks})",
        [hit.key for hit in hits],
    )
    by_seq = {row["seq"]: row for row in found}
    return [
        {
            "entity": {
                "id": text(by_seq[hit.key]["id"]) or "",
                "entity_type": text(by_seq[hit.key]["entity_type"]),
                "name": text(by_seq[hit.key]["name"]),
                "description": text(by_seq[hit.key]["description"]),
                "confidence_score": number(by_seq[hit.key]["confidence_score"]),
            },
            "similarity": hit.similarity,
        }
        for hit in hits
    ]
