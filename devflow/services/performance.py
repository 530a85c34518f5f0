"""Adds what happened to `platform_performance`: one row a platform, kind of task and day."""

from __future__ import annotations

from dataclasses import dataclass

from devflow.services.store import Connection, one
from devflow.services.values import number, whole

__all__ = ["Happened", "feed"]

_SURE_AFTER = 20  # tasks until half of the confidence is reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One task that a platform did. `satisfaction` is 1..5; what is None was not told."""

    success: bool
    duration_s: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    satisfaction: int | None = None


def feed(
    connection: Connection, *, platform: str, domain: str, task_type: str, day: str, what: Happened
) -> None:
    """Add one task to the means of its platform, domain, type and day.

    A mean counts what was not told as it is already: an unknown cost does not make things cheap.
    """
    key = (platform, domain, task_type, day)
    connection.execute(
        "INSERT INTO platform_performance (platform, capability_domain, task_type,"
        " measurement_period_start, measurement_period_end) VALUES (?1, ?2, ?3, ?4, ?4)"
        " ON CONFLICT (platform, capability_domain, task_type, measurement_period_start)"
        " DO NOTHING",
        key,
    )
    known = one(
        connection,
        "SELECT * FROM platform_performance WHERE platform = ? AND capability_domain = ?"
        " AND task_type = ? AND measurement_period_start = ?",
        key,
    )
    assert known is not None  # noqa: S101 - it was just put there
    before = max(0, whole(known["total_tasks"]) or 0)
    tokens = _mean(known["average_token_usage"], before, what.tokens)
    connection.execute(
        "UPDATE platform_performance SET total_tasks = ?2, success_rate = ?3,"
        " average_duration_seconds = ?4, average_token_usage = ?5, average_cost_usd = ?6,"
        " user_satisfaction_avg = ?7, confidence_score = ?8, last_updated = CURRENT_TIMESTAMP"
        " WHERE seq = ?1",
        (
            known["seq"],
            before + 1,
            min(1.0, _mean(known["success_rate"], before, what.success) or 0.0),
            _mean(known["average_duration_seconds"], before, what.duration_s),
            None if tokens is None else round(tokens),
            _mean(known["average_cost_usd"], before, what.cost_usd),
            _mean(known["user_satisfaction_avg"], before, what.satisfaction),
            (before + 1) / (before + 1 + _SURE_AFTER),
        ),
    )


def _mean(mean: object, of: int, one_more: float | None) -> float | None:
    known = number(mean)
    if one_more is None:
        return known
    return one_more if known is None else (known * of + one_more) / (of + 1)
