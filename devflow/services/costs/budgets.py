"""Budgets by day, week and month, and their alerts, raised with the usage that reaches them.

A budget counts the sums of the days of its period (UTC; weeks begin on Monday), of one platform
or of all, opening balances included. An alert is raised once a period and threshold: when what
was spent reaches 50, 80, 90 and 100 % of the limit.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from devflow.services.errors import ConflictError, MissingError
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import iso_now

__all__ = [
    "THRESHOLDS",
    "Period",
    "acknowledge",
    "alerts",
    "applying",
    "change",
    "create",
    "delete",
    "found",
    "period_of",
    "raise_alerts",
    "spent_nanousd",
    "state",
]

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
    # In two halves, so that no sum of nano-dollars leaves SQLite's integers.
    found = one(
        connection,
        "SELECT ifnull(sum(cost_nanousd / 1000000000), 0) AS whole,"
        " ifnull(sum(cost_nanousd % 1000000000), 0) AS rest"
        " FROM cost_sums WHERE date >= ? AND date < ? AND (? IS NULL OR platform = ?)",
        (period.start, period.end, platform, platform),
    )
    assert found is not None  # noqa: S101 - sums always yield a row
    return int(found["whole"] * 1_000_000_000 + found["rest"])


def raise_alerts(
    connection: Connection, *, day: str, platform: str, usage_id: str | None = None
) -> list[Row]:
    """Raise what the usage of a platform on a day has reached and was not raised; return it.

    Runs in the caller's transaction, after the usage is recorded.
    """
    raised: list[Row] = []
    for budget in applying(connection, platform=platform):
        raised += _reached(connection, budget, day=day, usage_id=usage_id)
    return raised


def applying(connection: Connection, *, platform: str) -> list[Row]:
    """Return the budgets that what a platform costs counts against."""
    return rows(
        connection,
        "SELECT * FROM cost_budgets WHERE platform IS NULL OR platform = ? ORDER BY seq",
        (platform,),
    )


def _reached(
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


# Budgets themselves ------------------------------------------------------------------------------


def create(connection: Connection, *, fields: Row, today: dt.date) -> Row:
    """Insert a budget (id or None, name, period, platform, limit_usd); return its state.

    What was spent already raises its alerts at once. A taken id is a ConflictError.
    """
    identifier = fields["id"] or uuid.uuid4().hex
    if one(connection, "SELECT 1 FROM cost_budgets WHERE id = ?", (identifier,)):
        raise ConflictError(f"a budget {identifier!r} exists already")
    now = iso_now()
    connection.execute(
        "INSERT INTO cost_budgets (id, name, period, platform, limit_nanousd, created_at,"
        " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            identifier,
            fields["name"],
            fields["period"],
            fields["platform"],
            round(fields["limit_usd"] * 1e9),
            now,
            now,
        ),
    )
    return _settled(connection, identifier, today=today)


def change(
    connection: Connection,
    identifier: str,
    *,
    name: str | None,
    limit_usd: float | None,
    today: dt.date,
) -> Row:
    """Change what is not None; a lower limit may raise alerts at once. Return the state."""
    found(connection, identifier)
    limit = None if limit_usd is None else round(limit_usd * 1e9)
    connection.execute(
        "UPDATE cost_budgets SET name = ifnull(?, name),"
        " limit_nanousd = ifnull(?, limit_nanousd), updated_at = ? WHERE id = ?",
        (name, limit, iso_now(), identifier),
    )
    return _settled(connection, identifier, today=today)


def _settled(connection: Connection, identifier: str, *, today: dt.date) -> Row:
    budget = found(connection, identifier)
    _reached(connection, budget, day=today.isoformat())
    return state(connection, budget, today=today)


def delete(connection: Connection, identifier: str) -> None:
    """Delete a budget and its alerts."""
    found(connection, identifier)
    connection.execute("DELETE FROM cost_budgets WHERE id = ?", (identifier,))


def found(connection: Connection, identifier: str) -> Row:
    """Return a budget's row; MissingError where there is none."""
    budget = one(connection, "SELECT * FROM cost_budgets WHERE id = ?", (identifier,))
    if budget is None:
        raise MissingError(f"there is no budget {identifier!r}")
    return budget


def state(connection: Connection, budget: Row, *, today: dt.date) -> Row:
    """Return where a budget stands in the period of `today`: the fields of `models.Budget`."""
    period = period_of(budget["period"], today.isoformat())
    assert period is not None  # noqa: S101 - today is a date
    spent = spent_nanousd(connection, period=period, platform=budget["platform"])
    limit = budget["limit_nanousd"]
    names = ("id", "name", "period", "platform", "created_at", "updated_at")
    return {name: budget[name] for name in names} | {
        "limit_usd": limit / 1e9,
        "period_start": period.start,
        "period_end": period.end,
        "spent_usd": spent / 1e9,
        "left_usd": (limit - spent) / 1e9,
        "percent": spent * 100 / limit,
        "reached_percent": max((t for t in THRESHOLDS if spent * 100 >= limit * t), default=0),
    }


# Alerts ------------------------------------------------------------------------------------------


def alerts(
    connection: Connection,
    *,
    budget_id: str | None,
    acknowledged: bool | None,
    limit: int,
    offset: int,
) -> Row:
    """Return a page of alerts, newest first, and how many there are."""
    where, values = "TRUE", list[object]()
    if budget_id is not None:
        where, values = "budget_id = ?", [budget_id]
    if acknowledged is not None:
        where += f" AND acknowledged_at IS {'NOT ' if acknowledged else ''}NULL"
    page = rows(
        connection,
        f"SELECT * FROM cost_alerts WHERE {where} ORDER BY seq DESC LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    total = one(connection, f"SELECT count(*) AS n FROM cost_alerts WHERE {where}", values)
    assert total is not None  # noqa: S101 - a count always yields a row
    return {"items": [_alert_shown(row) for row in page], "total": total["n"]}


def acknowledge(connection: Connection, identifier: str) -> Row:
    """Note that somebody has seen an alert; again changes nothing. Return it."""
    connection.execute(
        "UPDATE cost_alerts SET acknowledged_at = ? WHERE id = ? AND acknowledged_at IS NULL",
        (iso_now(), identifier),
    )
    alert = one(connection, "SELECT * FROM cost_alerts WHERE id = ?", (identifier,))
    if alert is None:
        raise MissingError(f"there is no alert {identifier!r}")
    return _alert_shown(alert)


def _alert_shown(row: Row) -> Row:
    shown = {name: row[name] for name in row if not name.endswith("_nanousd")}
    return shown | {name: row[f"{name[:-4]}_nanousd"] / 1e9 for name in ("spent_usd", "limit_usd")}
