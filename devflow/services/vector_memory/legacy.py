"""The legacy vector API's view: the rows of its table `vector_memories`, as a client knows them.

A vector memory is a block of the session `vector-import`, migrated or made through this API, or a
migrated one that was merged into a block of another source. What the unified columns could not
take stands verbatim beside the origin of a migrated row, and is shown while the unified column
still holds what was made of it.
"""

from __future__ import annotations

from typing import Any

from devflow.migration.tables import BLOCK_TYPES
from devflow.services.errors import ConflictError, MissingError
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import json_text, text, whole
from devflow.services.vector_memory.blocks import IMPORT_SESSION, NewBlock, add_block, json_shown
from devflow.services.vector_memory.embedding import Embedded
from devflow.services.vector_memory.index import Reach
from devflow.services.vector_memory.nearest import Asked, nearest
from devflow.services.vector_memory.vectors import Floats

__all__ = ["delete", "listed", "memory", "search", "store"]

_OWN = f"u.session_id = '{IMPORT_SESSION}'"


def _verbatim(bit: int, column: str, made_of_it: str, unified: str) -> str:
    return (
        f"CASE WHEN o.residue & {bit} AND (u.session_id <> '{IMPORT_SESSION}'"
        f" OR {unified} IS {made_of_it}) THEN o.{column} ELSE {unified} END"
    )


_ID = "CASE WHEN o.residue & 1 THEN o.x_id ELSE u.id END"
_TYPE = _verbatim(4, "x_type", "coalesce(o.x_type, '')", "u.label")
_CREATED = _verbatim(128, "x_created_at", "o.x_created_at", "coalesce(e.created_at, u.created_at)")
_COLUMNS = f"""
    u.seq AS block_seq, e.seq AS embedding_seq, o.source_rowid AS origin, u.session_id,
    {_ID} AS id,
    {_verbatim(2, "x_content", "coalesce(o.x_content, '')", "u.content")} AS content,
    {_TYPE} AS type,
    {_verbatim(8, "x_metadata", "o.x_metadata", "u.metadata")} AS metadata,
    {_verbatim(64, "x_model_id", "coalesce(o.x_model_id, '')", "e.model")} AS model_id,
    {_verbatim(32, "x_dimensions", "coalesce(o.x_dimensions, 0)", "e.dimensions")} AS dimensions,
    {_CREATED} AS created_at"""
_FIRST = "(SELECT min(f.seq) FROM memory_block_embeddings AS f WHERE f.block_id = u.id)"
_OWN_ROWS = f"""
    FROM memory_blocks AS u LEFT JOIN origin_vector_vector_memories AS o ON o.seq = u.seq
    LEFT JOIN memory_block_embeddings AS e ON e.seq = coalesce(o.embedding_seq, {_FIRST})
    WHERE {_OWN}"""
_MERGED_ROWS = f"""
    FROM origin_vector_vector_memories AS o JOIN memory_blocks AS u ON u.seq = o.seq
    LEFT JOIN memory_block_embeddings AS e ON e.seq = o.embedding_seq
    WHERE o.rule <> 'kept' AND NOT {_OWN}"""
_SEARCHED = """memory_block_embeddings AS e JOIN memory_blocks AS u ON u.id = e.block_id
    LEFT JOIN origin_vector_vector_memories AS o ON o.embedding_seq = e.seq AND o.seq = u.seq"""
_IS_ONE = f"""(o.source_rowid IS NOT NULL OR ({_OWN} AND e.seq = {_FIRST} AND NOT EXISTS
    (SELECT 1 FROM origin_vector_vector_memories AS p WHERE p.seq = u.seq)))"""
_SHARING = (
    ("origin_legacy_memory_block_embeddings", "seq"),
    ("origin_root_memory_block_embeddings", "seq"),
    ("origin_legacy_vector_memories", "embedding_seq"),
)


def _shown(row: Row) -> dict[str, Any]:
    return {
        "id": text(row["id"]),
        "content": text(row["content"]),
        "type": text(row["type"]),
        "metadata": json_shown(row["metadata"]),
        "model_id": text(row["model_id"]),
        "dimensions": whole(row["dimensions"]),
        "created_at": text(row["created_at"]),
    }


def _found(connection: Connection, identifier: str) -> Row:
    row = (
        one(
            connection,
            f"SELECT {_COLUMNS} {_OWN_ROWS} AND u.id = ? AND NOT coalesce(o.residue & 1, 0)",
            (identifier,),
        )
        or one(
            connection,
            f"SELECT {_COLUMNS} FROM origin_vector_vector_memories AS o"
            " JOIN memory_blocks AS u ON u.seq = o.seq"
            " LEFT JOIN memory_block_embeddings AS e ON e.seq = o.embedding_seq"
            " WHERE o.residue & 1 AND o.x_id = ?",
            (identifier,),
        )
        or one(
            connection,
            f"SELECT {_COLUMNS} {_MERGED_ROWS} AND u.id = ? AND NOT o.residue & 1",
            (identifier,),
        )
    )
    if row is None:
        raise MissingError(f"there is no memory '{identifier}'")
    return row


