"""Lists usage and sums it by day, platform and model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import number, text, whole

__all__ = ["GROUPS", "Filter", "analytics", "usage_shown", "usages"]

GROUPS = ("date", "platform", "model")
"""What sums can be grouped by, in the order in which they are shown."""
# In two halves, so that no sum of nano-dollars leaves SQLite's integers.
_WHOLE_SUM = "ifnull(sum(cost_nanousd / 1000000000), 0) AS cost_whole"
_REST_SUM = "ifnull(sum(cost_nanousd % 1000000000), 0) AS cost_rest"
_SUMS = (
    "ifnull(sum(requests), 0) AS requests, ifnull(sum(tokens), 0) AS tokens,"
    " ifnull(sum(input_tokens), 0) AS input_tokens,"
    f" ifnull(sum(output_tokens), 0) AS output_tokens, {_WHOLE_SUM}, {_REST_SUM},"
    " ifnull(sum(unpriced), 0) AS unpriced"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which usage: days from `since` to `until`, both included; None leaves it open."""

    since: str | None = None
    until: str | None = None
    platform: str | None = None
    model: str | None = None
    agent_type: str | None = None
    priced: bool | None = None

    def where(self, *, date: str, platform: str, model: str) -> tuple[str, list[object]]:
        """Return the condition on those columns and its values."""
        after = None
        if self.until is not None:
            after = (dt.date.fromisoformat(self.until) + dt.timedelta(1)).isoformat()
        parts: list[tuple[str, object]] = [
            (f"{date} >= ?", self.since),
            (f"{date} < ?", after),
            (f"{platform} = ?", self.platform),
            (f"{model} = ?", self.model),
        ]
        told = [(sql, value) for sql, value in parts if value is not None]
        return " AND ".join(["TRUE", *(sql for sql, _ in told)]), [value for _, value in told]


def analytics(
    connection: Connection, found: Filter, *, by: Sequence[str], limit: int, offset: int
) -> Row:
    """Return a page of groups, newest and dearest first, with the sums of all."""
    where, values = found.where(date="date", platform="platform", model="model")
    columns = ", ".join(name if name in by else f"NULL AS {name}" for name in GROUPS)
    grouped = f"SELECT {columns}, {_SUMS} FROM cost_sums WHERE {where}"
    if by:
        grouped += f" GROUP BY {', '.join(by)}"
    order = "date DESC, cost_whole DESC, cost_rest DESC, platform, model"
    items = rows(
        connection, f"{grouped} ORDER BY {order} LIMIT ? OFFSET ?", (*values, limit, offset)
    )
    total = one(connection, f"SELECT count(*) AS n FROM ({grouped})", values)
    totals = one(connection, f"SELECT {_SUMS} FROM cost_sums WHERE {where}", values)
    assert total is not None and totals is not None  # noqa: S101 - sums always yield a row
    named = [
        _sums(item) | {name: text(item[name]) if name in by else None for name in GROUPS}
        for item in items
    ]
    return {"items": named, "total": total["n"], "totals": _sums(totals)}


def _sums(row: Row) -> Row:
    nanousd = row["cost_whole"] * 1_000_000_000 + row["cost_rest"]
    names = ("requests", "tokens", "input_tokens", "output_tokens", "unpriced")
    requests, tokens = row["requests"], row["tokens"]
    return {name: row[name] for name in names} | {
        "cost_usd": nanousd / 1e9,
        "average_tokens_per_request": tokens / requests if requests > 0 else None,
        "cost_per_token": nanousd / 1e9 / tokens if tokens > 0 else None,
    }


def usages(connection: Connection, found: Filter, *, limit: int, offset: int) -> Row:
    """Return a page of recorded requests, newest first, and how many there are."""
    where, values = found.where(date="created_at", platform="provider", model="model")
    if found.agent_type is not None:
        where, values = f"{where} AND agent_type = ?", [*values, found.agent_type]
    if found.priced is not None:
        unpriced = int(not found.priced)
        where += f" AND seq IN (SELECT seq FROM counted_usage WHERE unpriced = {unpriced})"
    page = rows(
        connection,
        f"SELECT * FROM synthetic_usage WHERE {where} ORDER BY created_at DESC, id"
        " LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    total = one(connection, f"SELECT count(*) AS n FROM synthetic_usage WHERE {where}", values)
    assert total is not None  # noqa: S101 - a count always yields a row
    return {"items": [usage_shown(row) for row in page], "total": total["n"]}


def usage_shown(row: Row) -> Row:
    """Return a row of synthetic_usage as the fields of `models.UsageShown`."""
    return {
        "id": text(row["id"]) or "",
        "provider": text(row["provider"]) or "",
        "agent_type": text(row["agent_type"]) or "",
        "model": text(row["model"]),
        "duration_ms": whole(row["duration_ms"]),
        "tokens_in": whole(row["tokens_in"]),
        "tokens_out": whole(row["tokens_out"]),
        "cost_usd": number(row["cost_usd"]),
        "created_at": text(row["created_at"]) or "",
    }
