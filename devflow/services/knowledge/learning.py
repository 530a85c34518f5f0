"""Learns of memory blocks what they tell, one block in one transaction, and forgets with them.

A block is pending until `knowledge_learned` has a row of it by the present rules of extraction.
Reading and extracting hold no lock: what was read is compared by its digest when it is written,
and a block that changed meanwhile stays pending. So a run may be killed at any moment, and
learning twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from devflow.services.knowledge.extracting import (
    CONFIDENCE,
    Extracted,
    extracted,
    rules_version,
)
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import iso_now, sql_now, text

__all__ = ["Read", "learn", "pending", "pending_count", "read"]

_NAMESPACE = uuid.UUID("6d2b1f0c-8a34-5f6e-9c1d-0b7e5a4f3c21")
_PENDING = (
    "FROM memory_blocks AS b WHERE NOT EXISTS"
    " (SELECT 1 FROM knowledge_learned AS l WHERE l.block_seq = b.seq AND l.rules = ?)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A block as it was read, and what it tells of."""

    seq: int
    digest: str
    found: Sequence[Extracted]


def pending(connection: Connection, limit: int) -> list[int]:
    """Return the first blocks that are still to be learned, by their seq."""
    found = rows(
        connection, f"SELECT b.seq {_PENDING} ORDER BY b.seq LIMIT ?", (rules_version(), limit)
    )
    return [row["seq"] for row in found]


def pending_count(connection: Connection) -> int:
    """Return how many blocks are still to be learned."""
    row = one(connection, f"SELECT count(*) AS n {_PENDING}", (rules_version(),))
    return row["n"] if row else 0


def read(connection: Connection, seqs: Sequence[int]) -> list[Read]:
    """Read blocks and extract what they tell of; those that are gone are left out."""
    found = rows(
        connection,
        "SELECT seq, content FROM memory_blocks WHERE seq IN (SELECT value FROM json_each(?))"
        " ORDER BY seq",
        (json.dumps(list(seqs)),),
    )
    return [_read(row) for row in found]


def _read(row: Row) -> Read:
    content = text(row["content"]) or ""
    return Read(seq=row["seq"], digest=_digest(content), found=extracted(content))


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def learn(connection: Connection, block: Read) -> bool:
    """Write what a block tells of; return False where it is not any more what was read."""
    row = one(connection, "SELECT content FROM memory_blocks WHERE seq = ?", (block.seq,))
    if row is None or _digest(text(row["content"]) or "") != block.digest:
        return False
    connection.execute("DELETE FROM knowledge_learned WHERE block_seq = ?", (block.seq,))
    connection.execute(
        "INSERT INTO knowledge_learned (block_seq, digest, rules, learned_at) VALUES (?, ?, ?, ?)",
        (block.seq, block.digest, rules_version(), iso_now()),
    )
    for each in block.found:
        connection.execute(
            "INSERT INTO knowledge_mentions (block_seq, entity_seq, times, snippet)"
            " VALUES (?, ?, ?, ?)",
            (block.seq, _entity(connection, each), each.times, each.snippet),
        )
    return True


def _entity(connection: Connection, found: Extracted) -> int:
    """Return the seq of an entity; one that is not there is put in, one that is stays as it is."""
    key = (found.entity_type, found.name)
    known = one(
        connection, "SELECT seq FROM knowledge_entities WHERE entity_type = ? AND name = ?", key
    )
    if known is not None:
        return int(known["seq"])
    # It names no task, though it was learned from one: a task that an entity names can't be
    # deleted, and the mentions tell the task.
    row = one(
        connection,
        "INSERT INTO knowledge_entities (id, entity_type, name, confidence_score,"
        " extraction_source, first_seen, last_confirmed, usage_count, validation_status)"
        " VALUES (?, ?, ?, ?, ?, ?, NULL, 0, 'pending') RETURNING seq",
        (
            _identifier(connection, key),
            *key,
            CONFIDENCE[found.entity_type],
            json.dumps({"source": "memory_blocks", "rules": rules_version()}),
            sql_now(),
        ),
    )
    assert row is not None  # noqa: S101 - RETURNING yields the row
    connection.execute("INSERT INTO knowledge_discovered (entity_seq) VALUES (?)", (row["seq"],))
    return int(row["seq"])


def _identifier(connection: Connection, key: tuple[str, str]) -> str:
    """Return the id that an entity of this type and name gets: always the same, unless taken."""
    made = uuid.uuid5(_NAMESPACE, "\n".join(key)).hex
    taken = one(connection, "SELECT 1 FROM knowledge_entities WHERE id = ?", (made,))
    return uuid.uuid4().hex if taken else made
