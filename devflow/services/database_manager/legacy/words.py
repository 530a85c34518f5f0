"""How the old words stand in SQL, and what a unified value is called in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devflow.migration.tables import (
    BLOCK_TYPES,
    LEGACY_PRIORITIES,
    LEGACY_STATUSES,
    PRIORITIES,
    STATUSES,
)
from devflow.migration.targets import listed
from devflow.services.store import Row
from devflow.services.values import number, text

__all__ = [
    "REMOVED",
    "amount",
    "block_type",
    "priority",
    "status",
    "status_sql",
    "unified_block_type",
    "verbatim",
    "word_sql",
]

REMOVED = '{"removed": true}'
"""`task_contexts.legacy_values` of a task that an old client deleted, and others still need."""

_STATUS_BACK = {"planning": "pending", "active": "in_progress", "archived": "cancelled"}
_PRIORITY_BACK = {"h-": "high", "m-": "medium", "l-": "low", "?-": "unknown"}


def status(word: str) -> str:
    """Return the unified status of an old one; an unknown word is a task still to be planned."""
    return word if word in STATUSES else LEGACY_STATUSES.get(word, "planning")


def priority(word: str) -> str:
    """Return the unified priority of an old one."""
    return word if word in PRIORITIES else LEGACY_PRIORITIES.get(word, "?-")


def unified_block_type(word: str) -> str:
    """Return the unified type of an old one, which the block keeps as its label."""
    return word if word in BLOCK_TYPES else "context"


def status_sql(value: str) -> str:
    """Return SQL for the unified status of the old one that the SQL `value` yields."""
    return listed(value, STATUSES, "'planning'", **LEGACY_STATUSES)


def priority_sql(value: str) -> str:
    """Return SQL for the unified priority of the old one that the SQL `value` yields."""
    return listed(value, PRIORITIES, "'?-'", **LEGACY_PRIORITIES)


def block_type(value: str) -> str:
    """Return SQL for the unified block type of the old one that the SQL `value` yields."""
    return listed(value, BLOCK_TYPES, "'context'")


def verbatim(columns: Sequence[str], column: str, unified: str) -> str:
    """Return SQL for an old column as the migration's inverse gives it back.

    `columns` are those of the old table in their order: bit n of the origin's residue tells that
    column n stands in the origin.
    """
    bit = 1 << list(columns).index(column)
    return f"CASE WHEN o.residue & {bit} THEN o.x_{column} ELSE {unified} END"


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


def amount(value: object) -> int | float | str | None:
    """Return a number as it is; what else an old row holds in its place, as text."""
    if isinstance(value, int | float):
        return value if number(value) is not None else None
    return text(value)


def texts(row: Row) -> Row:
    """Return a row of an old table whose columns are all text."""
    return {name: text(value) for name, value in row.items()}
