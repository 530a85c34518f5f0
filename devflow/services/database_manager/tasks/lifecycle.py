"""The states of a task, and which may follow which.

A task with open dependencies can become neither active nor completed. A dependency is open until
it is completed or archived: nobody is going to finish what was put away. That is asked when a
task moves; a dependency that is taken up again later stops nobody who has begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from devflow.services.errors import ConflictError

__all__ = ["CLOSED", "FREE", "MOVES", "check_dependencies", "check_move"]

MOVES: Mapping[str, tuple[str, ...]] = {
    "planning": ("active", "blocked", "archived"),
    "active": ("planning", "blocked", "completed", "archived"),
    "blocked": ("planning", "active", "archived"),
    "completed": ("active", "archived"),
    "archived": ("planning",),
}
"""The states that each state may be followed by. Who is archived is planned anew."""

FREE = ("active", "completed")
"""The states that only a task without open dependencies can enter."""

CLOSED = ("completed", "archived")
"""The states in which a task keeps no other waiting."""


def check_move(identifier: str, before: str | None, after: str) -> None:
    """Refuse a move that is not declared: ConflictError. A task without a state may make any."""
    allowed = MOVES.get(before or "", tuple(MOVES))
    if after not in allowed:
        raise ConflictError(
            f"task '{identifier}' is {before}, which {_any_of(allowed)} may follow, not {after}"
        )


def check_dependencies(identifier: str, after: str, still_open: Sequence[str]) -> None:
    """Refuse a move to a state that open dependencies forbid: ConflictError."""
    if after in FREE and still_open:
        waits = ", ".join(f"'{name}'" for name in still_open[:5])
        more = f" and {len(still_open) - 5} more" if len(still_open) > 5 else ""
        raise ConflictError(
            f"task '{identifier}' cannot become {after}: it depends on {waits}{more},"
            " to be completed or archived first"
        )


def _any_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
