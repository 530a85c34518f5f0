"""How the old words stand in SQL, and what a unified value is called in them."""

from __future__ import annotations

from collections.abc import Sequence

from devflow.migration.tables import (
    BLOCK_TYPES,
    LEGACY_PRIORITIES,
    LEGACY_STATUSES,
    PRIORITIES,
    STATUSES,
)
from devflow.migration.words import REMOVED, block_type, status_sql, word_sql
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


def status(word: str) -> str:
    """Return the unified status of an old one; an unknown word is a task still to be planned."""
    return word if word in STATUSES else LEGACY_STATUSES.get(word, "planning")


def priority(word: str) -> str:
    """Return the unified priority of an old one."""
    return word if word in PRIORITIES else LEGACY_PRIORITIES.get(word, "?-")


def unified_block_type(word: str) -> str:
    """Return the unified type of an old one, which the block keeps as its label."""
    return word if word in BLOCK_TYPES else "context"


def verbatim(columns: Sequence[str], column: str, unified: str) -> str:
    """Return SQL for an old column as the migration's inverse gives it back.

    `columns` are those of the old table in their order: bit n of the origin's residue tells that
    column n stands in the origin.
    """
    bit = 1 << list(columns).index(column)
    return f"CASE WHEN o.residue & {bit} THEN o.x_{column} ELSE {unified} END"


def amount(value: object) -> int | float | str | None:
    """Return a number as it is; what else an old row holds in its place, as text."""
    if isinstance(value, int | float):
        return value if number(value) is not None else None
    return text(value)


def texts(row: Row) -> Row:
    """Return a row of an old table whose columns are all text."""
    return {name: text(value) for name, value in row.items()}
