"""The sums of each provider's day, and what they tell: availability, latency, tokens, costs."""

from __future__ import annotations

from typing import Any

from devflow.services.model_registry.latency import added, merged, percentile_ms, read_histogram
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import number, text, whole

__all__ = ["analytics", "count_check", "count_request", "forget", "roll_up"]

_BATCH = 500
_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def count_check(
    connection: Connection, *, provider: str, day: str, healthy: bool, duration_ms: float | None
) -> None:
    """Add one check to its day."""
    known = _day(connection, provider, day)
    histogram = known["check_ms_histogram"]
    connection.execute(
        "UPDATE provider_performance_metrics SET checks = checks + 1,"
        " healthy_checks = healthy_checks + ?2,"
        " availability = (healthy_checks + ?2) * 1.0 / (checks + 1),"
        " check_ms_sum = check_ms_sum + ?3, check_ms_histogram = ?4 WHERE seq = ?1",
        (
            known["seq"],
            int(healthy),
            duration_ms or 0.0,
            histogram if duration_ms is None else added(histogram, duration_ms),
        ),
    )


def count_request(connection: Connection, *, request: Row, day: str) -> None:
    """Add one reported request, a row of provider_requests, to its day."""
    known = _day(connection, request["provider"], day)
    connection.execute(
        "UPDATE provider_performance_metrics SET requests = requests + 1,"
        " successful_requests = successful_requests + ?2, request_ms_sum = request_ms_sum + ?3,"
        " request_ms_histogram = ?4, tokens_in = tokens_in + ?5, tokens_out = tokens_out + ?6,"
        " cost_usd = cost_usd + ?7 WHERE seq = ?1",
        (
            known["seq"],
            request["success"],
            float(request["duration_ms"]),
            added(known["request_ms_histogram"], request["duration_ms"]),
            request["tokens_in"] or 0,
            request["tokens_out"] or 0,
            request["cost_usd"] or 0.0,
        ),
    )


def _day(connection: Connection, provider: str, day: str) -> Row:
    connection.execute(
        "INSERT INTO provider_performance_metrics (provider, day) VALUES (?, ?)"
        " ON CONFLICT (provider, day) DO NOTHING",
        (provider, day),
    )
    found = one(
        connection,
        "SELECT seq, check_ms_histogram, request_ms_histogram FROM provider_performance_metrics"
        " WHERE provider = ? AND day = ?",
        (provider, day),
    )
    assert found is not None  # noqa: S101 - it was just put there
    return found


def roll_up(connection: Connection) -> int:
    """Count checks that no day counts yet, a batch of them; return how many there were."""
    waiting = rows(
        connection,
        "SELECT seq, provider, healthy, duration_ms, checked_at FROM model_health_history"
        " WHERE rolled_up = 0 AND checked_at IS NOT NULL ORDER BY seq LIMIT ?",
        (_BATCH,),
    )
    for check in waiting:
        count_check(
            connection,
            provider=check["provider"],
            day=(text(check["checked_at"]) or "")[:10],
            healthy=bool(check["healthy"]),
            duration_ms=number(check["duration_ms"]),
        )
        connection.execute(
            "UPDATE model_health_history SET rolled_up = 1 WHERE seq = ?", (check["seq"],)
        )
    return len(waiting)


def forget(connection: Connection, *, before: str) -> int:
    """Delete a batch of counted checks and requests from before a moment; return how many.

    What the log holds (`line_no`) stays for ever, and so do the sums, and the usage of requests.
    """
    connection.execute(
        "DELETE FROM model_health_history WHERE seq IN (SELECT seq FROM model_health_history"
        " WHERE rolled_up = 1 AND line_no IS NULL AND checked_at < ? LIMIT ?)",
        (before, _BATCH),
    )
    forgotten = connection.changes()
    connection.execute(
        "DELETE FROM provider_requests WHERE seq IN (SELECT seq FROM provider_requests"
        " WHERE reported_at < ? LIMIT ?)",
        (before, _BATCH),
    )
    return forgotten + connection.changes()


def analytics(
    connection: Connection,
    *,
    provider: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    offset: int,
) -> dict[str, Any]:
    """Return a row a provider and day, newest first, and one sum over all of the asked days."""
    where = (
        "(?1 IS NULL OR provider = ?1) AND (?2 IS NULL OR day >= ?2) AND (?3 IS NULL OR day <= ?3)"
    )
    asked = (provider, since, until)
    found = rows(
        connection, f"SELECT * FROM provider_performance_metrics WHERE {where}"
        " ORDER BY day DESC, provider", asked,
    )  # fmt: skip
    return {
        "items": [
            {"provider": row["provider"], "day": text(row["day"]) or "", **_figures([row])}
            for row in found[offset : offset + limit]
        ],
        "total": len(found),
        "sum": _figures(found),
    }


def _figures(days: list[Row]) -> Row:
    sums = {
        name: sum(whole(day[name]) or 0 for day in days)
        for name in (
            "checks", "healthy_checks", "requests", "successful_requests", "tokens_in", "tokens_out"
        )
    }  # fmt: skip
    checks = merged(read_histogram(day["check_ms_histogram"]) for day in days)
    requests = merged(read_histogram(day["request_ms_histogram"]) for day in days)
    return {
        **sums,
        "cost_usd": round(sum(number(day["cost_usd"]) or 0.0 for day in days), 9),
        "availability": _ratio(sums["healthy_checks"], sums["checks"]),
        "success_rate": _ratio(sums["successful_requests"], sums["requests"]),
        "check_ms": {name: percentile_ms(checks, share) for name, share in _SHARES.items()},
        "request_ms": {name: percentile_ms(requests, share) for name, share in _SHARES.items()},
    }


def _ratio(part: int, of: int) -> float | None:
    return part / of if of else None
