"""The old API's memory and its embeddings: blocks of one session, and those merged."""

from __future__ import annotations

import uuid
from typing import Any

import apsw

from devflow.services.database_manager.import_task import import_task
from devflow.services.database_manager.legacy.words import (
    amount,
    block_type,
    texts,
    unified_block_type,
    verbatim,
)
from devflow.services.database_manager.vectors import packed
from devflow.services.errors import ConflictError, MissingError
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import iso_now, sql_now, text

__all__ = ["add_embedding", "create", "delete", "embeddings", "listed", "read", "search"]

_SESSION = "legacy-import"
_COLUMNS = ("id", "content", "type", "timestamp", "embedding")
_SHOWN_COLUMNS = _COLUMNS[:-1]
_ID = verbatim(_COLUMNS, "id", "u.id")
# A block that was there before has a label of its own, and a type that nobody changed since.
_TYPE = (
    "CASE WHEN o.residue & 4 AND (o.rule = 'merged' AND u.updated_at IS NULL"
    f" OR ({block_type('o.x_type')}) = u.block_type) THEN o.x_type"
    " WHEN o.rule = 'merged' AND o.residue & 4 THEN u.block_type ELSE u.label END"
)
_CREATED = verbatim(_COLUMNS, "timestamp", "u.created_at")
_SHOWN = f"{_ID} AS id, u.content AS content, {_TYPE} AS type, {_CREATED} AS timestamp"
_ORIGIN = "LEFT JOIN origin_legacy_memory_blocks AS o ON o.seq = u.seq"
# Newer copies of the old database held vector memories too, which this API never showed.
_OURS = (
    f"memory_blocks AS u {_ORIGIN} WHERE u.session_id = '{_SESSION}' AND (o.seq IS NOT NULL"
    " OR NOT EXISTS (SELECT 1 FROM origin_legacy_vector_memories AS v WHERE v.seq = u.seq))"
)
# What another session's blocks were found to be, too, or came as before the migration.
_MET = (
    "origin_legacy_memory_blocks AS o JOIN memory_blocks AS u ON u.seq = o.seq"
    " WHERE o.rule <> 'kept' AND o.rule IN ('merged', 'earlier-attempt')"  # as the index says it
    f" AND u.session_id <> '{_SESSION}'"
)
_OLD = (
    "origin_legacy_memory_blocks AS o JOIN memory_blocks AS u ON u.seq = o.seq"
    " WHERE o.residue & 1 AND o.x_id = ?1"
)
_KEYS = "u.seq AS seq, u.id AS unified_id"
_BY_ID = (
    f"SELECT {_KEYS}, {_SHOWN} FROM {_OURS} AND u.id = ?1 AND NOT COALESCE(o.residue & 1, 0)"
    f" UNION ALL SELECT {_KEYS}, {_SHOWN} FROM {_MET} AND u.id = ?1 AND NOT o.residue & 1"
)
_BY_OLD_ID = f"SELECT {_KEYS}, {_SHOWN} FROM {_OLD}"
_ORDER = " ORDER BY timestamp DESC, id LIMIT :limit OFFSET :offset"


def _select(condition: str) -> tuple[str, str]:
    """Return the query of a page, and the one without what was met elsewhere, which is faster.

    The time of what is in this session is its `created_at`, so that an index has them in order.
    """
    alone = (
        f"SELECT {_SHOWN} FROM {_OURS}{condition}"
        f" ORDER BY u.created_at DESC, {_ID} LIMIT :limit OFFSET :offset"
    )
    both = (
        f"SELECT {_SHOWN} FROM {_OURS}{condition} UNION ALL SELECT {_SHOWN} FROM {_MET}{condition}"
    )
    return alone, f"SELECT * FROM ({both}){_ORDER}"


_ANY_MET = f"SELECT 1 FROM {_MET} LIMIT 1"
_LIST = _select("")
_LIST_OF_TYPE = _select(f" AND ({_TYPE}) = :type")
_COUNT = (
    f"SELECT (SELECT count(*) FROM memory_blocks WHERE session_id = '{_SESSION}')"
    f" + (SELECT count(*) FROM {_MET}) - (SELECT count(*) FROM origin_legacy_vector_memories AS v"
    f" CROSS JOIN memory_blocks AS u ON u.seq = v.seq WHERE u.session_id = '{_SESSION}'"
    " AND NOT EXISTS (SELECT 1 FROM origin_legacy_memory_blocks AS o WHERE o.seq = v.seq)) AS total"
)
_COUNT_OF_TYPE = (
    f"SELECT (SELECT count(*) FROM {_OURS} AND ({_TYPE}) = :type)"
    f" + (SELECT count(*) FROM {_MET} AND ({_TYPE}) = :type) AS total"
)
_LIKE = " AND u.content LIKE :pattern ESCAPE '\\'"
# What holds the words is found in an index that has all contents of this session in their order,
# and nothing else: it is passed over several times as fast as the table.
_SEARCH = (
    "WITH found AS MATERIALIZED (SELECT u.seq AS seq"
    f" FROM {_OURS.replace('AS u', 'AS u INDEXED BY idx_memory_legacy_content', 1)}{_LIKE}"
    f" ORDER BY u.created_at DESC, {_ID} LIMIT :limit OFFSET :offset)"
    f" SELECT {_SHOWN} FROM found CROSS JOIN memory_blocks AS u ON u.seq = found.seq {_ORIGIN}"
    f" ORDER BY u.created_at DESC, {_ID}",
    _select(_LIKE)[1],
)

