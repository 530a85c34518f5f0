"""What clients report of their requests: kept, summed by day, priced, and fed to performance.

One transaction holds all of it: the request, its day's sums, its usage in `synthetic_usage`
under the same id, and its part in `platform_performance`.
"""

from __future__ import annotations

import uuid

from devflow.services.costs.recording import Usage, record_usage
from devflow.services.errors import ConflictError, MissingError
from devflow.services.model_registry.metrics import count_request
from devflow.services.performance import Happened, feed
from devflow.services.store import Connection, Row, one
from devflow.services.values import iso_now

__all__ = ["DOMAIN", "found", "report"]

DOMAIN = "model_requests"
"""The capability domain under which platform_performance shows what the registry was told."""

_TOLD = (
    "provider", "agent_type", "model", "success", "error", "duration_ms", "tokens_in", "tokens_out",
)  # fmt: skip


def report(connection: Connection, told: Row) -> tuple[bool, Row]:
    """Record a request; return whether it is new, and its row.

    The same request again changes nothing; another one under its id is a ConflictError. A cost
    that is not told is looked up, as the costs service does it.
    """
    known = one(connection, "SELECT * FROM provider_requests WHERE id = ?", (told["id"],))
    if known is not None:
        if not _same(told, known):
            raise ConflictError(f"request {told['id']!r} is recorded already, with other content")
        return False, known
    provider = told["provider"]
    if one(connection, "SELECT 1 FROM model_providers WHERE name = ?", (provider,)) is None:
        raise MissingError(f"there is no provider {provider!r}")
    identifier, at = told["id"] or uuid.uuid4().hex, iso_now()
    usage = record_usage(
        connection,
        Usage(
            id=identifier,
            created_at=at,
            **{
                name: told[name]
                for name in (
                    "provider", "agent_type", "model", "duration_ms", "tokens_in", "tokens_out",
                    "cost_usd",
                )
            },
        ),
    )  # fmt: skip
    row = one(
        connection,
        f"INSERT INTO provider_requests (id, {', '.join(_TOLD)}, cost_usd, reported_at)"
        f" VALUES (?, {', '.join('?' for _ in _TOLD)}, ?, ?) RETURNING *",
        (identifier, *(told[name] for name in _TOLD), usage["cost_usd"], at),
    )
    assert row is not None  # noqa: S101 - RETURNING yields the row
    count_request(connection, request=row, day=at[:10])
    feed(
        connection,
        platform=provider,
        domain=DOMAIN,
        task_type=row["agent_type"],
        day=at[:10],
        what=Happened(
            success=bool(row["success"]),
            duration_s=row["duration_ms"] / 1000,
            tokens=(row["tokens_in"] or 0) + (row["tokens_out"] or 0),
            cost_usd=row["cost_usd"] or 0.0,
        ),
    )
    return True, row


def found(connection: Connection, identifier: str) -> Row:
    """Return a reported request, or MissingError."""
    row = one(connection, "SELECT * FROM provider_requests WHERE id = ?", (identifier,))
    if row is None:
        raise MissingError(f"there is no request {identifier!r}")
    return row


def _same(told: Row, known: Row) -> bool:
    cost = told["cost_usd"]
    return all(told[name] == known[name] for name in _TOLD) and cost in (None, known["cost_usd"])
