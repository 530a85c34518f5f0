"""Whether the unified foreign keys lead to what the sources' rows led to.

A reference that dangles is seen by SQLite. One that leads to the wrong row is seen by nobody but
whoever knows what the row belonged to: in the source by its own foreign key, and, where one source
row was split over several unified tables, by its being one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final

import apsw

from harness.checkers.accounting import key_expression
from harness.checkers.evidence import Evidence
from harness.database import Table, quote, row_tables
from harness.mapping import TableMapping
from harness.model import DATABASES, Finding

__all__ = ["Leading", "judge_leading"]

_ROWS_MAX: Final = 100_000  # bounds the memory; what is beyond is not followed
_NAMED_MAX: Final = 20
Keys = dict[int, Any]


@dataclass(frozen=True, slots=True)
class Leading:
    """What was found, and how many references were followed on both sides."""

    findings: tuple[Finding, ...]
    followed: int


@dataclass(frozen=True, slots=True)
class _Link:
    """A foreign key of one column: `child.column` → `parent.key`; names in lower case."""

    child: str
    column: str
    parent: str
    key: str


def judge_leading(evidence: Evidence, unified: apsw.Connection) -> Leading:
    """Follow each source row's references, and see that its unified row's lead there, too.

    Of larger tables only the first 100,000 rows are followed.
    """
    there = _links(unified)
    tables = {table.name.lower(): table for table in row_tables(unified)}
    follower = _Follower(unified, tables, there)
    findings: list[Finding] = []
    followed = 0
    for (source, table), mapped in evidence.mapping.tables.items():
        with suppress(apsw.SQLError):  # an inverse that fails is told by the rows checker
            for row, cause in follower.split(mapped):
                findings.append(_finding(source, table, row, cause))
    for source in DATABASES:
        if evidence.before.state(source) != "sqlite":
            continue
        with closing(evidence.before.open(source)) as before:
            for link in _links(before):
                child = _mapped(evidence, source, link.child)
                parent = _mapped(evidence, source, link.parent)
                if child is None or parent is None:
                    continue
                with suppress(apsw.SQLError):  # a declared key of columns that are not there
                    pairs = _pairs(before, link)
                    followed += len(pairs)
                    for row, cause in follower.elsewhere(child, parent, link, pairs):
                        findings.append(_finding(source, child.table, row, cause))
    return Leading(tuple(findings[:_NAMED_MAX]), followed)


def _finding(source: str, table: str, row: int, cause: str) -> Finding:
    return Finding(
        rule="integrity/reference-elsewhere",
        cause=cause,
        database=source,
        table=table,
        key=f"rowid:{row}",
    )


def _mapped(evidence: Evidence, source: str, table: str) -> TableMapping | None:
    for (name, other), mapped in evidence.mapping.tables.items():
        if name == source and other.lower() == table:
            return mapped
    return None


def _links(connection: apsw.Connection) -> tuple[_Link, ...]:
    rows = connection.execute(
        'SELECT lower(m.name), lower(f."from"), lower(f."table"), lower(f."to"), f.id'
        " FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f"
        " WHERE m.type = 'table' AND NOT EXISTS (SELECT 1 FROM pragma_foreign_key_list(m.name) AS g"
        " WHERE g.id = f.id AND g.seq > 0) ORDER BY 1, 5"
    ).fetchall()
    return tuple(
        _Link(str(child), str(column), str(parent), str(key))
        for child, column, parent, key, _ in rows
        if key is not None
    )


def _pairs(before: apsw.Connection, link: _Link) -> list[tuple[int, int]]:
    """Return the rowids of each source row and of the one that its reference names."""
    rows = before.execute(
        f"SELECT c.rowid, p.rowid FROM {quote(link.child)} AS c JOIN {quote(link.parent)} AS p"
        f" ON p.{quote(link.key)} = c.{quote(link.column)} ORDER BY c.rowid LIMIT {_ROWS_MAX}"
    )
    return [(int(str(child)), int(str(parent))) for child, parent in rows]


class _Follower:
    """Follows references in the unified database."""

    def __init__(
        self, unified: apsw.Connection, tables: dict[str, Table], links: tuple[_Link, ...]
    ) -> None:
        self.unified = unified
        self.tables = tables
        self.links = links

    def elsewhere(
        self, child: TableMapping, parent: TableMapping, source: _Link, pairs: list[tuple[int, int]]
    ) -> Iterator[tuple[int, str]]:
        """Yield the source rows whose unified row leads to another row than theirs did."""
        for link, child_key, parent_key in self._between(child, parent, source):
            children, parents = self._became(child, child_key), self._became(parent, parent_key)
            leads = self._leads(link)
            for row, named in pairs:
                if row not in children or named not in parents or children[row] not in leads:
                    continue
                if leads[children[row]] != parents[named]:
                    yield row, self._words(link, leads[children[row]], parents[named])

    def split(self, mapped: TableMapping) -> Iterator[tuple[int, str]]:
        """Yield the source rows whose parts, in several unified tables, are not together."""
        for link in self.links:
            targets = {name.lower(): key for name, key in mapped.targets.items()}
            if link.child == link.parent or not {link.child, link.parent} <= set(targets):
                continue
            children = self._became(mapped, targets[link.child])
            parents = self._became(mapped, targets[link.parent])
            leads = self._leads(link)
            for row, child in children.items():
                if row in parents and child in leads and leads[child] != parents[row]:
                    yield row, self._words(link, leads[child], parents[row])

    def _between(
        self, child: TableMapping, parent: TableMapping, source: _Link
    ) -> Iterator[tuple[_Link, str, str]]:
        """Yield the unified foreign keys that stand for a source's, with both sides' keys.

        Where two tables refer to each other more than once, the column's name decides.
        """
        found = [
            (link, child_key, parent_key)
            for child_name, child_key in child.targets.items()
            for parent_name, parent_key in parent.targets.items()
            for link in self.links
            if (link.child, link.parent) == (child_name.lower(), parent_name.lower())
        ]
        named = [one for one in found if one[0].column == source.column]
        if named or len(found) == 1:
            yield from named or found

    def _became(self, mapped: TableMapping, key: str) -> Keys:
        rows = self.unified.execute(
            f"SELECT {mapped.key}, {key} FROM {mapped.from_} LIMIT {_ROWS_MAX}"
        )
        return {int(str(row)): target for row, target in rows if target is not None}

    def _leads(self, link: _Link) -> dict[Any, Any]:
        child, parent = self.tables[link.child], self.tables[link.parent]
        named = key_expression(parent).replace("t.", "p.", 1)
        rows = self.unified.execute(
            f"SELECT {key_expression(child)}, (SELECT {named}"
            f" FROM {quote(parent.name)} AS p WHERE p.{quote(link.key)} = t.{quote(link.column)})"
            f" FROM {quote(child.name)} AS t LIMIT {_ROWS_MAX}"
        )
        return {row[0]: row[1] for row in rows}

    def _words(self, link: _Link, leads: object, expected: object) -> str:
        where = "to no row" if leads is None else f"to row {leads}"
        return (
            f"{link.child}.{link.column} leads {where} of {link.parent}, where the source row"
            f" belongs to what became row {expected}"
        )
