"""Budgets by day, week and month, and their alerts, raised with the usage that reaches them.

A budget counts the sums of the days of its period (UTC; weeks begin on Monday), of one platform
or of all, opening balances included. An alert is raised once a period and threshold: when what
was spent reaches 50, 80, 90 and 100 % of the limit.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import iso_now

__all__ = ["THRESHOLDS", "Period", "period_of", "raise_alerts", "spent_nanousd"]

THRESHOLDS = (50, 80, 90, 100)
"""Percents of a limit at which an alert is raised."""


@dataclass(frozen=True, slots=True)
class Period:
    """The days of a period: the first, and the first that is no longer in it, as YYYY-MM-DD."""

    start: str
    end: str


def period_of(kind: str, day: str) -> Period | None:
    """Return the `day`, `week` or `month` that holds a day; None where it is no date."""
    try:
        date = dt.date.fromisoformat(day)
    except ValueError:
        return None
    if date.isoformat() != day or date.year in (dt.MINYEAR, dt.MAXYEAR):
        return None
    if kind == "day":
        start, end = date, date + dt.timedelta(1)
    elif kind == "week":
        start = date - dt.timedelta(date.weekday())
        end = start + dt.timedelta(7)
    else:
        start = date.replace(day=1)
        end = (start + dt.timedelta(31)).replace(day=1)
    return Period(start.isoformat(), end.isoformat())


def spent_nanousd(connection: Connection, *, period: Period, platform: str | None) -> int:
    """Return what the sums of a period's days come to, of one platform or (None) of all."""
    found = connection.execute(
        "SELECT ifnull(sum(cost_nanousd), 0) FROM cost_sums WHERE date >= ? AND date < ?"
        " AND (? IS NULL OR platform = ?)",
        (period.start, period.end, platform, platform),
    ).fetchall()
    return int(found[0][0] or 0)


def raise_alerts(
    connection: Connection, *, day: str, platform: str, usage_id: str | None = None
) -> list[Row]:
    """Raise what the usage of a platform on a day has reached and was not raised; return it.

    Runs in the caller's transaction, after the usage is recorded.
    """
    budgets = rows(
        connection,
        "SELECT id, period, platform, limit_nanousd FROM cost_budgets"
        " WHERE platform IS NULL OR platform = ? ORDER BY seq",
        (platform,),
    )
    raised: list[Row] = []
    for budget in budgets:
        raised += reached(connection, budget, day=day, usage_id=usage_id)
    return raised


def reached(
    connection: Connection, budget: Row, *, day: str, usage_id: str | None = None
) -> list[Row]:
    """Raise each alert that a budget has reached in the period of `day` and not raised yet."""
    period = period_of(budget["period"], day)
    if period is None:
        return []
    spent = spent_nanousd(connection, period=period, platform=budget["platform"])
    raised: list[Row] = []
    for threshold in THRESHOLDS:
        if spent * 100 < budget["limit_nanousd"] * threshold:
            break
        alert = one(
            connection,
            "INSERT INTO cost_alerts (budget_id, period_start, threshold_percent, spent_nanousd,"
            " limit_nanousd, usage_id, raised_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (budget_id, period_start, threshold_percent) DO NOTHING RETURNING *",
            (
                budget["id"],
                period.start,
                threshold,
                spent,
                budget["limit_nanousd"],
                usage_id,
                iso_now(),
            ),
        )
        raised += [alert] if alert else []
    return raised
