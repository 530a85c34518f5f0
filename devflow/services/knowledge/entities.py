"""Entities as the API shows them: found, listed, told by hand, mentioned, related."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from devflow.services.errors import ConflictError, MissingError
from devflow.services.pages import page
from devflow.services.store import Connection, Row, one
from devflow.services.values import iso_now, json_text, number, parsed, sql_now, text, whole
from devflow.services.vector_memory.search import fts_query

__all__ = ["TYPES", "create", "found", "listed", "mentions", "relationships", "shown"]

TYPES = ("person", "technology", "pattern", "antipattern", "rule", "preference")
_STATUSES = ("pending", "confirmed", "rejected")
_COLUMNS = (
    "k.seq, k.id, k.entity_type, k.name, k.description, k.confidence_score, k.extraction_source,"
    " k.first_seen, k.last_confirmed, k.usage_count, k.validation_status, k.tags,"
    " (SELECT count(*) FROM knowledge_mentions AS m WHERE m.entity_seq = k.seq) AS blocks"
)


def found(connection: Connection, identifier: str) -> Row:
    """Return the row of an entity, or MissingError."""
    row = one(
        connection, f"SELECT {_COLUMNS} FROM knowledge_entities AS k WHERE k.id = ?", (identifier,)
    )
    if row is None:
        raise MissingError(f"there is no entity {identifier!r}")
    return row


def shown(row: Row) -> Row:
    """Return an entity as the API shows it; a migrated value that is none of its kind is null."""
    tags = parsed(row["tags"])
    status = row["validation_status"]
    return {
        "id": text(row["id"]) or "",
        "entity_type": row["entity_type"],
        "name": text(row["name"]) or "",
        "description": text(row["description"]),
        "confidence": number(row["confidence_score"]),
        "status": status if status in _STATUSES else "pending",
        "usage_count": whole(row["usage_count"]) or 0,
        "blocks": row["blocks"],
        "first_seen": text(row["first_seen"]),
        "last_confirmed": text(row["last_confirmed"]),
        "source": parsed(row["extraction_source"]),
        "tags": [str(tag) for tag in tags] if isinstance(tags, list) else [],
    }


def listed(
    connection: Connection,
    *,
    words: str | None,
    entity_type: str | None,
    status: str | None,
    confidence_min: float | None,
    limit: int,
    offset: int,
) -> Row:
    """Return a page of entities: by words the best first, else those of most confidence first.

    Rejected ones are left out unless `status` is "rejected" or "any".
    """
    source, order, query = "knowledge_entities AS k", "k.confidence_score DESC, k.seq", None
    if words is not None:
        query = fts_query(words)
        if query is None:
            return {"items": [], "total": 0}
        source = (
            "knowledge_entities_fts JOIN knowledge_entities AS k"
            " ON k.seq = knowledge_entities_fts.rowid"
        )
        order = "bm25(knowledge_entities_fts), k.seq"
    asked = status or "kept"
    return page(
        connection,
        shown,
        select=_COLUMNS,
        source=source,
        order=order,
        given={
            "knowledge_entities_fts MATCH ?": query,
            "k.entity_type = ?": entity_type,
            "ifnull(k.validation_status, 'pending') <> ?": "rejected" if asked == "kept" else None,
            "ifnull(k.validation_status, 'pending') = ?": asked if asked in _STATUSES else None,
            "k.confidence_score >= ?": confidence_min,
        },
        limit=limit,
        offset=offset,
    )


def create(connection: Connection, told: Mapping[str, Any]) -> tuple[bool, Row]:
    """Put in an entity that somebody tells of; return whether it is new, and its row.

    The same entity told again is returned; another one under its id, or its type and name under
    another id, is a ConflictError.
    """
    known = one(
        connection,
        f"SELECT {_COLUMNS} FROM knowledge_entities AS k"
        " WHERE k.id = :id OR (k.entity_type = :entity_type AND k.name = :name)",
        {name: told[name] for name in ("id", "entity_type", "name")},
    )
    if known is not None:
        if not _same(told, known):
            raise ConflictError(
                f"there is another entity already with this id, or of this type and name:"
                f" {text(known['id'])!r}"
            )
        return False, known
    identifier = told["id"] or uuid.uuid4().hex
    connection.execute(
        "INSERT INTO knowledge_entities (id, entity_type, name, description, confidence_score,"
        " extraction_source, first_seen, last_confirmed, usage_count, validation_status, tags)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, NULL, 0, 'pending', ?)",
        (
            identifier,
            told["entity_type"],
            told["name"],
            told["description"],
            told["confidence"],
            json.dumps({"source": "api", "told_at": iso_now(), "confidence": told["confidence"]}),
            sql_now(),
            json_text(told["tags"]),
        ),
    )
    return True, found(connection, identifier)


def _same(told: Mapping[str, Any], known: Row) -> bool:
    # The confidence may have been moved by feedback since; what was told stands in the source.
    source = parsed(known["extraction_source"])
    return (
        isinstance(source, dict)
        and source.get("confidence") == told["confidence"]
        and told["id"] in (None, known["id"])
        and all(told[name] == known[name] for name in ("entity_type", "name", "description"))
        and told["tags"] == parsed(known["tags"])
    )


def mentions(connection: Connection, identifier: str, *, limit: int, offset: int) -> Row:
    """Return a page of the blocks that mention an entity, the newest first."""
    entity = found(connection, identifier)
    return page(
        connection,
        _mention,
        select="b.id AS block_id, b.task_id, b.label, m.times, m.snippet, l.learned_at",
        source="knowledge_mentions AS m JOIN memory_blocks AS b ON b.seq = m.block_seq"
        " JOIN knowledge_learned AS l ON l.block_seq = m.block_seq",
        order="m.block_seq DESC",
        given={"m.entity_seq = ?": entity["seq"]},
        limit=limit,
        offset=offset,
    )


def _mention(row: Row) -> Row:
    texts = {name: text(row[name]) or "" for name in ("block_id", "task_id", "label")}
    return {**row, **texts}


def relationships(
    connection: Connection,
    identifier: str,
    *,
    strength_min: float | None,
    limit: int,
    offset: int,
) -> Row:
    """Return a page of what relates to an entity, the strongest first, migrated ones among it."""
    found(connection, identifier)
    given = {
        "? IN (r.source_entity_id, r.target_entity_id)": identifier,
        "r.relationship_strength >= ?": strength_min,
    }
    return page(
        connection,
        lambda row: _relationship(row, identifier),
        select="r.*, x.name AS source_name, y.name AS target_name,"
        " EXISTS (SELECT 1 FROM knowledge_pairs AS p WHERE p.relationship_seq = r.seq) AS learned",
        source="entity_relationships AS r JOIN knowledge_entities AS x ON x.id = r.source_entity_id"
        " JOIN knowledge_entities AS y ON y.id = r.target_entity_id",
        order="r.relationship_strength DESC, r.seq",
        given=given,
        limit=limit,
        offset=offset,
    )


def _relationship(row: Row, identifier: str) -> Row:
    other = "target" if row["source_entity_id"] == identifier else "source"
    return {
        "id": text(row["id"]) or "",
        "type": text(row["relationship_type"]) or "",
        "direction": "out" if other == "target" else "in",
        "entity_id": text(row[f"{other}_entity_id"]) or "",
        "name": text(row[f"{other}_name"]) or "",
        "strength": number(row["relationship_strength"]),
        "blocks": whole(row["confirmed_count"]) if row["learned"] else None,
        "about": text(row["context_description"]),
        "discovered": bool(row["learned"]),
    }
