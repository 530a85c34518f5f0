"""The words of the old Database Manager in SQL: what they mean, and what a state is called in them.

Beside a unified task `u` stands its origin `o` in the old database, all NULL where it has none.
"""

from __future__ import annotations

from collections.abc import Callable

from devflow.migration.tables import (
    BLOCK_TYPES,
    LEGACY_PRIORITIES,
    LEGACY_STATUSES,
    PRIORITIES,
    STATUSES,
)
from devflow.migration.targets import listed

__all__ = ["REMOVED", "block_type", "priority_sql", "status_sql", "word_sql"]

REMOVED = '{"removed": true}'
"""`task_contexts.legacy_values` of a task that an old client deleted, and others still need."""

_STATUS_BACK = {"planning": "pending", "active": "in_progress", "archived": "cancelled"}
_PRIORITY_BACK = {"h-": "high", "m-": "medium", "l-": "low", "?-": "unknown"}


def status_sql(value: str) -> str:
    """Return SQL for the unified status of the old one that the SQL `value` yields."""
    return listed(value, STATUSES, "'planning'", **LEGACY_STATUSES)


def priority_sql(value: str) -> str:
    """Return SQL for the unified priority of the old one that the SQL `value` yields."""
    return listed(value, PRIORITIES, "'?-'", **LEGACY_PRIORITIES)


def block_type(value: str) -> str:
    """Return SQL for the unified block type of the old one that the SQL `value` yields."""
    return listed(value, BLOCK_TYPES, "'context'")


def word_sql(name: str, bit: int) -> str:
    """Return SQL for the status or priority that an old client sees.

    That is the word that a client wrote, or that was migrated, for as long as its meaning is the
    task's state; else the state's own name in the old words. Two tasks that the migration found
    to be one may have differed: each side sees its own state until somebody writes to the task.
    """
    meaning: Callable[[str], str] = {"status": status_sql, "priority": priority_sql}[name]
    back = {"status": _STATUS_BACK, "priority": _PRIORITY_BACK}[name]
    written = f"u.legacy_values ->> '$.{name}'"
    untouched = "u.legacy_values IS NULL AND o.rule = 'merged'"
    cases = " ".join(f"WHEN '{unified}' THEN '{word}'" for unified, word in back.items())
    return (
        f"CASE WHEN {written} IS NOT NULL AND ({meaning(written)}) IS u.{name} THEN {written}"
        f" WHEN o.residue & {bit} AND ({untouched} OR ({meaning(f'o.x_{name}')}) IS u.{name})"
        f" THEN o.x_{name}"
        f" WHEN o.seq IS NOT NULL AND NOT o.residue & {bit} AND {written} IS NULL THEN u.{name}"
        f" ELSE CASE u.{name} {cases} ELSE u.{name} END END"
    )
