"""How much is known, and how much is still to be learned."""

from __future__ import annotations

from devflow.services.knowledge.extracting import rules_version
from devflow.services.knowledge.learning import pending_count
from devflow.services.store import Connection, Row, one, rows

__all__ = ["stats"]


def stats(connection: Connection) -> Row:
    """Return the counts."""
    counted = one(
        connection,
        "SELECT (SELECT count(*) FROM knowledge_mentions) AS mentions,"
        " (SELECT count(relationship_seq) FROM knowledge_pairs) AS relationships,"
        " (SELECT count(*) FROM knowledge_feedback) AS feedback,"
        " (SELECT count(*) FROM knowledge_learned) AS blocks_learned",
    )
    return {
        "entities": _by(connection, "entity_type"),
        "statuses": _by(connection, "ifnull(validation_status, 'pending')"),
        **(counted or {}),
        "blocks_remaining": pending_count(connection),
        "rules": rules_version(),
    }


def _by(connection: Connection, what: str) -> dict[str, int]:
    found = rows(
        connection,
        f"SELECT {what} AS what, count(*) AS n FROM knowledge_entities GROUP BY 1 ORDER BY 1",
    )
    return {str(row["what"]): row["n"] for row in found}
