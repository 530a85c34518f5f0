"""What is believed of each platform: from outcomes, and before those from its performance.

A platform without outcomes is believed to be what `platform_performance` says of it: each row
counts as many tasks as it has (2 where it does not say), times its confidence (a half where it
does not say), and all rows together count 20 outcomes at most, so that what is remembered from
before gives way to what happens now.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from devflow.services.model_registry.requests import DOMAIN as REGISTRY_DOMAIN
from devflow.services.routing.choosing import NOTHING_KNOWN, Belief, Candidate
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import iso_now, number, text, whole

__all__ = ["IN_FLIGHT_S", "PLATFORMS", "belief_of", "candidates", "keep", "platforms"]

PLATFORMS = ("claude_code", "openai_codex", "gemini_cli", "cursor")
"""The platforms that a task can have; others are those that any table of performance names."""

IN_FLIGHT_S = 3_600.0
"""How long a decision without an outcome counts as a task that its platform is at."""

_PRIOR_MAX = 20.0
_TASKS_UNSAID = 2
_CONFIDENCE_UNSAID = 0.5


def platforms(connection: Connection) -> list[str]:
    """Return the names of all platforms that are known of, in the order of the alphabet."""
    found = rows(
        connection,
        "SELECT platform FROM platform_performance WHERE capability_domain <> :registry"
        " UNION SELECT platform FROM routing_beliefs UNION SELECT platform FROM platform_providers",
        {"registry": REGISTRY_DOMAIN},
    )
    named = {name for row in found if (name := text(row["platform"]))}
    return sorted(named.union(PLATFORMS))


def candidates(
    connection: Connection, *, among: Iterable[str] | None, domain: str, task_type: str
) -> list[Candidate]:
    """Return the platforms as candidates for a kind of task, `among` those that are named."""
    names = platforms(connection) if among is None else sorted(set(among))
    busy = _in_flight(connection)
    return [
        Candidate(
            platform=name,
            belief=belief_of(connection, name, domain=domain, task_type=task_type),
            in_flight=busy.get(name, 0),
            left_out=_unhealthy(connection, name),
        )
        for name in names
    ]


def belief_of(connection: Connection, platform: str, *, domain: str, task_type: str) -> Belief:
    """Return what is believed of a platform at a kind of task."""
    known = one(
        connection,
        "SELECT * FROM routing_beliefs WHERE platform = ? AND capability_domain = ?"
        " AND task_type = ?",
        (platform, domain, task_type),
    )
    if known is not None:
        return Belief(
            successes=known["successes"],
            failures=known["failures"],
            weight=known["weight"],
            duration_s=known["duration_seconds"],
            cost_usd=known["cost_usd"],
            outcomes=known["outcomes"],
        )
    return _before_outcomes(connection, platform, domain=domain, task_type=task_type)


def _before_outcomes(
    connection: Connection, platform: str, *, domain: str, task_type: str
) -> Belief:
    """Return what performance says: at this kind of task, else in this domain, else at all."""
    for condition, bindings in (
        ("capability_domain = ? AND task_type = ?", (domain, task_type)),
        ("capability_domain = ?", (domain,)),
        ("capability_domain <> ?", (REGISTRY_DOMAIN,)),
    ):
        found = rows(
            connection,
            "SELECT success_rate, total_tasks, confidence_score, average_duration_seconds,"
            f" average_cost_usd FROM platform_performance WHERE platform = ? AND {condition}",
            (platform, *bindings),
        )
        if told := [row for row in found if number(row["success_rate"]) is not None]:
            return _from_performance(told)
    return NOTHING_KNOWN


def _from_performance(told: list[Row]) -> Belief:
    weighed = [(_evidence(row), row) for row in told]
    total = sum(weight for weight, _ in weighed)
    if total <= 0:
        return NOTHING_KNOWN
    scale = min(1.0, _PRIOR_MAX / total)
    good = scale * sum(
        weight * min(1.0, max(0.0, number(row["success_rate"]) or 0.0)) for weight, row in weighed
    )
    return Belief(
        successes=1 + good,
        failures=1 + max(0.0, scale * total - good),
        weight=scale * total,
        duration_s=_weighed(weighed, "average_duration_seconds"),
        cost_usd=_weighed(weighed, "average_cost_usd"),
    )


def _evidence(row: Row) -> float:
    tasks = whole(row["total_tasks"]) or _TASKS_UNSAID
    confidence = number(row["confidence_score"])
    sure = _CONFIDENCE_UNSAID if confidence is None else min(1.0, max(0.0, confidence))
    return min(max(0, tasks), _PRIOR_MAX * _PRIOR_MAX) * sure


def _weighed(weighed: list[tuple[float, Row]], name: str) -> float | None:
    known = [
        (weight, value)
        for weight, row in weighed
        if weight > 0 and (value := number(row[name])) is not None and value >= 0
    ]
    total = sum(weight for weight, _ in known)
    return sum(weight * value for weight, value in known) / total if total > 0 else None


def keep(
    connection: Connection, platform: str, belief: Belief, *, domain: str, task_type: str
) -> None:
    """Write what is believed now."""
    connection.execute(
        "INSERT INTO routing_beliefs (platform, capability_domain, task_type, successes, failures,"
        " weight, duration_seconds, cost_usd, outcomes, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (platform, capability_domain, task_type) DO UPDATE SET"
        " successes = excluded.successes, failures = excluded.failures, weight = excluded.weight,"
        " duration_seconds = excluded.duration_seconds, cost_usd = excluded.cost_usd,"
        " outcomes = excluded.outcomes, updated_at = excluded.updated_at",
        (
            platform,
            domain,
            task_type,
            belief.successes,
            belief.failures,
            belief.weight,
            belief.duration_s,
            belief.cost_usd,
            belief.outcomes,
            iso_now(),
        ),
    )


def _in_flight(connection: Connection) -> dict[str, int]:
    now, long = dt.datetime.now(dt.UTC), dt.timedelta(seconds=IN_FLIGHT_S)
    # Up to as far ahead: where the clock was set back, a decision may have been made later than
    # now, and one made while it was far ahead is not to count until that time has come.
    found = rows(
        connection,
        "SELECT platform, count(*) AS open FROM routing_decisions"
        " WHERE reported_at IS NULL AND decided_at BETWEEN ? AND ? GROUP BY platform",
        tuple(
            at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            for at in (now - long, now + long)
        ),
    )
    return {row["platform"]: row["open"] for row in found}


def _unhealthy(connection: Connection, platform: str) -> str | None:
    """Return why no provider of a platform can be called; one without providers needs none."""
    found = rows(
        connection,
        "SELECT m.name, m.enabled, m.status FROM platform_providers AS p"
        " JOIN model_providers AS m ON m.name = p.provider WHERE p.platform = ? ORDER BY m.name",
        (platform,),
    )
    if not found or any(row["enabled"] and row["status"] != "unhealthy" for row in found):
        return None
    told = [f"{row['name']} is {row['status'] if row['enabled'] else 'disabled'}" for row in found]
    return f"of its providers, {' and '.join(told)}"
