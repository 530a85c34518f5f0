"""What follows from all mentions together: relationships and their strengths, and what is gone.

It is done when a batch was learned, in one transaction, and only where something changed since
(`knowledge_stale`). How many blocks mention two entities is kept by triggers at any time.
"""

from __future__ import annotations

from devflow.services.knowledge.relating import SUPPORT_MIN, strength
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import sql_now

__all__ = ["CO_OCCURS", "settle", "spoil"]

CO_OCCURS = "co_occurs"
_GONE = (
    "DELETE FROM knowledge_entities WHERE seq IN"
    " (SELECT d.entity_seq FROM knowledge_discovered AS d WHERE NOT EXISTS"
    " (SELECT 1 FROM knowledge_mentions AS m WHERE m.entity_seq = d.entity_seq)"
    " AND NOT EXISTS (SELECT 1 FROM knowledge_priors AS p WHERE p.entity_seq = d.entity_seq))"
    " AND NOT EXISTS (SELECT 1 FROM knowledge_entity_embeddings AS v"
    " WHERE v.entity_id = knowledge_entities.id)"
    " AND NOT EXISTS (SELECT 1 FROM entity_relationships AS r WHERE knowledge_entities.id"
    " IN (r.source_entity_id, r.target_entity_id)"
    " AND NOT EXISTS (SELECT 1 FROM knowledge_pairs AS p WHERE p.relationship_seq = r.seq))"
)
_PAIRS = (
    "WITH told (entity_seq, blocks) AS"
    " (SELECT entity_seq, count(*) FROM knowledge_mentions GROUP BY entity_seq)"
    " SELECT p.seq, p.blocks, a.blocks AS first, b.blocks AS second, p.relationship_seq,"
    " x.id AS first_id, y.id AS second_id, x.validation_status IS NOT 'rejected'"
    " AND y.validation_status IS NOT 'rejected' AS wanted"
    " FROM knowledge_pairs AS p JOIN told AS a ON a.entity_seq = p.first_seq"
    " JOIN told AS b ON b.entity_seq = p.second_seq JOIN knowledge_entities AS x"
    " ON x.seq = p.first_seq JOIN knowledge_entities AS y ON y.seq = p.second_seq"
    f" WHERE p.blocks >= {SUPPORT_MIN} OR p.relationship_seq NOTNULL"
)


def spoil(connection: Connection) -> None:
    """Note that relationships have to be settled again."""
    connection.execute("INSERT INTO knowledge_stale (seq) VALUES (1) ON CONFLICT DO NOTHING")


def settle(connection: Connection) -> bool:
    """Bring relationships in step with what is mentioned; return whether there was anything."""
    if one(connection, "SELECT 1 FROM knowledge_stale") is None:
        return False
    connection.execute(_GONE)
    counted = one(connection, "SELECT count(*) AS n FROM knowledge_learned")
    blocks = counted["n"] if counted else 0
    for pair in rows(connection, _PAIRS):
        _relate(connection, pair, blocks)
    connection.execute("DELETE FROM knowledge_stale")
    return True


def _relate(connection: Connection, pair: Row, blocks: int) -> None:
    known = pair["relationship_seq"]
    if pair["blocks"] < SUPPORT_MIN or not pair["wanted"]:
        if known is not None:
            connection.execute("DELETE FROM entity_relationships WHERE seq = ?", (known,))
        return
    value = strength(both=pair["blocks"], first=pair["first"], second=pair["second"], blocks=blocks)
    told = f"{pair['blocks']} of {blocks} blocks mention both"
    if known is not None:
        connection.execute(
            "UPDATE entity_relationships SET relationship_strength = ?, context_description = ?"
            " WHERE seq = ? AND (relationship_strength, context_description) IS NOT (?, ?)",
            (value, told, known, value, told),
        )
        return
    source, target = sorted((pair["first_id"], pair["second_id"]))
    # One that was migrated, or told, stands: it is not in the list of those that were discovered.
    made = one(
        connection,
        "INSERT INTO entity_relationships (source_entity_id, target_entity_id, relationship_type,"
        " relationship_strength, context_description, discovered_at, confirmed_count,"
        " last_confirmed) VALUES (?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING RETURNING seq",
        (source, target, CO_OCCURS, value, told, sql_now(), pair["blocks"]),
    )
    if made is not None:
        connection.execute(
            "UPDATE knowledge_pairs SET relationship_seq = ? WHERE seq = ?",
            (made["seq"], pair["seq"]),
        )
