"""What became of each source row, told from the databases alone: one ledger entry a row."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import apsw

from harness.checkers.evidence import Evidence
from harness.checkers.plan import (
    Correspondence,
    correspondences,
    rowid_name,
    source_tables,
    tables_of,
)
from harness.checkers.values import (
    Row,
    RowReader,
    Value,
    encode,
    read_ordered,
    read_rows,
    render,
)
from harness.database import Table, quote
from harness.mapping import TableMapping
from harness.merkle import leaf_hash
from harness.model import DATABASES, Finding

__all__ = ["LISTED_MAX", "LOG_TABLE", "Accounts", "LedgerEntry", "Problems", "Target"]

LISTED_MAX = 25
LOG_TABLE = "model-registry.log"
_canonical = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Target:
    """A unified row that a source row became (or became a part of), and its SHA-256."""

    table: str
    key: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """The fate of one source row.

    `key` is its primary key as text, `row` its rowid (`rowid:5`) where the table has one: keys may
    be NULL, rowids not. `digest` is the SHA-256 of its typed values, `rule` how it came over.
    """

    source: str
    table: str
    key: str
    row: str
    digest: str
    rule: str
    targets: tuple[Target, ...]

    def data(self) -> bytes:
        """Return the leaf's data: canonical JSON."""
        fields = [self.source, self.table, self.key, self.row, self.digest, self.rule]
        targets = [[t.table, t.key, t.digest] for t in self.targets]
        return _canonical([*fields, targets]).encode()

    def hash(self) -> bytes:
        """Return the leaf's hash in the Merkle tree."""
        return leaf_hash(self.data())


@dataclass(slots=True)
class Problems:
    """Findings, of which at most `LISTED_MAX` are listed for one rule and table."""

    listed: list[Finding] = field(default_factory=list)
    counts: Counter[tuple[str, str | None, str | None]] = field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        """Count a finding, and list it while there is room."""
        place = finding.rule, finding.database, finding.table
        self.counts[place] += 1
        if self.counts[place] <= LISTED_MAX:
            self.listed.append(finding)

    def all(self) -> Iterator[Finding]:
        """Yield what is listed, and one finding for each place with more."""
        yield from self.listed
        for (rule, database, table), count in self.counts.items():
            if count > LISTED_MAX:
                yield Finding(
                    rule=rule,
                    cause=f"{count - LISTED_MAX} more of the same are not listed",
                    database=database,
                    table=table,
                )


def sha256_of(row: Row) -> str:
    """Return the SHA-256 of a row's typed values, in hexadecimal."""
    return hashlib.sha256(encode(row)).hexdigest()


def plain_key(values: Row) -> str | None:
    """Return a key as somebody would type it; None where it is NULL or there is none."""
    if not values or None in values:
        return None
    return ",".join(v if isinstance(v, str) and v.isprintable() else render(v) for v in values)


