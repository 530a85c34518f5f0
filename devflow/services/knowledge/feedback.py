"""What is said of entities: confirmed, rejected or used; each feedback counts once."""

from __future__ import annotations

import uuid

from devflow.services.errors import ConflictError
from devflow.services.knowledge.believing import Feedback, Prior, Status, confidence, status
from devflow.services.knowledge.entities import found
from devflow.services.knowledge.settling import settle, spoil
from devflow.services.store import Connection, Row, one
from devflow.services.values import iso_now, number, whole

__all__ = ["give"]

_CONFIDENCE_UNSAID = 0.5


def give(
    connection: Connection, identifier: str, *, feedback_id: str | None, kind: str
) -> tuple[bool, Row, Row]:
    """Take a feedback in; return whether it is new, its row, and the entity's row after it.

    The same feedback under a known id changes nothing; another one is a ConflictError.
    """
    entity = found(connection, identifier)
    if feedback_id is not None:
        known = one(connection, "SELECT * FROM knowledge_feedback WHERE id = ?", (feedback_id,))
        if known is not None:
            if (known["entity_seq"], known["kind"]) != (entity["seq"], kind):
                raise ConflictError(f"feedback {feedback_id!r} says something else already")
            return False, known, entity
    prior, uses = _prior(connection, entity)
    row = one(
        connection,
        "INSERT INTO knowledge_feedback (id, entity_seq, kind, given_at) VALUES (?, ?, ?, ?)"
        " RETURNING *",
        (feedback_id or uuid.uuid4().hex, entity["seq"], kind, iso_now()),
    )
    assert row is not None  # noqa: S101 - RETURNING yields the row
    _move(connection, entity, prior, uses)
    return True, row, found(connection, identifier)


def _prior(connection: Connection, entity: Row) -> tuple[Prior, int]:
    """Return what the row said before the first feedback, noting it where this is the first."""
    known = one(connection, "SELECT * FROM knowledge_priors WHERE entity_seq = ?", (entity["seq"],))
    if known is None:
        said = number(entity["confidence_score"])
        told: Status = "pending"
        if entity["validation_status"] in ("confirmed", "rejected"):
            told = entity["validation_status"]
        known = one(
            connection,
            "INSERT INTO knowledge_priors (entity_seq, confidence, status, uses)"
            " VALUES (?, ?, ?, ?) RETURNING *",
            (
                entity["seq"],
                _CONFIDENCE_UNSAID if said is None else min(1.0, max(0.0, said)),
                told,
                whole(entity["usage_count"]) or 0,
            ),
        )
        assert known is not None  # noqa: S101 - RETURNING yields the row
    return Prior(confidence=known["confidence"], status=known["status"]), known["uses"]


def _move(connection: Connection, entity: Row, prior: Prior, uses: int) -> None:
    """Set what the entity's row says to what follows from the prior and all feedback."""
    counted = one(
        connection,
        "SELECT count(*) FILTER (WHERE kind = 'confirm') AS confirms,"
        " count(*) FILTER (WHERE kind = 'reject') AS rejects,"
        " count(*) FILTER (WHERE kind = 'use') AS uses,"
        " max(given_at) FILTER (WHERE kind = 'confirm') AS confirmed_at"
        " FROM knowledge_feedback WHERE entity_seq = ?",
        (entity["seq"],),
    )
    assert counted is not None  # noqa: S101 - an aggregate yields a row
    told = Feedback(**{name: counted[name] for name in ("confirms", "rejects", "uses")})
    now = status(prior, told)
    connection.execute(
        "UPDATE knowledge_entities SET confidence_score = ?, validation_status = ?,"
        " usage_count = ?, last_confirmed = ifnull(?, last_confirmed) WHERE seq = ?",
        (confidence(prior, told), now, uses + told.uses, counted["confirmed_at"], entity["seq"]),
    )
    if now != entity["validation_status"] and "rejected" in (now, entity["validation_status"]):
        spoil(connection)
        settle(connection)
