"""How a provider's status follows its checks, and which provider is active. No I/O.

Hysteresis: one bad answer is no outage and one good answer no recovery. A provider becomes
unhealthy after 3 failures in a row, and healthy again after 2 successes in a row; of one that was
never checked, the first check decides. The active provider is the first healthy one by position:
it is left when it becomes unhealthy, and a better placed one is gone back to once that is healthy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["DOWN_AFTER", "UP_AFTER", "Candidate", "Standing", "Status", "after_check", "chosen"]

DOWN_AFTER = 3
"""Failures in a row that make a healthy provider unhealthy."""
UP_AFTER = 2
"""Successes in a row that make an unhealthy provider healthy."""

Status = Literal["healthy", "unhealthy", "unknown"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the checks of one provider came to; one of the two streaks is 0."""

    status: Status = "unknown"
    failures: int = 0
    successes: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider that may be active, in the order of preference."""

    name: str
    status: Status


def after_check(standing: Standing, *, healthy: bool) -> Standing:
    """Return the standing after one more check."""
    if healthy:
        now = Standing(standing.status, 0, standing.successes + 1)
        turns = standing.status == "unknown" or now.successes >= UP_AFTER
        return replace(now, status="healthy") if turns else now
    now = Standing(standing.status, standing.failures + 1, 0)
    turns = standing.status == "unknown" or now.failures >= DOWN_AFTER
    return replace(now, status="unhealthy") if turns else now


def chosen(candidates: Iterable[Candidate], active: str | None) -> tuple[str | None, str]:
    """Return which provider is to be active, and why; `active` is the one that is now.

    `candidates` are those that may be called, best first. None: no provider is healthy.
    """
    ordered = list(candidates)
    status = {candidate.name: candidate.status for candidate in ordered}
    best = next((c.name for c in ordered if c.status == "healthy"), None)
    if active not in status:
        why = "none was active" if active is None else f"{active} is not to be called any more"
        return best, why
    if best is None:
        kept = active if status[active] == "unknown" else None
        return kept, f"{active} is {status[active]}, and no other is healthy"
    names = [candidate.name for candidate in ordered]
    if status[active] == "unhealthy":
        return best, f"{active} was unhealthy"
    if names.index(best) < names.index(active):
        return best, f"{best} is healthy again and comes before {active}"
    return active, f"{active} is {status[active]}"