class Accounts:
    """Walks over all source rows in one fixed order and finds each one's entry.

    Iterate over it once; afterwards `problems` has what does not add up.
    """

    def __init__(self, evidence: Evidence) -> None:
        """Read nothing yet; `evidence.after` must be there."""
        self.evidence = evidence
        self.problems = Problems()
        self.rows: Counter[tuple[str, str]] = Counter()
        self.readers: dict[str, RowReader] = {}

    def __iter__(self) -> Iterator[LedgerEntry]:
        """Yield the entries by source, table and row; raises apsw.Error on a broken database."""
        with closing(self.evidence.open_after()) as unified:
            self.unified = unified
            self.targets = {table.name.lower(): table for table in tables_of(unified)}
            plan, problems = correspondences(self.evidence, unified, check="ledger")
            for problem in problems:
                self.problems.add(problem)
            for source in DATABASES:
                for table in source_tables(self.evidence, source):
                    yield from self._table(source, table, plan.get((source, table.name)))
            yield from self._log()

    def _problem(self, rule: str, cause: str, **place: Any) -> None:
        self.problems.add(Finding(rule=f"ledger/{rule}", cause=cause, **place))

    def _table(
        self, source: str, table: Table, found: Correspondence | None
    ) -> Iterator[LedgerEntry]:
        self.rows[source, table.name] = 0
        with closing(self.evidence.before.open(source)) as before:
            rows = self._source_rows(before, source, table)
            if found is None:
                for key, row, _ in rows:
                    self._problem(
                        "row-unaccounted",
                        "the table is neither in the mapping nor carried",
                        **_place(source, table, key, row),
                    )
                return
            try:
                if found.mapped is None or rowid_name(table) is None:
                    yield from self._by_content(source, table, found, rows)
                else:
                    yield from self._mapped(source, table, found.mapped, rows)
            except apsw.SQLError as error:
                self._problem(
                    "inverse-fails",
                    f"the mapping's SQL fails on the unified database: {error}",
                    database=source,
                    table=table.name,
                )

    def _source_rows(
        self, connection: apsw.Connection, source: str, table: Table
    ) -> Iterator[tuple[str | None, Value, str]]:
        """Yield key, rowid (None where there is none) and digest of each row, in a fixed order."""
        names = [column.name for column in table.columns]
        positions = [names.index(name) for name in table.primary_key]
        rowid = rowid_name(table)
        expressions = [f"t.{rowid}" if rowid else "NULL", *(f"t.{quote(n)}" for n in names)]
        order = f"t.{rowid}" if rowid else ", ".join(f"t.{quote(n)}" for n in table.primary_key)
        rows = read_ordered(connection, expressions, f"{quote(table.name)} AS t ORDER BY {order}")
        for number, *values in rows:
            self.rows[source, table.name] += 1
            key = plain_key(tuple(values[n] for n in positions))
            yield key, number, sha256_of(tuple(values))

    def _mapped(
        self,
        source: str,
        table: Table,
        mapped: TableMapping,
        rows: Iterator[tuple[str | None, Value, str]],
    ) -> Iterator[LedgerEntry]:
        """Merge source rows and accounts, both in the order of rowids."""
        expressions = [mapped.key, mapped.rule or "NULL", *mapped.targets.values()]
        accounts = read_ordered(self.unified, expressions, f"{mapped.from_} ORDER BY {mapped.key}")
        account = next(accounts, None)
        for key, rowid, digest in rows:
            place = _place(source, table, key, rowid)
            while account is not None and _before(account[0], rowid):
                self._for_nothing(source, table, account)
                account = next(accounts, None)
            if account is None or account[0] != rowid:
                self._problem("row-unaccounted", "nothing in the mapping speaks of it", **place)
                continue
            yield self._entry(source, table, mapped, key, digest, account)
            account = next(accounts, None)
            while account is not None and account[0] == rowid:
                self._problem("row-accounted-twice", "the mapping gives it twice", **place)
                account = next(accounts, None)
        while account is not None:
            self._for_nothing(source, table, account)
            account = next(accounts, None)

    def _for_nothing(self, source: str, table: Table, account: Row) -> None:
        self._problem(
            "row-invented",
            "the mapping accounts for a row that the source does not have",
            **_place(source, table, None, account[0]),
        )

    def _entry(
        self,
        source: str,
        table: Table,
        mapped: TableMapping,
        key: str | None,
        digest: str,
        account: Row,
    ) -> LedgerEntry:
        rowid, rule, *keys = account
        place = _place(source, table, key, rowid)
        if not isinstance(rule, str) or not rule:
            self._problem("rule-missing", "no rule says how the row came over", **place)
            rule = ""
        targets: list[Target] = []
        for name, target in zip(mapped.targets, keys, strict=True):
            if target is None:
                continue
            found = self._unified_digest(name, target)
            if found is None:
                self._problem(
                    "target-missing",
                    f"it became row {render(target)} of {name}, which is not there",
                    **place,
                )
            else:
                targets.append(Target(name, render(target), found))
        if not targets and not rule.startswith("dropped"):
            self._problem("row-without-target", "it became no unified row, by no rule", **place)
        return LedgerEntry(
            source=source,
            table=table.name,
            key=key or f"rowid:{rowid!r}",
            row=f"rowid:{rowid!r}",
            digest=digest,
            rule=rule,
            targets=tuple(targets),
        )

    def _unified_digest(self, name: str, key: Value) -> str | None:
        reader = self.readers.get(name)
        if reader is None:
            table = self.targets.get(name.lower())
            if table is None:
                return None
            expressions = [f"t.{quote(column.name)}" for column in table.columns]
            source = f"{quote(table.name)} AS t WHERE {key_expression(table)} = ?"
            reader = self.readers[name] = RowReader(self.unified, expressions, source)
        found = reader.read(key)
        return None if found is None else sha256_of(found)

    def _by_content(
        self,
        source: str,
        table: Table,
        found: Correspondence,
        rows: Iterator[tuple[str | None, Value, str]],
    ) -> Iterator[LedgerEntry]:
        """Match rows without a rowid or a plan by content: equal rows are interchangeable."""
        name = found.unified_table or next(iter(found.mapped.targets if found.mapped else ()), "")
        # On disk, for a table that nobody planned for may be of any size.
        with closing(apsw.Connection("")) as pool:
            self._fill(pool, table, found, name)
            for key, rowid, digest in rows:
                taken = pool.execute(
                    "UPDATE pool SET taken = 1 WHERE rowid = (SELECT rowid FROM pool"
                    " WHERE digest = ? AND NOT taken ORDER BY rowid LIMIT 1) RETURNING key",
                    (digest,),
                ).fetchall()
                if not taken:
                    place = _place(source, table, key, rowid)
                    self._problem("row-unaccounted", f"no row of {name} gives it back", **place)
                    continue
                row = "" if rowid is None else f"rowid:{rowid!r}"
                yield LedgerEntry(
                    source=source,
                    table=table.name,
                    key=key or row,
                    row=row,
                    digest=digest,
                    rule="carried" if found.mapped is None else "planned",
                    targets=(Target(name, str(taken[0][0]), digest),),
                )
            for (key,) in pool.execute("SELECT key FROM pool WHERE NOT taken"):
                self._problem(
                    "row-unexplained",
                    f"no row of {source}.{table.name} became it",
                    database="unified",
                    table=name,
                    key=str(key),
                )

    def _fill(self, pool: apsw.Connection, table: Table, found: Correspondence, name: str) -> None:
        """Put the digest and the unified key of every row that is given back into `pool`."""
        target = self.targets.get(name.lower())
        if found.mapped is not None:
            key = found.mapped.targets.get(name, found.mapped.key)
        else:
            key = key_expression(target) if target else "NULL"
        columns = [found.inverse_of(column.name) or "NULL" for column in table.columns]
        theirs = read_rows(self.unified, [key, *columns], found.from_)
        with pool:
            pool.execute("CREATE TABLE pool(digest TEXT, key TEXT, taken DEFAULT 0)")
            pool.executemany(
                "INSERT INTO pool(digest, key) VALUES (?, ?)",
                ((sha256_of(tuple(values)), render(key)) for key, *values in theirs),
            )
            pool.execute("CREATE INDEX by_digest ON pool(digest, taken)")

    def _log(self) -> Iterator[LedgerEntry]:
        registry = self.evidence.mapping.registry
        kept: Iterator[tuple[Any, ...]] = iter(())
        if registry is not None:
            sql = f"WITH given(number, line) AS ({registry.lines}) SELECT number,"
            kept = iter(
                self.unified.execute(f"{sql} CAST(line AS BLOB) FROM given ORDER BY number")
            )
        self.rows["registry", LOG_TABLE] = 0
        for number, line in enumerate(self.evidence.before.log_lines(), start=1):
            self.rows["registry", LOG_TABLE] += 1
            there = next(kept, None)
            if there is None or (there[1] or b"") != line:
                self._problem(
                    "row-unaccounted",
                    "the line is not where the mapping says",
                    database="registry",
                    key=str(number),
                )
                continue
            digest = hashlib.sha256(line).hexdigest()
            yield LedgerEntry(
                source="registry",
                table=LOG_TABLE,
                key=str(number),
                row="",
                digest=digest,
                rule="logged",
                targets=(Target("registry.lines", str(there[0]), digest),),
            )


def key_expression(table: Table) -> str:
    """Return the SQL of a unified row's key: its rowid, or the first column of its primary key."""
    name = rowid_name(table)
    return f"t.{name}" if name else f"t.{quote(table.primary_key[0])}"


def _before(number: Value, rowid: Value) -> bool:
    return not isinstance(number, int) or not isinstance(rowid, int) or number < rowid


def _place(source: str, table: Table, key: str | None, rowid: Value) -> dict[str, str]:
    return {
        "database": source,
        "table": table.name,
        "key": key if key is not None else f"rowid:{rowid!r}",
    }
