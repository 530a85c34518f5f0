"""Values that stand a second time in the unified database, where services read them.

The rows checker proves that a source's value can be given back from one place. Here that place is
compared with the other: a value that is right where the inverse reads it helps nobody who reads
it elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from harness.checkers.values import Row, read_rows, render
from harness.mapping import TableMapping
from harness.model import Finding

__all__ = ["shown_otherwise"]

_LISTED_MAX = 25


def shown_otherwise(unified: apsw.Connection, mapped: TableMapping) -> Iterator[Finding]:
    """Yield a finding for each value that is not the same in both places. Raises apsw.Error."""
    for column, shown in mapped.shown.items():
        for place, (key, kept, other) in enumerate(_differing(unified, mapped, column, shown)):
            if place == _LISTED_MAX:
                cause = f"more values than {_LISTED_MAX} are read otherwise, and are not listed"
                yield Finding(
                    rule="rows/not-listed",
                    cause=cause,
                    database=mapped.source,
                    table=mapped.table,
                    column=column,
                )
                break
            yield Finding(
                rule="rows/shown-otherwise",
                cause=f"services read another value than was migrated, by {shown}",
                database=mapped.source,
                table=mapped.table,
                column=column,
                key=f"rowid {render(key)}",
                expected=render(kept),
                actual=render(other),
            )


def _differing(
    unified: apsw.Connection, mapped: TableMapping, column: str, shown: str
) -> Iterator[Row]:
    """Yield key, the value that is given back, and the other one, where these are not the same."""
    both = f"SELECT {mapped.key} AS k, {mapped.columns[column]} AS a, {shown} AS b"
    return read_rows(
        unified,
        ("k", "a", "b"),
        f"({both} FROM {mapped.from_})"
        " WHERE typeof(a) IS NOT typeof(b) OR a IS NOT b COLLATE BINARY ORDER BY k",
    )
