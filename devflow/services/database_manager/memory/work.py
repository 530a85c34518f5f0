"""What is done with memory blocks and their embeddings, in the caller's transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from devflow.services.database_manager.vectors import packed, unpacked
from devflow.services.errors import ConflictError, MissingError
from devflow.services.pages import Page, page
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import json_text, number, parsed, sql_now, text, whole

__all__ = [
    "add_embedding",
    "change",
    "create",
    "delete",
    "delete_embedding",
    "embeddings",
    "listed",
    "read",
    "touch",
]

_COLUMNS = (
    "id, task_id, session_id, block_type, label, content, metadata, importance_score,"
    " relationships, created_at, updated_at, last_accessed, access_count"
)
_READ = f"SELECT {_COLUMNS} FROM memory_blocks WHERE id = ?"
_RESERVED = ("legacy-import", "vector-import")
_EMBEDDING = "id, block_id, model, dimensions, created_at, updated_at"


def _shown(row: Row) -> Row:
    found: Row = {name: text(value) for name, value in row.items()}
    for name in ("task_id", "session_id", "label", "content"):
        found[name] = found[name] or ""
    found["metadata"] = parsed(row["metadata"])
    found["relationships"] = parsed(row["relationships"])
    found["importance_score"] = number(row["importance_score"])
    found["access_count"] = whole(row["access_count"])
    return found


def read(connection: Connection, identifier: str) -> Row:
    """Return a block; MissingError if there is none."""
    row = one(connection, _READ, (identifier,))
    if row is None:
        raise MissingError(f"there is no memory block '{identifier}'")
    return _shown(row)


def touch(connection: Connection, identifier: str) -> Row:
    """Note that a block is read, by which a trigger counts it, and return it."""
    connection.execute(
        "UPDATE memory_blocks SET last_accessed = ? WHERE id = ?", (sql_now(), identifier)
    )
    return read(connection, identifier)


def listed(
    connection: Connection,
    *,
    min_importance: float | None,
    limit: int,
    offset: int,
    **equal: str | None,
) -> Page:
    """Return a page of the blocks whose columns equal what is given, the newest first."""
    return page(
        connection,
        _shown,
        select=_COLUMNS,
        source="memory_blocks",
        order="created_at DESC, id",
        given={
            **{f"{name} = ?": value for name, value in equal.items()},
            "importance_score >= ?": min_importance,
        },
        limit=limit,
        offset=offset,
    )


def _check_relationships(connection: Connection, identifier: str, given: dict[str, Any]) -> None:
    names = [each["block_id"] for each in given.get("relationships", ())]
    if not names:
        return
    found = rows(
        connection,
        "SELECT id FROM memory_blocks WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(names),),
    )
    known = {text(row["id"]) for row in found}
    for name in names:
        if name == identifier:
            raise ConflictError(f"memory block '{name}' cannot be related to itself")
        if name not in known:
            raise ConflictError(f"there is no memory block '{name}' to be related to")


def _stored(given: dict[str, Any]) -> dict[str, Any]:
    return given | {
        name: json_text(given[name]) for name in ("metadata", "relationships") if name in given
    }


def create(connection: Connection, given: dict[str, Any]) -> Row:
    """Insert a block and return it; ConflictError where its task is not there, or its id taken."""
    identifier = given["id"] or uuid.uuid4().hex
    if one(connection, "SELECT 1 FROM memory_blocks WHERE id = ?", (identifier,)):
        raise ConflictError(f"a memory block '{identifier}' exists already")
    if one(connection, "SELECT 1 FROM task_contexts WHERE id = ?", (given["task_id"],)) is None:
        raise ConflictError(f"there is no task '{given['task_id']}' for the memory block")
    if given["session_id"] in _RESERVED:
        raise ConflictError(
            f"session '{given['session_id']}' is what the old APIs keep; take another name"
        )
    _check_relationships(connection, identifier, given)
    now = sql_now()
    values = _stored(given) | {"id": identifier, "created_at": now, "last_accessed": now}
    values |= {"access_count": 0, "embedding_model": None}
    places = ", ".join(f":{name}" for name in values)
    connection.execute(f"INSERT INTO memory_blocks ({', '.join(values)}) VALUES ({places})", values)
    return read(connection, identifier)


def change(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """Change what is given of a block, and return it."""
    block = read(connection, identifier)
    _check_relationships(connection, identifier, given)
    values = _stored(given)
    if values:
        changes = ", ".join(f"{name} = :{name}" for name in values)
        connection.execute(
            f"UPDATE memory_blocks SET {changes}, updated_at = :now WHERE id = :id",
            {**values, "now": sql_now(), "id": identifier},
        )
        block = read(connection, identifier)
    return block


def delete(connection: Connection, identifier: str) -> None:
    """Delete a block with its embeddings."""
    read(connection, identifier)
    connection.execute("DELETE FROM memory_blocks WHERE id = ?", (identifier,))


# Embeddings --------------------------------------------------------------------------------------


def _embedding(row: Row) -> Row:
    found: Row = {name: text(row[name]) for name in row if name != "embedding"}
    found["model"] = found["model"] or ""
    found["dimensions"] = whole(row["dimensions"])
    if "embedding" in row:
        found["embedding"] = _finite(unpacked(row["embedding"]))
    return found


def _finite(vector: Sequence[float] | None) -> list[float | None] | None:
    return None if vector is None else [number(each) for each in vector]


def embeddings(
    connection: Connection, identifier: str, *, vectors: bool, limit: int, offset: int
) -> Page:
    """Return a page of a block's embeddings in the order of their making."""
    read(connection, identifier)
    return page(
        connection,
        _embedding,
        select=f"{_EMBEDDING}, embedding" if vectors else _EMBEDDING,
        source="memory_block_embeddings",
        order="seq",
        given={"block_id = ?": identifier},
        limit=limit,
        offset=offset,
    )


def add_embedding(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """Insert an embedding of a block, and return it with its vector."""
    read(connection, identifier)
    name = given["id"] or uuid.uuid4().hex
    if one(connection, "SELECT 1 FROM memory_block_embeddings WHERE id = ?", (name,)):
        raise ConflictError(f"an embedding '{name}' exists already")
    vector, now = given["embedding"], sql_now()
    connection.execute(
        "INSERT INTO memory_block_embeddings (id, block_id, model, dimensions, embedding,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (name, identifier, given["model"], len(vector), packed(vector), now, now),
    )
    made = one(
        connection,
        f"SELECT {_EMBEDDING}, embedding FROM memory_block_embeddings WHERE id = ?",
        (name,),
    )
    assert made is not None  # noqa: S101 - it was just inserted
    return _embedding(made)


def delete_embedding(connection: Connection, identifier: str, name: str) -> None:
    """Delete one embedding of a block; MissingError if the block has none of that name."""
    gone = connection.execute(
        "DELETE FROM memory_block_embeddings WHERE block_id = ? AND id = ? RETURNING 1",
        (identifier, name),
    ).fetchall()
    if not gone:
        raise MissingError(f"memory block '{identifier}' has no embedding '{name}'")
