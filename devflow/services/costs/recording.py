"""Records usage in the transaction of what caused it, and keeps the daily sums in step."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from devflow.services.costs.budgets import raise_alerts
from devflow.services.costs.opening import ensure_opened
from devflow.services.costs.prices import price_usd
from devflow.services.errors import ConflictError
from devflow.services.store import Connection, Row, one
from devflow.services.values import iso_now

__all__ = ["Usage", "record_usage"]

_COLUMNS = (
    "id, provider, agent_type, model, duration_ms, tokens_in, tokens_out, cost_usd, created_at"
)
_TOLD = ("provider", "agent_type", "model", "duration_ms", "tokens_in", "tokens_out")
_OPEN = ("cost_usd", "created_at")


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
    a ConflictError. A cost that is not told is looked up, which `looked_up_prices` remembers, and
    stays None where no price is known.
    The sums are added by the triggers of synthetic_usage, in this transaction; alerts of budgets
    that this usage reaches are raised in it, too.
    """
    ensure_opened(connection)
    identifier = usage.id or uuid.uuid4().hex
    known = one(connection, f"SELECT {_COLUMNS} FROM synthetic_usage WHERE id = ?", (identifier,))
    if known is not None:
        if not _same(usage, known):
            raise ConflictError(f"usage {identifier!r} is recorded already, with other content")
        return known
    created_at = usage.created_at or iso_now()
    cost = usage.cost_usd
    if cost is None:
        cost = price_usd(
            provider=usage.provider,
            model=usage.model,
            tokens_in=usage.tokens_in,
            tokens_out=usage.tokens_out,
            at=created_at,
        )
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
            cost,
            created_at,
        ),
    )
    assert row is not None  # noqa: S101 - RETURNING yields the row
    if usage.cost_usd is None and cost is not None:
        connection.execute(
            "INSERT INTO looked_up_prices SELECT seq FROM synthetic_usage WHERE id = ?",
            (identifier,),
        )
    raise_alerts(connection, day=created_at[:10], platform=usage.provider, usage_id=identifier)
    return row


def _same(usage: Usage, known: Row) -> bool:
    """Whether a retry says what is recorded; what it leaves open is not compared."""
    told = {name: getattr(usage, name) for name in _TOLD}
    told |= {name: value for name in _OPEN if (value := getattr(usage, name)) is not None}
    return all(known[name] == value for name, value in told.items())