_EMBEDDING_COLUMNS = (
    *("id", "memory_block_id", "model_id", "embedding_vector", "dimensions", "created_at"),
)


def _embedding_column(name: str, unified: str) -> str:
    return f"{verbatim(_EMBEDDING_COLUMNS, name, unified)} AS {name}"


_EMBEDDINGS = (
    f"SELECT {_embedding_column('id', 'u.id')},"
    f" {_embedding_column('memory_block_id', ':shown')},"
    f" {_embedding_column('model_id', 'u.model')},"
    f" {_embedding_column('dimensions', 'u.dimensions')},"
    f" {_embedding_column('created_at', 'u.created_at')}"
    " FROM memory_block_embeddings AS u"
    " LEFT JOIN origin_legacy_memory_block_embeddings AS o ON o.seq = u.seq"
    " WHERE u.block_id = :block AND (o.seq IS NOT NULL OR NOT EXISTS"
    " (SELECT 1 FROM origin_root_memory_block_embeddings AS r WHERE r.seq = u.seq)"
    " AND NOT EXISTS (SELECT 1 FROM origin_vector_vector_memories AS v"
    " WHERE v.embedding_seq = u.seq) AND NOT EXISTS (SELECT 1 FROM origin_legacy_vector_memories"
    " AS v WHERE v.embedding_seq = u.seq)) ORDER BY created_at, id"
)


def _missing(identifier: str) -> MissingError:
    return MissingError(f"there is no memory '{identifier}'")


def _found(connection: Connection, identifier: str) -> Row:
    row = one(connection, _BY_ID, (identifier,)) or one(connection, _BY_OLD_ID, (identifier,))
    if row is None:
        raise _missing(identifier)
    return row


def _page(connection: Connection, queries: tuple[str, str], bindings: dict[str, Any]) -> list[Row]:
    alone, both = queries
    met = one(connection, _ANY_MET) is not None
    return [texts(row) for row in rows(connection, both if met else alone, bindings)]


def read(connection: Connection, identifier: str) -> Row:
    """Return the memory that an old client knows by this identifier; MissingError if none."""
    row = _found(connection, identifier)
    return texts({name: row[name] for name in _SHOWN_COLUMNS})


def listed(
    connection: Connection, *, of_type: str | None, limit: int, offset: int
) -> dict[str, Any]:
    """Return a page of the memory, the newest first, and how much there is."""
    page = {"limit": limit, "offset": offset}
    if of_type is None:
        found, count = _page(connection, _LIST, page), one(connection, _COUNT)
    else:
        asked = {"type": of_type}
        found = _page(connection, _LIST_OF_TYPE, {**asked, **page})
        count = one(connection, _COUNT_OF_TYPE, asked)
    return {"memories": found, "total": count["total"] if count else 0}


def search(connection: Connection, words: str, *, limit: int) -> dict[str, Any]:
    """Return what holds the words as they are, in any case, the newest first."""
    escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    asked = {"pattern": f"%{escaped}%", "limit": limit, "offset": 0}
    return {"results": _page(connection, _SEARCH, asked)}


def create(connection: Connection, identifier: str, given: dict[str, Any]) -> Row:
    """Insert a block and return it; ConflictError where the identifier is taken."""
    taken = ConflictError(f"a memory '{identifier}' exists already")
    if one(connection, _BY_OLD_ID, (identifier,)):
        raise taken
    when = given["timestamp"] or iso_now()
    task = import_task(connection, "legacy")
    kind = given["type"]
    values = (identifier, task, _SESSION, unified_block_type(kind), kind, given["content"])
    try:
        connection.execute(
            "INSERT INTO memory_blocks (id, task_id, session_id, block_type, label, content,"
            " embedding_model, created_at, last_accessed, access_count)"
            " VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?, 0)",
            (*values, when, when),
        )
    except apsw.ConstraintError as error:
        raise taken from error
    return {"id": identifier, "content": given["content"], "type": kind, "timestamp": when}


def delete(connection: Connection, identifier: str) -> None:
    """Delete a block with its embeddings."""
    row = _found(connection, identifier)
    connection.execute("DELETE FROM memory_blocks WHERE seq = ?", (row["seq"],))


def add_embedding(
    connection: Connection, identifier: str, *, model: str, vector: list[float]
) -> Row:
    """Insert an embedding of a block, and return what is shown of it."""
    row = _found(connection, identifier)
    now = sql_now()
    made = str(uuid.uuid4())
    connection.execute(
        "INSERT INTO memory_block_embeddings (id, block_id, model, dimensions, embedding,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (made, row["unified_id"], model, len(vector), packed(vector), now, now),
    )
    return {
        "id": made,
        "memory_block_id": text(row["id"]),
        "model_id": model,
        "dimensions": len(vector),
        "created_at": now,
    }


def embeddings(connection: Connection, identifier: str) -> dict[str, Any]:
    """Return the embeddings of a block, in the order in which they were made."""
    row = _found(connection, identifier)
    found = rows(connection, _EMBEDDINGS, {"block": row["unified_id"], "shown": row["id"]})
    return {
        "embeddings": [{**texts(each), "dimensions": amount(each["dimensions"])} for each in found]
    }
