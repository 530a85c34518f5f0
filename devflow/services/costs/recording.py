"""Records usage in the transaction of what caused it, and keeps the daily sums in step."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from devflow.services.errors import ConflictError
from devflow.services.store import Connection, Row, one
from devflow.services.values import iso_now

__all__ = ["Usage", "record_usage"]

_COLUMNS = (
    "id, provider, agent_type, model, duration_ms, tokens_in, tokens_out, cost_usd, created_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One request to a provider. `id` makes it count once, however often it is recorded.

    `cost_usd` None means that the price is looked up; `created_at` None means now.
    """

    provider: str
    agent_type: str
    model: str | None = None
    duration_ms: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    id: str | None = None
    created_at: str | None = None


def record_usage(connection: Connection, usage: Usage) -> Row:
    """Insert the usage and add it to its day's sums; return its row.

    Recording the same `id` with the same content again changes nothing; other content under it is
    a ConflictError.
    """
    identifier = usage.id or uuid.uuid4().hex
    known = one(connection, f"SELECT {_COLUMNS} FROM synthetic_usage WHERE id = ?", (identifier,))
    if known is not None:
        told = (usage.provider, usage.agent_type, usage.model, usage.duration_ms)
        if told != tuple(
            known[name] for name in ("provider", "agent_type", "model", "duration_ms")
        ):
            raise ConflictError(f"usage {identifier!r} is recorded already, with other content")
        return known
    row = one(
        connection,
        f"INSERT INTO synthetic_usage ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        f" RETURNING {_COLUMNS}",
        (
            identifier,
            usage.provider,
            usage.agent_type,
            usage.model,
            usage.duration_ms,
            usage.tokens_in,
            usage.tokens_out,
            usage.cost_usd,
            usage.created_at or iso_now(),
        ),
    )
    assert row is not None  # noqa: S101 - RETURNING yields the row
    return row
