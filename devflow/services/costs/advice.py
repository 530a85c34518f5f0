"""Advises on a retry: what it will probably cost, whether that is there, whether it will help.

Expected cost: the mean of the last 50 priced requests of the same agent type and model, among
the newest 10,000 of all; where there are none, of the same model; then of the same agent type.

Success: a Beta posterior. Its prior weighs two attempts and has the mean success rate of the
platform in platform_performance (0.5 where nothing is known); the attempts made so far are added.
With f failures and no success that is 2 · rate / (2 + f): each failure makes it less.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from devflow.services.costs.budgets import applying, state
from devflow.services.store import Connection, Row, rows
from devflow.services.values import number

__all__ = ["HOPELESS_BELOW", "Retry", "advised"]

HOPELESS_BELOW = 0.15
"""A retry that succeeds less often than this is advised against, whatever it costs."""
_RECENT = 10_000
_SAMPLES = 50
_PRIOR_WEIGHT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What somebody thinks of trying again; `worth_usd` is what a success is worth to him."""

    platform: str
    agent_type: str
    model: str | None = None
    failures: int = 1
    successes: int = 0
    worth_usd: float | None = None


@dataclass(frozen=True, slots=True)
class _Expected:
    mean_usd: float | None
    highest_usd: float | None
    based_on: str


def advised(connection: Connection, retry: Retry, *, today: dt.date) -> Row:
    """Return the advice as the fields of `models.Advice`."""
    expected = _expected(connection, retry)
    success = _success(connection, retry)
    budgets = [
        state(connection, budget, today=today)
        for budget in applying(connection, platform=retry.platform)
    ]
    cost = expected.mean_usd
    short = [b for b in budgets if b["left_usd"] < cost] if cost is not None else []
    spent = [b for b in budgets if b["left_usd"] <= 0]
    advice, until, reasons = _decided(retry, cost, success, short or spent)
    return {
        "advice": advice,
        "affordable": not short if cost is not None else (False if spent else None),
        "wait_until": until,
        "expected_cost_usd": cost,
        "highest_cost_usd": expected.highest_usd,
        "based_on": expected.based_on,
        "success_probability": success,
        "expected_cost_per_success_usd": cost / success if cost is not None and success else None,
        "budgets": [
            {
                "id": b["id"],
                "name": b["name"],
                "left_usd": b["left_usd"],
                "enough": None if cost is None else b not in short,
                "period_end": b["period_end"],
            }
            for b in budgets
        ],
        "reasons": reasons,
    }


def _decided(
    retry: Retry, cost: float | None, success: float, short: list[Row]
) -> tuple[str, str | None, list[str]]:
    """Return the advice, the day to wait for, and the reasons."""
    if success < HOPELESS_BELOW:
        return "stop", None, [f"it would succeed with probability {success:.2f} only"]
    if cost is not None and retry.worth_usd is not None and cost > retry.worth_usd * success:
        worth = retry.worth_usd * success
        return "stop", None, [f"it costs ${cost:.6f} and is worth ${worth:.6f} on average"]
    if cost is not None and (never := [b for b in short if b["limit_usd"] < cost]):
        names = ", ".join(repr(b["name"]) for b in never)
        return "stop", None, [f"it costs more than the whole limit of {names}"]
    if short:
        reasons = [f"{b['name']!r} has ${b['left_usd']:.6f} left" for b in short]
        return "wait", max(b["period_end"] for b in short), reasons
    if cost is None:
        return "unknown", None, ["no recent request tells what it costs"]
    return "retry", None, ["every budget has enough left for it"]


def _expected(connection: Connection, retry: Retry) -> _Expected:
    recent = (
        f"SELECT cost_usd FROM (SELECT * FROM synthetic_usage ORDER BY seq DESC LIMIT {_RECENT})"
        " WHERE typeof(cost_usd) IN ('real', 'integer') AND cost_usd BETWEEN 0 AND 1e6"
    )
    both = (
        " AND agent_type = ? AND model IS ?",
        (retry.agent_type, retry.model),
        f"{retry.agent_type} with {retry.model or 'no model'}",
    )
    by_model = (" AND model = ?", (retry.model,), f"any agent with {retry.model}")
    by_agent = (" AND agent_type = ?", (retry.agent_type,), f"{retry.agent_type} with any model")
    for where, values, words in (both, *((by_model,) if retry.model else ()), by_agent):
        costs = [
            float(row["cost_usd"])
            for row in rows(connection, f"{recent}{where} LIMIT {_SAMPLES}", values)
        ]
        if costs:
            plural = "s" if len(costs) > 1 else ""
            based_on = f"{len(costs)} recent request{plural} of {words}"
            return _Expected(sum(costs) / len(costs), max(costs), based_on)
    return _Expected(None, None, "no recent priced request of this agent type or model")


def _success(connection: Connection, retry: Retry) -> float:
    """Return the posterior mean of success: see the module's text."""
    known = [
        (rate, max(number(row["total_tasks"]) or 0.0, 1.0))
        for row in rows(
            connection,
            "SELECT success_rate, total_tasks FROM platform_performance WHERE platform = ?",
            (retry.platform,),
        )
        if (rate := number(row["success_rate"])) is not None
    ]
    weight = sum(tasks for _, tasks in known)
    rate = sum(rate * tasks for rate, tasks in known) / weight if known else 0.5
    attempts = retry.failures + retry.successes
    return min(1.0, (_PRIOR_WEIGHT * rate + retry.successes) / (_PRIOR_WEIGHT + attempts))
