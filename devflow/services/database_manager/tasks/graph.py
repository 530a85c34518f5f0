"""How tasks hang together: what is above and below one, and what waits for what.

Migrated tasks may be their own ancestors and depend on what is not there. Whatever is walked here
ends on such rows too; what is written never makes a circle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from devflow.services.database_manager.tasks.lifecycle import CLOSED
from devflow.services.errors import ConflictError
from devflow.services.store import Connection, one, rows
from devflow.services.values import parsed, text

__all__ = [
    "ancestors",
    "below",
    "check_dependencies",
    "check_parent",
    "dependants",
    "needed",
    "still_open",
]

_SOME = "(SELECT value FROM json_each(:ids))"
_DEPENDANTS = (
    "SELECT id FROM task_contexts WHERE depends_on IS NOT NULL AND CASE"
    " WHEN typeof(depends_on) = 'text' AND json_valid(depends_on) THEN EXISTS"
    " (SELECT 1 FROM json_each(depends_on) WHERE value = :id) END ORDER BY id"
)


def needed(stored: object) -> list[str]:
    """Return the identifiers that a stored `depends_on` names, if it is a list."""
    found = parsed(stored)
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def ancestors(connection: Connection, identifier: str) -> list[str]:
    """Return what a task is a part of, from the nearest up."""
    path: list[str] = []
    seen, current = {identifier}, _parent(connection, identifier)
    while current is not None and current not in seen:
        seen.add(current)
        path.append(current)
        current = _parent(connection, current)
    return path


def _parent(connection: Connection, identifier: str) -> str | None:
    row = one(
        connection,
        "SELECT p.id AS id FROM task_contexts AS t JOIN task_contexts AS p"
        " ON p.id = t.parent_task_id WHERE t.id = ?",
        (identifier,),
    )
    return None if row is None else text(row["id"])


def below(connection: Connection, identifier: str) -> list[tuple[str, int]]:
    """Return a task and everything below it with its depth, level by level, each level by id."""
    found, level, depth = {identifier: 0}, [identifier], 0
    while level:
        depth += 1
        children = rows(
            connection,
            f"SELECT id FROM task_contexts WHERE parent_task_id IN {_SOME} ORDER BY id",
            {"ids": json.dumps(level)},
        )
        level = [name for row in children if (name := str(text(row["id"]))) not in found]
        found |= dict.fromkeys(level, depth)
    return list(found.items())


def check_parent(connection: Connection, identifier: str, parent: str) -> None:
    """Refuse a parent that is not there, or that is a part of the task itself: ConflictError."""
    if one(connection, "SELECT 1 FROM task_contexts WHERE id = ?", (parent,)) is None:
        raise ConflictError(f"there is no task '{parent}' to be the parent")
    if identifier in (parent, *ancestors(connection, parent)):
        raise ConflictError(
            f"task '{parent}' is task '{identifier}' or a part of it, and cannot be its parent"
        )


def check_dependencies(connection: Connection, identifier: str, names: Sequence[str]) -> None:
    """Refuse dependencies that are not there, or that wait for the task itself: ConflictError."""
    known = _states(connection, names)
    for name in names:
        if name == identifier:
            raise ConflictError(f"task '{identifier}' cannot depend on itself")
        if name not in known:
            raise ConflictError(f"there is no task '{name}' to depend on")
    if identifier in _reached(names, lambda level: _next_needed(connection, level)):
        raise ConflictError(
            f"task '{identifier}' cannot depend on what waits for it;"
            f" see /v2/tasks/{{id}}/dependencies of {', '.join(names[:5])}"
        )


def _reached(start: Iterable[str], following: Callable[[list[str]], list[str]]) -> set[str]:
    seen: set[str] = set()
    level = list(dict.fromkeys(start))
    while level:
        seen.update(level)
        level = list(dict.fromkeys(name for name in following(level) if name not in seen))
    return seen


def _next_needed(connection: Connection, level: list[str]) -> list[str]:
    found = rows(
        connection,
        f"SELECT depends_on FROM task_contexts WHERE id IN {_SOME} AND depends_on IS NOT NULL",
        {"ids": json.dumps(level)},
    )
    return [name for row in found for name in needed(row["depends_on"])]


def _states(connection: Connection, names: Sequence[str]) -> dict[str, str | None]:
    found = rows(
        connection,
        f"SELECT id, status FROM task_contexts WHERE id IN {_SOME}",
        {"ids": json.dumps(list(names))},
    )
    return {str(text(row["id"])): text(row["status"]) for row in found}


def still_open(connection: Connection, names: Sequence[str]) -> list[str]:
    """Return those of the named tasks that keep others waiting."""
    states = _states(connection, names)
    return [name for name in names if name in states and states[name] not in CLOSED]


def dependants(connection: Connection, identifier: str) -> list[str]:
    """Return the tasks that depend on this one."""
    return [str(text(row["id"])) for row in rows(connection, _DEPENDANTS, {"id": identifier})]
