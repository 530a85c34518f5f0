"""Asks providers whether they are well, and records a round of checks in one transaction."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import httpx

from devflow.services.model_registry.metrics import count_check
from devflow.services.model_registry.standing import Candidate, Standing, after_check, chosen
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import iso_now, number, text

__all__ = [
    "DEADLINE_S",
    "Checked",
    "ask",
    "ask_all",
    "callable_providers",
    "due",
    "record_round",
    "settle",
]

DEADLINE_S = 5.0
"""How long a provider may take to answer."""
_ERROR_MAX = 300
_CALLED = "enabled = 1 AND configured_by IS NOT NULL AND base_url IS NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one provider answered: `error` says why it is not well."""

    provider: str
    healthy: bool
    duration_ms: float
    error: str | None = None


def callable_providers(connection: Connection) -> list[Row]:
    """Return the providers that may be called, the preferred ones first."""
    return rows(connection, f"SELECT * FROM model_providers WHERE {_CALLED} ORDER BY position, seq")


def due(providers: Iterable[Row], *, interval_s: float, now: dt.datetime) -> list[Row]:
    """Return those whose last check is an interval ago, or was never made."""
    return [provider for provider in providers if _age_s(provider, now) >= interval_s]


def _age_s(provider: Row, now: dt.datetime) -> float:
    try:
        last = dt.datetime.fromisoformat(text(provider["last_checked"]) or "")
    except ValueError:
        return float("inf")
    aware = last if last.tzinfo else last.replace(tzinfo=dt.UTC)
    age_s = (now - aware).total_seconds()
    return age_s if age_s >= 0 else float("inf")  # the clock was set back: check now


async def ask_all(client: httpx.AsyncClient, providers: Iterable[Row]) -> list[Checked]:
    """Ask providers side by side."""
    return list(await asyncio.gather(*(ask(client, provider) for provider in providers)))


async def ask(client: httpx.AsyncClient, provider: Row) -> Checked:
    """Ask one provider: well is what answers its health path with 200 within the deadline."""
    url = f"{text(provider['base_url'])}".rstrip("/") + f"{text(provider['health_path'])}"
    began = time.perf_counter()
    error: str | None = None
    try:
        async with asyncio.timeout(DEADLINE_S):
            answer = await client.get(url)
        if answer.status_code != httpx.codes.OK:
            error = f"it answered {answer.status_code}"
    except TimeoutError:
        error = f"no answer within {DEADLINE_S:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as failure:
        error = f"{type(failure).__name__}: {failure}"[:_ERROR_MAX]
    return Checked(
        provider=provider["name"],
        healthy=error is None,
        duration_ms=round(1000 * (time.perf_counter() - began), 3),
        error=error,
    )


def record_round(connection: Connection, checks: Sequence[Checked]) -> None:
    """Write what checks found: history, streaks, the day's sums, and a failover they bring."""
    at = iso_now()
    for check in checks:
        known = one(connection, "SELECT * FROM model_providers WHERE name = ?", (check.provider,))
        if known is None:
            continue  # it was deleted while it was asked
        before = Standing(
            known["status"], known["consecutive_failures"], known["consecutive_successes"]
        )
        after = after_check(before, healthy=check.healthy)
        connection.execute(
            "INSERT INTO model_health_history"
            " (provider, healthy, error, checked_at, duration_ms, rolled_up)"
            " VALUES (?, ?, ?, ?, ?, 1)",
            (check.provider, int(check.healthy), check.error, at, check.duration_ms),
        )
        connection.execute(
            "UPDATE model_providers SET status = ?, consecutive_failures = ?,"
            " consecutive_successes = ?, last_checked = ?, first_seen = ifnull(first_seen, ?)"
            " WHERE name = ?",
            (after.status, after.failures, after.successes, at, at, check.provider),
        )
        count_check(
            connection,
            provider=check.provider,
            day=at[:10],
            healthy=check.healthy,
            duration_ms=check.duration_ms,
        )
    settle(connection, at)


def settle(connection: Connection, at: str) -> None:
    """Make the right provider active, and record the failover where that is another one."""
    known = one(connection, "SELECT name FROM model_providers WHERE is_active = 1")
    active = known["name"] if known else None
    candidates = [Candidate(p["name"], p["status"]) for p in callable_providers(connection)]
    best, why = chosen(candidates, active)
    if best == active:
        return
    connection.execute("UPDATE model_providers SET is_active = 0 WHERE is_active = 1")
    connection.execute("UPDATE model_providers SET is_active = 1 WHERE name = ?", (best,))
    connection.execute(
        "INSERT INTO failover_events (from_provider, to_provider, occurred_at, reason)"
        " VALUES (?, ?, ?, ?)",
        (active, best, at, why),
    )


def waited_s(providers: Iterable[Row], *, interval_s: float, now: dt.datetime) -> float:
    """Return how long nothing is due."""
    ages = [number(_age_s(provider, now)) for provider in providers]
    return min((max(0.0, interval_s - age) for age in ages if age is not None), default=interval_s)
