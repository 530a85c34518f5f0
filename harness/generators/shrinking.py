"""Makes a plan that breaks something small: a search of our own, counted in tries.

Hypothesis shrinks the choices that made a plan, and tries each alternative of each strategy
before it takes a row away; at a migration a try it gets nowhere. A plan is plain data, so its
parts are taken away here, the large ones first, and what values are left are made plain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from harness.generators.plan import DatabasePlan, Row, TreePlan, Value
from harness.generators.tables import PLANNED, plain_values

__all__ = ["shrink"]

Breaks = Callable[[TreePlan], bool]

_P = TypeVar("_P")
_WHOLE: Final = ("wal", "state")
_LISTS: Final = ("before", "rows", "after")


@dataclass(frozen=True, slots=True)
class _Part:
    """What can be taken out of a plan by itself.

    `kind` is a field of TreePlan or DatabasePlan, `number` the place in it, `group` what it is
    tried together with: a table's name.
    """

    database: str
    kind: str
    number: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class _Cell:
    """A value that is not the plain one of its column."""

    database: str
    row: int
    column: str
    plain: Value


@dataclass(slots=True)
class _Budget:
    """Counts tries; what was tried already costs nothing, and beyond the last nothing breaks."""

    breaks: Breaks
    left: int
    known: dict[str, bool] = field(default_factory=dict)

    def __call__(self, plan: TreePlan) -> bool:
        said = repr(plan)
        if said not in self.known:
            if self.left <= 0:
                return False
            self.left -= 1
            self.known[said] = self.breaks(plan)
        return self.known[said]


def shrink(plan: TreePlan, breaks: Breaks, *, tries_max: int) -> TreePlan:
    """Return the smallest plan found in `tries_max` tries for which `breaks` still says true.

    `breaks(plan)` must be true of the plan given. Neither time nor chance decides: the same plan
    shrinks to the same. Source: delta debugging, Zeller and Hildebrandt, 2002.
    """
    budget = _Budget(breaks, tries_max, {repr(plan): True})
    before = None
    while plan != before and budget.left:
        before = plan
        plan = _fewer_parts(plan, budget)
        plan = _plainer_values(plan, budget)
    return plan


def _fewer_parts(plan: TreePlan, breaks: Breaks) -> TreePlan:
    whole = plan

    def only(kept: Sequence[_Part]) -> TreePlan:
        return _only(whole, frozenset(kept))

    parts = list(_parts(plan))
    for group in (_by_database, _by_table):
        parts = _without_groups(parts, group, lambda kept: breaks(only(kept)))
    return only(_fewest(parts, lambda kept: breaks(only(kept))))


def _plainer_values(plan: TreePlan, breaks: Breaks) -> TreePlan:
    """Make plain every value that the failure does not need; few rows are left by now."""
    cells = list(_cells(plan))
    every = frozenset(cells)

    def with_odd(kept: Sequence[_Cell]) -> TreePlan:
        return _plain(plan, every - set(kept))

    return with_odd(_fewest(cells, lambda kept: breaks(with_odd(kept))))


def _without_groups(
    items: list[_P], group: Callable[[_P], object], breaks: Callable[[list[_P]], bool]
) -> list[_P]:
    """Take away each group of the items that is not needed, the last ones first."""
    for name in reversed(dict.fromkeys(group(item) for item in items)):
        kept = [item for item in items if group(item) != name]
        if breaks(kept):
            items = kept
    return items


def _fewest(items: list[_P], breaks: Callable[[list[_P]], bool]) -> list[_P]:
    """Take away runs of items, each half as long as the ones before, until every single counts.

    From the end, for what is made of a thing (rows, an index) stands behind it.
    """
    size = len(items)
    while size:
        end = len(items)
        while end > 0:
            kept = items[: max(end - size, 0)] + items[end:]
            if breaks(kept):
                items = kept
            end -= size
        size //= 2
    return items


def _by_database(part: _Part) -> object:
    return part.database or part.kind


def _by_table(part: _Part) -> object:
    return part.database, part.kind, part.group


def _parts(plan: TreePlan) -> Iterator[_Part]:
    for name, database in plan.databases().items():
        yield from (
            _Part(name, kind)
            for kind in _WHOLE
            if getattr(database, kind) != getattr(DatabasePlan(), kind)
        )
        for kind in _LISTS:
            for number, made in enumerate(getattr(database, kind)):
                yield _Part(name, kind, number, made.table if isinstance(made, Row) else "")
    if plan.configured:
        yield _Part("", "configured")
    if plan.log is not None:
        yield _Part("", "log")
        yield from (_Part("", "line", n) for n in range(len(plan.log.splitlines(keepends=True))))


def _only(plan: TreePlan, kept: frozenset[_Part]) -> TreePlan:
    """Return the plan with only those of its parts that are kept."""
    databases: dict[str, Any] = {
        name: _only_of_database(database, name, kept) for name, database in plan.databases().items()
    }
    log = plan.log if _Part("", "log") in kept else None
    if log is not None:
        lines = log.splitlines(keepends=True)
        log = b"".join(line for n, line in enumerate(lines) if _Part("", "line", n) in kept)
    configured = plan.configured and _Part("", "configured") in kept
    return replace(plan, **databases, log=log, configured=configured)


def _only_of_database(database: DatabasePlan, name: str, kept: frozenset[_Part]) -> DatabasePlan:
    def of(kind: str, group: Callable[[_P], str], made: Iterable[_P]) -> tuple[_P, ...]:
        return tuple(one for n, one in enumerate(made) if _Part(name, kind, n, group(one)) in kept)

    return DatabasePlan(
        state=database.state if _Part(name, "state") in kept else "sqlite",
        before=of("before", lambda _: "", database.before),
        rows=of("rows", lambda row: row.table, database.rows),
        after=of("after", lambda _: "", database.after),
        wal=database.wal and _Part(name, "wal") in kept,
    )


def _cells(plan: TreePlan) -> Iterator[_Cell]:
    for name, database in plan.databases().items():
        for number, row in enumerate(database.rows):
            if row.table not in PLANNED[name]:
                continue
            plain = plain_values(name, row.table)
            for column, value in row.values.items():
                # By its spelling: 1, 1.0 and -0.0 are equal, and not the same to SQLite.
                if column in plain and repr(value) != repr(plain[column]):
                    yield _Cell(name, number, column, plain[column])


def _plain(plan: TreePlan, cells: frozenset[_Cell]) -> TreePlan:
    """Return the plan with the plain value in each of `cells`."""
    changes: dict[tuple[str, int], dict[str, Value]] = {}
    for cell in cells:
        changes.setdefault((cell.database, cell.row), {})[cell.column] = cell.plain
    databases: dict[str, Any] = {
        name: replace(
            database,
            rows=tuple(
                Row(row.table, {**row.values, **changes.get((name, number), {})})
                for number, row in enumerate(database.rows)
            ),
        )
        for name, database in plan.databases().items()
    }
    return replace(plan, **databases)
