"""From the differing rows of one table to findings, each with its place and its cause in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apsw

from harness.checkers.causes import cause_of, changed_columns
from harness.checkers.compare import Comparison
from harness.checkers.pairing import Difference
from harness.checkers.values import Row, encode, render
from harness.database import quote
from harness.model import Finding

__all__ = ["FINDINGS_MAX", "Place", "explain", "key_text"]

FINDINGS_MAX = 25
"""How many findings of one table are listed; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The source table that two sides were compared for; `key` are positions in `columns`."""

    source: str
    table: str
    columns: tuple[str, ...]
    key: tuple[int, ...]

    def key_of(self, row: Row) -> str:
        """Return a row's key as a person reads it; without a key, the whole row's beginning."""
        return key_text(row, self.key) if self.key else key_text(row, range(len(row)))[:200]


def key_text(row: Row, key: tuple[int, ...] | range) -> str:
    """Return the key's values, comma-separated; NULL where one is NULL."""
    return ", ".join(render(row[n]) for n in key)


def explain(
    place: Place, comparison: Comparison, source: apsw.Connection | None = None
) -> list[Finding]:
    """Return at most `FINDINGS_MAX` findings, and one more that counts the rows not listed.

    With a connection to the `source`, a lost row is told as one of several where it was one.
    """
    findings: list[Finding] = []
    explained = 0
    for difference in comparison.differences:
        if len(findings) >= FINDINGS_MAX:
            break
        findings += _findings_of(place, difference, comparison.differences, source)
        explained += 1
    del findings[FINDINGS_MAX:]
    if unlisted := comparison.differing - explained:
        findings.append(
            Finding(
                rule="rows/not-listed",
                cause=f"{unlisted} more rows of this table differ and are not listed: in all"
                f" {comparison.missing} are missing, {comparison.invented} invented,"
                f" {comparison.changed} changed",
                database=place.source,
                table=place.table,
            )
        )
    return findings


def _findings_of(
    place: Place,
    difference: Difference,
    others: list[Difference],
    source: apsw.Connection | None,
) -> Iterator[Finding]:
    expected, actual = difference.expected, difference.actual
    if expected is None or actual is None:
        row = expected or actual or ()
        lost = actual is None
        yield Finding(
            rule="rows/row-missing" if lost else "rows/row-invented",
            cause=_missing_cause(place, row, source)
            if lost
            else "the unified database gives back a row that the source never had",
            database=place.source,
            table=place.table,
            key=place.key_of(row),
            expected=_row_text(row) if lost else None,
            actual=None if lost else _row_text(row),
        )
        return
    for n in changed_columns(expected, actual, place.columns):
        same_type = type(expected[n]) is type(actual[n])
        yield Finding(
            rule="rows/value-changed" if same_type else "rows/type-changed",
            cause=_swap_cause(place, difference, others, n) or cause_of(expected[n], actual[n]),
            database=place.source,
            table=place.table,
            key=place.key_of(expected),
            column=place.columns[n],
            expected=render(expected[n]),
            actual=render(actual[n]),
        )


def _missing_cause(place: Place, row: Row, source: apsw.Connection | None) -> str:
    cause = "the row cannot be given back from the unified database"
    if any(row[n] is None for n in place.key):
        cause = "a row whose key is NULL cannot be given back"
    if source is None:
        return cause
    for n, column in enumerate(place.columns):
        value = row[n]
        refers = column.lower().endswith("_id") and n not in place.key
        if not refers or not isinstance(value, str) or not value.isprintable():
            continue
        sql = f"SELECT count(*) FROM {quote(place.table)} AS t WHERE t.{quote(column)} = ?"
        siblings = int(str(source.execute(sql, (value,)).fetchall()[0][0]))
        if siblings > 1:
            return f"{cause}: it is one of {siblings} rows of {column} {render(value)}"
    return cause


def _row_text(row: Row) -> str:
    text = ", ".join(render(value) for value in row)
    return text if len(text) <= 400 else text[:400] + "…"


def _swap_cause(place: Place, this: Difference, others: list[Difference], n: int) -> str | None:
    """Recognise two rows that hold each other's value in one column."""
    if this.expected is None or this.actual is None or this.actual[n] is None:
        return None
    was, now = encode((this.expected[n],)), encode((this.actual[n],))
    for other in others:
        if other is this or other.expected is None or other.actual is None:
            continue
        if encode((other.expected[n],)) == now and encode((other.actual[n],)) == was:
            return f"swapped with the value of row {place.key_of(other.expected)}"
    return None
