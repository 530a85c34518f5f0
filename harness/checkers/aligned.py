"""Large tables whose rows line up: SQLite compares each row with the one that the mapping names.

Where both sides number their rows, a row that equals its namesake in every typed value needs no
further look: taking equal pairs out of two multisets leaves their difference as it was. Only what
is left over is fetched, so that a million equal rows cost one pass inside SQLite. Whatever does not
fit (no such number, a number twice, too much left over, a plan that would scan for each row) is
declined, and the digests decide.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from harness.checkers.digests import Side, count_rows
from harness.checkers.values import Row, read_rows
from harness.database import attach

__all__ = ["LEFT_OVER_MAX", "Aligned", "aligned", "left_over", "split"]

LEFT_OVER_MAX = 500
_OWN_PERCENT = 42  # whoever started the worker counts and fetches, too
Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """The rows that do not equal their namesake, by side, and how many rows each side has."""

    left_rows: int
    right_rows: int
    left: list[Row]
    right: list[Row]


@contextmanager
def _meeting(left: Side, right: Side) -> Iterator[tuple[apsw.Connection, str]]:
    """Open the right side with the left attached under a name that no mapping can know."""
    with closing(right.connect()) as connection:
        name = f"gate_{secrets.token_hex(8)}"
        attach(connection, Path(left.path), name, at_rest=True)
        yield connection, f"{name}.{left.source}"


def split(connection: apsw.Connection, left: Side) -> tuple[Span, Span]:
    """Return two spans of row numbers: the one that goes to a worker is the larger one."""
    # Two queries, for SQLite finds one end of a table at once, but scans for both together.
    ends = [
        connection.execute(f"SELECT {end}({left.row}) FROM {left.source}").fetchall()[0][0]
        for end in ("min", "max")
    ]
    low, high = (int(str(number or 0)) for number in ends)
    middle = low + (high - low) * _OWN_PERCENT // 100
    return (low, middle), (middle + 1, high)


def left_over(left: Side, right: Side, span: Span) -> list[int] | None:
    """Return the numbers of the left rows in `span` without an equal namesake on the right.

    None where the plan is no good, or where there are more than `LEFT_OVER_MAX`. Raises apsw.Error.
    """
    both = zip(left.expressions, right.expressions, strict=True)
    same = " AND ".join(_same(a, b, textual=n in left.textual) for n, (a, b) in enumerate(both))
    with _meeting(left, right) as (connection, source):
        sql = (
            f"SELECT {left.row} FROM {source} WHERE {left.row} BETWEEN ? AND ? AND NOT EXISTS"
            f" (SELECT 1 FROM {right.source} WHERE ({right.row}) = {left.row} AND {same})"
            f" LIMIT {LEFT_OVER_MAX + 1}"
        )
        plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", span)]
        if any(step.startswith(("SCAN", "MATERIALIZE")) or "AUTOMATIC" in step for step in plan):
            return None
        numbers = [int(str(row[0])) for row in connection.execute(sql, span)]
    return numbers if len(numbers) <= LEFT_OVER_MAX else None


def _same(a: str, b: str, *, textual: bool) -> str:
    """Return SQL that is true where two values are equal in class and content, -0.0 included.

    The plus signs take the columns' affinities away, which would turn '1' into 1 to compare it.
    Without them only an integer and a real can be equal and of two classes, so that asking for
    the class, which takes longer than all the rest, is left out where `a` is never a number.
    """
    equal = f"+{a} IS +({b}) COLLATE BINARY"
    if textual:
        return f"({equal})"
    return (
        f"({equal} AND CASE typeof({a}) WHEN 'text' THEN 1"
        f" WHEN 'real' THEN typeof({b}) = 'real'"
        f" AND ({a} <> 0.0 OR atan2({a}, -1.0) = atan2({b}, -1.0))"
        f" ELSE typeof({a}) = typeof({b}) END)"
    )


def aligned(
    connections: tuple[apsw.Connection, apsw.Connection],
    left: Side,
    right: Side,
    *,
    left_rows: int,
    over: list[int],
) -> Aligned | None:
    """Return what is not equal, given the left rows that are `over`; None to decline.

    Every other left row has an equal right row of its number. They are matched one to one exactly
    if as many right rows remain, once those numbered in `over` or like no left row are taken out.
    """
    ours, theirs = connections
    right_rows = count_rows(theirs, right)
    numbered = "IN (SELECT value FROM json_each(?))"
    given = (json.dumps(over),)
    left_only = list(
        read_rows(ours, left.expressions, f"{left.source} WHERE {left.row} {numbered}", given)
    )
    right_only = list(
        read_rows(
            theirs, right.expressions, f"{right.source} WHERE ({right.row}) {numbered}", given
        )
    )
    if right_rows - len(right_only) != left_rows - len(left_only):
        with _meeting(left, right) as (connection, source):
            strange = (
                f"{right.source} WHERE NOT EXISTS (SELECT 1 FROM {source}"
                f" WHERE {left.row} = ({right.row})) LIMIT {LEFT_OVER_MAX + 1}"
            )
            right_only += read_rows(connection, right.expressions, strange)
    if right_rows - len(right_only) != left_rows - len(left_only):
        return None
    return Aligned(left_rows=left_rows, right_rows=right_rows, left=left_only, right=right_only)
