"""Whether one thing that two sources hold came over as one row.

Two source rows are one thing where their tables become rows of one unified table, they have the
same key, and every column that both tables have holds the same value. Which of three it is that
bear one key cannot be told by the key; of these none is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Any, Final

import apsw

from harness.checkers.evidence import Evidence
from harness.checkers.values import encode, read_rows
from harness.database import Table, quote
from harness.mapping import TableMapping
from harness.model import Finding

__all__ = ["judge_doubled"]

_ROWS_MAX: Final = 100_000  # of a table; bounds the memory


@dataclass(frozen=True, slots=True)
class _Source:
    """A source table, what the mapping says of it, and a connection to its database."""

    mapped: TableMapping
    table: Table
    connection: apsw.Connection

    def bearers(self) -> Iterator[tuple[bytes, int]]:
        """Yield key and rowid of each row that has a text for its key."""
        key = quote(self.table.primary_key[0])
        yield from self.connection.execute(
            f"SELECT CAST({key} AS BLOB), rowid FROM {quote(self.table.name)}"
            f" WHERE typeof({key}) = 'text' LIMIT {_ROWS_MAX}"
        )

    def values(self, row: int, columns: list[str]) -> bytes:
        """Return the typed values of some columns of one row."""
        expressions = [quote(name) for name in columns]
        source = f"{quote(self.table.name)} WHERE rowid = {row}"
        return b"".join(encode(found) for found in read_rows(self.connection, expressions, source))


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two rows that are one thing."""

    first: _Source
    first_row: int
    second: _Source
    second_row: int


def judge_doubled(evidence: Evidence, unified: apsw.Connection) -> tuple[tuple[Finding, ...], int]:
    """Return a finding for each thing that came over twice, and how many were looked at."""
    findings: list[Finding] = []
    looked = 0
    with ExitStack() as stack:
        for target, sources in _by_target(evidence, stack).items():
            for pair in _pairs(sources):
                looked += 1
                with suppress(apsw.SQLError):  # an inverse that fails is told by the rows checker
                    findings += _judge(evidence, unified, target, pair)
    return tuple(findings), looked


def _by_target(evidence: Evidence, stack: ExitStack) -> dict[str, list[_Source]]:
    """Return the source tables by the unified table that their rows became rows of.

    A row that was split became the first of its targets; the others are parts of it.
    """
    connections: dict[str, apsw.Connection] = {}
    found: dict[str, list[_Source]] = {}
    for (source, name), mapped in evidence.mapping.tables.items():
        if not mapped.targets or evidence.before.state(source) != "sqlite":
            continue
        for table in evidence.before.tables(source):
            if table.name.lower() == name.lower() and _has_one_key(table):
                if source not in connections:
                    connection = closing(evidence.before.open(source))
                    connections[source] = stack.enter_context(connection)
                target = next(iter(mapped.targets))
                made = _Source(mapped, table, connections[source])
                found.setdefault(target, []).append(made)
    return found


def _has_one_key(table: Table) -> bool:
    names = {column.name.lower() for column in table.columns}
    return len(table.primary_key) == 1 and not table.without_rowid and "rowid" not in names


def _pairs(sources: list[_Source]) -> Iterator[_Pair]:
    if len(sources) < 2:
        return
    bearers: dict[bytes, list[tuple[_Source, int]]] = {}
    for source in sources:
        for key, row in source.bearers():
            bearers.setdefault(key, []).append((source, row))
    for found in bearers.values():
        if len(found) != 2:
            continue
        (first, first_row), (second, second_row) = found
        if first is second or _key(first) != _key(second):
            continue
        theirs = {column.name.lower() for column in second.table.columns}
        shared = [c.name for c in first.table.columns if c.name.lower() in theirs]
        if len(shared) > 1 and first.values(first_row, shared) == second.values(second_row, shared):
            yield _Pair(first, first_row, second, second_row)


def _key(source: _Source) -> str:
    return source.table.primary_key[0].lower()


def _judge(
    evidence: Evidence, unified: apsw.Connection, target: str, pair: _Pair
) -> Iterator[Finding]:
    first = _became(unified, pair.first.mapped, target, pair.first_row)
    second = _became(unified, pair.second.mapped, target, pair.second_row)
    if first is None or second is None or first == second:
        return
    for key, mapped in ((first, pair.first.mapped), (second, pair.second.mapped)):
        if _became_of_others(evidence, unified, target, key, mapped):
            return  # it is one with a third row, that says so in another way
    yield Finding(
        rule="ledger/thing-doubled",
        cause=f"it is the same thing as row {pair.first_row} of {pair.first.mapped.name}, and came"
        f" over once more, as row {second} of {target} beside row {first}",
        database=pair.second.mapped.source,
        table=pair.second.table.name,
        key=f"rowid:{pair.second_row}",
    )


def _became(unified: apsw.Connection, mapped: TableMapping, target: str, row: int) -> Any:
    return unified.execute(
        f"SELECT {mapped.targets[target]} FROM {mapped.from_} WHERE {mapped.key} = ?", (row,)
    ).get


def _became_of_others(
    evidence: Evidence, unified: apsw.Connection, target: str, key: Any, mapped: TableMapping
) -> bool:
    """Say whether a row of any other source table became the unified row `key`."""
    for other in evidence.mapping.tables.values():
        if other is mapped or target not in other.targets:
            continue
        with suppress(apsw.SQLError):  # an inverse that fails is told by the rows checker
            sql = f"SELECT 1 FROM {other.from_} WHERE {other.targets[target]} = ? LIMIT 1"
            if unified.execute(sql, (key,)).get is not None:
                return True
    return False
