"""The platforms as they stand, and which model providers each works with."""

from __future__ import annotations

from collections.abc import Sequence

from devflow.services.errors import MissingError
from devflow.services.routing.beliefs import candidates, platforms
from devflow.services.store import Connection, Row, one, rows

__all__ = ["listed", "set_providers"]


def listed(connection: Connection) -> list[Row]:
    """Return every platform that is known of."""
    return [_shown(connection, name) for name in platforms(connection)]


def set_providers(connection: Connection, platform: str, providers: Sequence[str]) -> Row:
    """Set which providers a platform works with; MissingError for one that is not known."""
    for name in providers:
        if not one(connection, "SELECT 1 FROM model_providers WHERE name = ?", (name,)):
            raise MissingError(f"there is no provider {name!r}")
    connection.execute("DELETE FROM platform_providers WHERE platform = ?", (platform,))
    connection.executemany(
        "INSERT INTO platform_providers (platform, provider) VALUES (?, ?)",
        [(platform, name) for name in dict.fromkeys(providers)],
    )
    return _shown(connection, platform)


def _shown(connection: Connection, platform: str) -> Row:
    # What is believed does not matter here, only whether it may be chosen.
    (candidate,) = candidates(connection, among=[platform], domain="", task_type="")
    sums = one(
        connection,
        "SELECT count(*) AS decisions, count(reported_at) AS outcomes,"
        " ifnull(sum(success), 0) AS successes FROM routing_decisions WHERE platform = ?",
        (platform,),
    )
    named = rows(
        connection,
        "SELECT provider FROM platform_providers WHERE platform = ? ORDER BY provider",
        (platform,),
    )
    return {
        "platform": platform,
        "available": candidate.left_out is None,
        "why_not": candidate.left_out,
        "providers": [row["provider"] for row in named],
        "in_flight": candidate.in_flight,
        **(sums or {}),
    }
