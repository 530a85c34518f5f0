"""Memory blocks with their embeddings: stored together in one transaction, or not at all."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devflow.migration.tables import BLOCK_TYPES
from devflow.services.costs.recording import record_usage
from devflow.services.errors import ConflictError, MissingError
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import json_text, number, parsed, sql_now, text, whole
from devflow.services.vector_memory import lexical
from devflow.services.vector_memory.embedding import Embedded
from devflow.services.vector_memory.vectors import packed, unpacked

__all__ = [
    "BLOCK_TYPES",
    "NewBlock",
    "add_block",
    "add_embedding",
    "block",
    "blocks",
    "delete_block",
    "embedding",
    "embedding_shown",
    "embeddings_of",
    "import_task",
    "models",
    "shown",
]

IMPORT_SESSION = "vector-import"
_IMPORT_FACT = "import_task.vector"
_IMPORT_TITLE = "Memory imported from the Vector Memory Service"
_COLUMNS = (
    "u.seq, u.id, u.task_id, u.session_id, u.block_type, u.label, u.content, u.metadata,"
    " u.importance_score, u.created_at, u.updated_at"
)
_EMBEDDING = "e.seq, e.id, e.block_id, e.model, e.dimensions, e.created_at, e.updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBlock:
    """A memory block to store; `task_id` None means the task that imported memories hang from."""

    id: str | None
    task_id: str | None
    session_id: str
    block_type: str
    label: str
    content: str
    metadata: str | None
    importance_score: float = 0.5


def import_task(connection: Connection) -> str:
    """Return the task that vector memories hang from; make it where it is not there."""
    fact = one(connection, "SELECT value FROM migration_facts WHERE name = ?", (_IMPORT_FACT,))
    known = text(fact["value"]) if fact else None
    if known and one(connection, "SELECT 1 FROM task_contexts WHERE id = ?", (known,)):
        return known
    identifier = IMPORT_SESSION
    while one(connection, "SELECT 1 FROM task_contexts WHERE id = ?", (identifier,)):
        identifier += "~"
    connection.execute(
        "INSERT INTO task_contexts (id, title, status) VALUES (?, ?, 'archived')",
        (identifier, _IMPORT_TITLE),
    )
    connection.execute(
        "INSERT OR REPLACE INTO migration_facts VALUES (?, ?)", (_IMPORT_FACT, identifier)
    )
    return identifier


def add_block(connection: Connection, new: NewBlock, embedded: Embedded) -> str:
    """Insert the block, its embedding and the usage that this took; return the block's id."""
    identifier = new.id or uuid.uuid4().hex
    if one(connection, "SELECT 1 FROM memory_blocks WHERE id = ?", (identifier,)):
        raise ConflictError(f"a memory '{identifier}' exists already")
    task = new.task_id or import_task(connection)
    if not one(connection, "SELECT 1 FROM task_contexts WHERE id = ?", (task,)):
        raise MissingError(f"there is no task '{task}'")
    now = sql_now()
    connection.execute(
        "INSERT INTO memory_blocks (id, task_id, session_id, block_type, label, content, metadata,"
        " importance_score, embedding_model, created_at, last_accessed, access_count)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?, 0)",
        (
            identifier,
            task,
            new.session_id,
            new.block_type,
            new.label,
            new.content,
            new.metadata,
            new.importance_score,
            now,
            now,
        ),
    )
    _insert_embedding(connection, identifier, embedded, now)
    return identifier


def add_embedding(connection: Connection, identifier: str, embedded: Embedded) -> Row:
    """Insert one more embedding of a block, of another model or size; return its row."""
    if not one(connection, "SELECT 1 FROM memory_blocks WHERE id = ?", (identifier,)):
        raise MissingError(f"there is no memory '{identifier}'")
    dimensions = len(embedded.vector)
    if one(
        connection,
        "SELECT 1 FROM memory_block_embeddings WHERE block_id = ? AND model = ? AND dimensions = ?",
        (identifier, embedded.model, dimensions),
    ):
        raise ConflictError(
            f"the memory '{identifier}' has an embedding of {embedded.model}"
            f" with {dimensions} dimensions already"
        )
    return embedding(connection, _insert_embedding(connection, identifier, embedded, sql_now()))


def _insert_embedding(connection: Connection, block_id: str, embedded: Embedded, now: str) -> str:
    """Insert an embedding and the usage that it took; return its id."""
    identifier = uuid.uuid4().hex
    connection.execute(
        "INSERT INTO memory_block_embeddings"
        " (id, block_id, model, dimensions, embedding, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            identifier,
            block_id,
            embedded.model,
            len(embedded.vector),
            packed(embedded.vector),
            now,
            now,
        ),
    )
    if embedded.usage is not None:
        record_usage(connection, embedded.usage)
    return identifier


def delete_block(connection: Connection, identifier: str) -> None:
    """Delete a block, and its embeddings with it."""
    gone = rows(connection, "DELETE FROM memory_blocks WHERE id = ? RETURNING seq", (identifier,))
    if not gone:
        raise MissingError(f"there is no memory '{identifier}'")


