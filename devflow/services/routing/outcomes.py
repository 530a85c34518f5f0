"""What came of decisions: kept, believed and added to performance, once and in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devflow.services.errors import ConflictError
from devflow.services.performance import Happened, feed
from devflow.services.routing.beliefs import belief_of, keep
from devflow.services.routing.choosing import Outcome, learned
from devflow.services.routing.deciding import found
from devflow.services.store import Connection, Row, one
from devflow.services.values import iso_now

__all__ = ["report"]

_TOLD = ("success", "duration_seconds", "cost_usd", "tokens", "satisfaction")


def report(connection: Connection, identifier: str, told: Mapping[str, Any]) -> tuple[bool, Row]:
    """Learn the outcome of a decision; return whether it is new, and the decision's row.

    The same outcome again changes nothing; another one is a ConflictError.
    """
    decision = found(connection, identifier)
    if decision["reported_at"] is not None:
        if any(told[name] != decision[name] for name in _TOLD):
            raise ConflictError(f"decision {identifier!r} has another outcome already")
        return False, decision
    at = iso_now()
    row = one(
        connection,
        f"UPDATE routing_decisions SET {', '.join(f'{name} = :{name}' for name in _TOLD)},"
        " reported_at = :at WHERE id = :id RETURNING *",
        {**{name: told[name] for name in _TOLD}, "at": at, "id": identifier},
    )
    assert row is not None  # noqa: S101 - it was just found
    platform = row["platform"]
    domain, task_type = row["capability_domain"], row["task_type"]
    belief = belief_of(connection, platform, domain=domain, task_type=task_type)
    outcome = Outcome(
        success=bool(told["success"]),
        duration_s=told["duration_seconds"],
        cost_usd=told["cost_usd"],
    )
    keep(connection, platform, learned(belief, outcome), domain=domain, task_type=task_type)
    feed(
        connection,
        platform=platform,
        domain=domain,
        task_type=task_type,
        day=at[:10],
        what=Happened(
            success=bool(told["success"]),
            duration_s=told["duration_seconds"],
            tokens=told["tokens"],
            cost_usd=told["cost_usd"],
            satisfaction=told["satisfaction"],
        ),
    )
    return True, row