def memory(connection: Connection, identifier: str) -> dict[str, Any]:
    """Return one memory."""
    return _shown(_found(connection, identifier))


def listed(connection: Connection, kind: str | None, *, limit: int, offset: int) -> dict[str, Any]:
    """Return a page of memories, the latest first, and how many there are."""
    typed = "1" if kind is None else f"{_TYPE} = :kind"
    bound = {} if kind is None else {"kind": kind}
    total = one(
        connection,
        f"SELECT (SELECT count(*) {_counted(kind)}) + (SELECT count(*) {_MERGED_ROWS} AND {typed})"
        " AS n",
        bound,
    )
    last = "ORDER BY created_at DESC, id LIMIT"
    found = rows(
        connection,
        f"SELECT * FROM (SELECT * FROM (SELECT {_COLUMNS} {_OWN_ROWS} AND {typed}"
        f" ORDER BY u.created_at DESC, id LIMIT :limit + :offset)"
        f" UNION ALL SELECT * FROM (SELECT {_COLUMNS} {_MERGED_ROWS} AND {typed}"
        f" {last} :limit + :offset)) {last} :limit OFFSET :offset",
        {**bound, "limit": limit, "offset": min(offset, 2**62)},
    )
    assert total is not None  # noqa: S101 - a count has a row
    return {"memories": [_shown(row) for row in found], "total": total["n"]}


def _counted(kind: str | None) -> str:
    """Count blocks alone where no type is asked for: an index does it."""
    if kind is None:
        return f"FROM memory_blocks AS u WHERE {_OWN}"
    return f"{_OWN_ROWS} AND {_TYPE} = :kind"


def store(
    connection: Connection,
    embedded: Embedded,
    *,
    identifier: str | None,
    content: str,
    kind: str,
    metadata: Any,
) -> dict[str, Any]:
    """Insert a memory, block and embedding together; return it."""
    if identifier is not None and one(
        connection,
        "SELECT 1 FROM origin_vector_vector_memories AS o"
        " JOIN memory_blocks AS u ON u.seq = o.seq WHERE o.residue & 1 AND o.x_id = ?",
        (identifier,),
    ):
        raise ConflictError(f"a memory '{identifier}' exists already")
    made = add_block(
        connection,
        NewBlock(
            id=identifier,
            task_id=None,
            session_id=IMPORT_SESSION,
            block_type=kind if kind in BLOCK_TYPES else "context",
            label=kind,
            content=content,
            metadata=json_text(metadata),
        ),
        embedded,
    )
    return memory(connection, made)


def delete(connection: Connection, identifier: str) -> None:
    """Delete a memory; of one that is another source's block too, only what is the vector API's."""
    row = _found(connection, identifier)
    if row["session_id"] == IMPORT_SESSION:
        connection.execute("DELETE FROM memory_blocks WHERE seq = ?", (row["block_seq"],))
        return
    shared = any(
        one(connection, f"SELECT 1 FROM {table} WHERE {key} = ?", (row["embedding_seq"],))
        for table, key in _SHARING
    )
    if not shared:
        connection.execute(
            "DELETE FROM memory_block_embeddings WHERE seq = ?", (row["embedding_seq"],)
        )
    connection.execute(
        "DELETE FROM origin_vector_vector_memories WHERE source_rowid = ?", (row["origin"],)
    )


def search(
    connection: Connection,
    reach: Reach,
    vector: Floats,
    *,
    kind: str | None,
    threshold: float | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return the memories nearest to a vector, of its dimensions; similarities to six decimals."""
    asked = Asked(
        vector=vector,
        source=_SEARCHED,
        condition=_IS_ONE if kind is None else f"{_IS_ONE} AND {_TYPE} = :kind",
        bindings={} if kind is None else {"kind": kind},
    )
    hits = [
        hit
        for hit in nearest(connection, reach, asked, limit).hits
        if threshold is None or hit.similarity >= threshold
    ]
    marks = ", ".join("?" * len(hits))
    found = rows(
        connection,
        f"SELECT {_COLUMNS} FROM {_SEARCHED} WHERE e.seq IN ({marks})",
        [hit.seq for hit in hits],
    )
    by_seq = {row["embedding_seq"]: _shown(row) for row in found}
    results = [
        {
            **{name: by_seq[hit.seq][name] for name in ("id", "content", "type", "metadata")},
            "similarity": round(hit.similarity, 6),
        }
        for hit in hits
    ]
    results.sort(key=lambda result: (-result["similarity"], result["id"] or ""))
    return results[:limit]