# Reading -----------------------------------------------------------------------------------------


def json_shown(value: object) -> Any:
    """Return what a JSON text says, or the text where a response could not say it."""
    found = parsed(value)
    try:
        # 1e999 is read as infinity, and "\\ud800" as half a character.
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return text(value)
    return found


def block(connection: Connection, identifier: str) -> dict[str, Any]:
    """Return one block with its embeddings."""
    row = one(
        connection, f"SELECT {_COLUMNS} FROM memory_blocks AS u WHERE u.id = ?", (identifier,)
    )
    if row is None:
        raise MissingError(f"there is no memory '{identifier}'")
    return shown(row) | {"embeddings": embeddings_of(connection, [text(row["id"]) or ""])}


def by_seqs(connection: Connection, seqs: list[int]) -> dict[int, dict[str, Any]]:
    """Return blocks by their seq."""
    marks = ", ".join("?" * len(seqs))
    found = rows(
        connection, f"SELECT {_COLUMNS} FROM memory_blocks AS u WHERE u.seq IN ({marks})", seqs
    )
    return {row["seq"]: shown(row) for row in found}


def blocks(
    connection: Connection,
    conditions: Mapping[str, str | None],
    *,
    limit: int,
    offset: int,
) -> dict[str, Any]:
    """Return a page of blocks, the latest first, of those whose columns have the given values."""
    given = {name: value for name, value in conditions.items() if value is not None}
    where = " AND ".join(f"u.{name} = :{name}" for name in given) or "1"
    total = one(connection, f"SELECT count(*) AS n FROM memory_blocks AS u WHERE {where}", given)
    found = rows(
        connection,
        f"SELECT {_COLUMNS} FROM memory_blocks AS u WHERE {where}"
        " ORDER BY u.created_at DESC, u.id LIMIT :limit OFFSET :offset",
        {**given, "limit": limit, "offset": offset},
    )
    assert total is not None  # noqa: S101 - a count has a row
    return {"items": [shown(row) for row in found], "total": total["n"]}


def shown(row: Row) -> dict[str, Any]:
    """Return a block's row as the API shows it."""
    names = ("id", "task_id", "session_id", "block_type", "label", "content")
    texts = {name: text(row[name]) or "" for name in names}
    return texts | {
        "metadata": json_shown(row["metadata"]),
        "importance_score": number(row["importance_score"]),
        "created_at": text(row["created_at"]),
        "updated_at": text(row["updated_at"]),
    }


def embeddings_of(connection: Connection, identifiers: list[str]) -> list[dict[str, Any]]:
    """Return the embeddings of blocks, without their values, the oldest first."""
    marks = ", ".join("?" * len(identifiers))
    found = rows(
        connection,
        f"SELECT {_EMBEDDING} FROM memory_block_embeddings AS e WHERE e.block_id IN ({marks})"
        " ORDER BY e.seq",
        identifiers,
    )
    return [embedding_shown(row) for row in found]


def embedding(connection: Connection, identifier: str) -> Row:
    """Return one embedding with its values, None where its blob is no vector."""
    row = one(
        connection,
        f"SELECT {_EMBEDDING}, e.embedding FROM memory_block_embeddings AS e WHERE e.id = ?",
        (identifier,),
    )
    if row is None:
        raise MissingError(f"there is no embedding '{identifier}'")
    vector = unpacked(row["embedding"], whole(row["dimensions"]) or 0)
    values = None if vector is None else [number(float(value)) for value in vector]
    return embedding_shown(row) | {"values": values}


def embedding_shown(row: Row) -> dict[str, Any]:
    """Return an embedding's row as the API shows it, without its values."""
    model = text(row["model"]) or ""
    return {
        "id": text(row["id"]) or "",
        "block_id": text(row["block_id"]),
        "model": model,
        "dimensions": whole(row["dimensions"]),
        "lexical": model == lexical.MODEL,
        "created_at": text(row["created_at"]),
    }


def models(connection: Connection) -> list[dict[str, Any]]:
    """Return which models have embeddings here, of which dimensions, and how many."""
    found = rows(
        connection,
        "SELECT model, dimensions, sum(blocks) AS blocks, sum(entities) AS entities FROM ("
        " SELECT model, dimensions, count(*) AS blocks, 0 AS entities"
        " FROM memory_block_embeddings GROUP BY 1, 2 UNION ALL"
        " SELECT model, dimensions, 0, count(*) FROM knowledge_entity_embeddings GROUP BY 1, 2)"
        " GROUP BY model, dimensions ORDER BY model, dimensions",
    )
    return [
        {
            "model": text(row["model"]) or "",
            "dimensions": whole(row["dimensions"]),
            "memories": row["blocks"],
            "entities": row["entities"],
            "lexical": text(row["model"]) == lexical.MODEL,
        }
        for row in found
    ]


def metadata_text(value: Any) -> str:
    """Return the JSON text of a block's metadata; an empty object where there is none."""
    return json_text({} if value is None else value) or "{}"
