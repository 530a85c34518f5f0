"""The in-use checker: what was found before is found after, by the same words and vectors.

The answers before come from an index and a scan of the harness's own over the source, never from
the candidate; values go from the source into SQL without passing through Python's text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import apsw

from harness.checkers.evidence import Evidence
from harness.checkers.listing import merged_rows, rows_to_show
from harness.checkers.references import is_database
from harness.checkers.wording import queries_of
from harness.database import Table, open_read_only, open_scratch, quote, typed_expression
from harness.mapping import FullText, Listed, Nearest
from harness.model import CheckResult, Finding, Severity

__all__ = ["check"]

_VERIFIES: Final = (
    "For each legacy text, full-text queries made of its words find the same rows in the unified"
    " database as in an index of the source itself; for each legacy vector, the nearest neighbours"
    " of the same model and dimensions are the same in the same order; each row that the mapping"
    " says is listed is listed. Columns and tables are those that the mapping declares."
)
_DOES_NOT_VERIFY: Final = (
    "The services themselves (only their databases are asked); ranking of full-text results; rows"
    " past the number of queries told in the details; texts without a word to search by; vectors"
    " whose bytes are no float32 values of their declared dimensions; carried tables."
)
_TEXT_QUERIES_MAX: Final = 2_000
_VECTOR_QUERIES_MAX: Final = 200
_DISTANCES_MAX: Final = 2_000_000
_NEIGHBOURS: Final = 10
_NAMED_MAX: Final = 10
_Use = FullText | Nearest | Listed


@dataclass(frozen=True, slots=True)
class _Source:
    """One source, opened as the main database, and its tables by lower name.

    Views may name `main`, so that a source cannot be attached under another name.
    """

    connection: apsw.Connection
    tables: dict[str, Table]


@dataclass(slots=True)
class _Work:
    """What one run of the checker gathers."""

    evidence: Evidence
    unified: apsw.Connection
    sources: dict[str, _Source] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    texts: int = 0
    vectors: int = 0
    listings: int = 0
    details: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Differences:
    """Collects what one declared use finds wrongly; past ten of a kind they are only counted."""

    work: _Work
    use: _Use
    counts: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        rule: str,
        cause: str,
        *,
        key: str | None = None,
        column: str | None = None,
        expected: str | None = None,
        actual: str | None = None,
    ) -> None:
        """Add one difference, as a finding or only to the count."""
        self.counts[rule] = self.counts.get(rule, 0) + 1
        if self.counts[rule] <= _NAMED_MAX:
            self.work.findings.append(
                Finding(
                    rule=f"in-use/{rule}",
                    cause=cause,
                    database=self.use.source,
                    table=self.use.table,
                    key=key,
                    column=column,
                    expected=expected,
                    actual=actual,
                )
            )

    def close(self) -> None:
        """Say how many differences of each kind were not named."""
        for rule, count in self.counts.items():
            if count > _NAMED_MAX:
                self.work.findings.append(
                    Finding(
                        rule=f"in-use/{rule}",
                        cause=f"{count - _NAMED_MAX} more like these in this table",
                        database=self.use.source,
                        table=self.use.table,
                    )
                )


def check(evidence: Evidence) -> CheckResult:
    """Ask before and after the same questions; without a unified database: unknown."""
    work = _Work(evidence, open_scratch())
    examined: dict[str, int] = {}
    if evidence.after is not None:
        try:
            work.unified = evidence.open_after(vectors=True)
            _examine(work)
        except apsw.Error as error:
            cause = f"the unified database cannot be read: {error}"
            work.findings.append(Finding(rule="in-use/unreadable", cause=cause, database="unified"))
        finally:
            work.unified.close()
            for source in work.sources.values():
                source.connection.close()
        examined = {
            "full-text queries": work.texts,
            "nearest-neighbour queries": work.vectors,
            "listings": work.listings,
        }
    return CheckResult.judged(
        "in-use",
        work.findings,
        examined,
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
        details=work.details,
    )


def _examine(work: _Work) -> None:
    uses = work.evidence.mapping.in_use
    for text in uses.fulltext:
        _with_source(work, text, {text.column}, _full_text)
    for nearest in uses.nearest:
        needed = {nearest.vector, *([nearest.model] if nearest.model else [])}
        _with_source(work, nearest, needed, _nearest)
    for listed in uses.listed:
        _with_source(work, listed, {listed.column} if listed.column else set(), _listed)
    _undeclared(work)


def _undeclared(work: _Work) -> None:
    """Warn of planned tables with rows that the mapping puts to no use at all."""
    uses = work.evidence.mapping.in_use
    every: tuple[_Use, ...] = (*uses.fulltext, *uses.nearest, *uses.listed)
    used = {(use.source, use.table.lower()) for use in every}
    for name, table_name in work.evidence.mapping.tables:
        source = _source(work, name)
        table = source.tables.get(table_name.lower()) if source else None
        if source is None or table is None or (name, table_name.lower()) in used:
            continue
        one = f"SELECT 1 FROM main.{quote(table.name)} LIMIT 1"
        if source.connection.execute(one).get is None:
            continue
        work.findings.append(
            Finding(
                rule="in-use/not-declared",
                severity=Severity.WARNING,
                cause="the mapping declares no way in which the rows of this table are in use",
                database=name,
                table=table.name,
            )
        )


def _source(work: _Work, name: str) -> _Source | None:
    """Return the source, opened at its first use; None where it is no database."""
    if name not in work.sources:
        if not is_database(work.evidence, name):
            return None
        path = work.evidence.before.path(name)
        work.sources[name] = _Source(
            open_read_only(path, vectors=True, at_rest=True),
            {
                table.name.lower(): table
                for table in work.evidence.before.tables(name)
                if (name, table.name.lower()) not in _carried(work)
            },
        )
    return work.sources[name]


def _carried(work: _Work) -> set[tuple[str, str]]:
    """Return the tables that nobody planned for, though they may have a planned one's name."""
    try:
        rows = work.unified.execute(work.evidence.mapping.carried or "SELECT 1 WHERE 0").fetchall()
    except apsw.Error:
        return set()
    return {(str(row[0]), str(row[1]).lower()) for row in rows}


def _with_source(
    work: _Work,
    use: Any,
    needed: set[str],
    ask: Callable[[_Work, Any, apsw.Connection, Table, _Differences], dict[str, Any]],
) -> None:
    """Run one declared use with its source; what goes wrong is a finding."""
    source = _source(work, use.source)
    table = source.tables.get(use.table.lower()) if source else None
    if source is None or table is None or not needed <= {column.name for column in table.columns}:
        return  # older copies have neither all tables nor all columns
    differences = _Differences(work, use)
    try:
        details = ask(work, use, source.connection, table, differences)
    except apsw.Error as error:
        differences.add("query-failed", f"this use cannot be asked of the source: {error}")
        details = {}
    differences.close()
    kind = type(use).__name__.lower()
    name = f"{use.source}.{use.table}"
    if isinstance(use, Listed) and use.of:
        name += f": {use.of}"
    work.details.setdefault(kind, {})[name] = details


def _answers(
    work: _Work, use: _Use, differences: _Differences, **parameters: Any
) -> list[Any] | None:
    """Run the mapping's query; an SQL error is a finding and the answer None."""
    try:
        return [row[0] for row in work.unified.execute(use.query, parameters)]
    except (apsw.Error, UnicodeDecodeError) as error:
        cause = f"the mapping's query fails on the unified database: {error}"
        differences.add("query-failed", cause, actual=str(error))
        return None


def _full_text(
    work: _Work, use: FullText, connection: apsw.Connection, table: Table, wrong: _Differences
) -> dict[str, Any]:
    """Ask an index over the source column and the unified database for the same words."""
    column, source = quote(use.column), f"main.{quote(table.name)}"
    tokenize = use.tokenize.replace("'", "''")
    connection.execute(
        "DROP TABLE IF EXISTS temp.reference;"
        f"CREATE VIRTUAL TABLE temp.reference USING fts5(body, content='', tokenize='{tokenize}');"
        f"INSERT INTO temp.reference (rowid, body)"
        f" SELECT rowid, {column} FROM {source} WHERE {column} IS NOT NULL"
    )
    texts = list(_texts(connection, column, source))
    asked, without = queries_of(texts, limit=_TEXT_QUERIES_MAX)
    for query, rowid in asked.items():
        before = {
            row[0]
            for row in connection.execute(
                "SELECT rowid FROM temp.reference WHERE reference MATCH ?", (query,)
            )
        }
        after = _answers(work, use, wrong, match=query)
        if after is None:
            break
        work.texts += 1
        found = set(after)
        if found != before:
            _full_text_differences(wrong, use, query, before, found, rowid)
    total = connection.execute(f"SELECT count(*) FROM {source} WHERE {column} IS NOT NULL").get
    return {
        "texts": total,
        "texts asked for": len(texts) - without,
        "texts without a word": without,
        "queries": len(asked),
    }


def _full_text_differences(
    wrong: _Differences, use: FullText, query: str, before: set[Any], found: set[Any], rowid: int
) -> None:
    for missing in sorted(before - found, key=lambda key: (key != rowid, key)):
        wrong.add(
            "not-found",
            f"full-text search for {query} no longer finds this row",
            key=str(missing),
            column=use.column,
            expected=query,
        )
    for extra in sorted(found - before, key=str):
        wrong.add(
            "found-wrongly",
            f"full-text search for {query} finds a row that has not these words",
            key=str(extra),
            column=use.column,
            actual=query,
        )


def _texts(connection: apsw.Connection, column: str, source: str) -> Iterator[tuple[int, bytes]]:
    """Yield rowid and the first and last 2,000 bytes of texts, spread evenly over the table."""
    count = int(connection.execute(f"SELECT count(*) FROM {source} WHERE {column} IS NOT NULL").get)
    step = max(1, -(-count // _TEXT_QUERIES_MAX))
    cast = f"CAST({column} AS BLOB)"
    rows = connection.execute(
        "SELECT key, CASE WHEN length(body) <= 4000 THEN body"
        " ELSE substr(body, 1, 2000) || x'20' || substr(body, -2000) END FROM ("
        f"SELECT rowid AS key, {cast} AS body, row_number() OVER (ORDER BY rowid) AS place"
        f" FROM {source} WHERE {column} IS NOT NULL) WHERE (place - 1) % ? = 0",
        (step,),
    )
    for key, body in rows:
        yield int(key), body if isinstance(body, bytes) else str(body).encode()


def _nearest(
    work: _Work, use: Nearest, connection: apsw.Connection, table: Table, wrong: _Differences
) -> dict[str, Any]:
    """Compare the order of neighbours with a scan of the source by the same distance."""
    source = f"main.{quote(table.name)}"
    vector, model = quote(use.vector), quote(use.model) if use.model else "NULL"
    names = {column.name.lower() for column in table.columns}
    sound = f"typeof({vector}) = 'blob' AND length({vector}) > 0 AND length({vector}) % 4 = 0"
    if "dimensions" in names:
        sound += f" AND length({vector}) = 4 * dimensions"
    count = int(connection.execute(f"SELECT count(*) FROM {source} WHERE {sound}").get)
    total = int(connection.execute(f"SELECT count(*) FROM {source}").get)
    wanted = max(10, min(_VECTOR_QUERIES_MAX, _DISTANCES_MAX // max(1, count)))
    step = max(1, -(-count // wanted))
    rows = connection.execute(
        f"SELECT key, kind, model, vector FROM (SELECT rowid AS key, typeof({model}) AS kind,"
        f" {typed_expression(model)} AS model, {vector} AS vector,"
        " row_number() OVER (ORDER BY rowid) AS place"
        f" FROM {source} WHERE {sound}) WHERE (place - 1) % ? = 0",
        (step,),
    ).fetchall()
    reference = (
        f"SELECT rowid FROM {source} WHERE {sound} AND length({vector}) = length(:vector)"
        f" AND {model} IS (SELECT {model} FROM {source} WHERE rowid = :key)"
        f" ORDER BY vec_distance_cosine({vector}, :vector), rowid LIMIT :k"
    )
    asked = 0
    for key, kind, value, blob in rows:
        query = {"key": key, "vector": blob, "k": _NEIGHBOURS}
        before = [row[0] for row in connection.execute(reference, query)]
        after = _answers(work, _bound(use, kind, value), wrong, **_parameters(kind, value, blob))
        if after is None:
            break
        asked += 1
        if after != before:
            _nearest_difference(wrong, use, key, before, after)
    work.vectors += asked
    return {"vectors": total, "asked for": asked, "malformed": total - count, "k": _NEIGHBOURS}


def _nearest_difference(
    wrong: _Differences, use: Nearest, key: Any, before: list[Any], after: list[Any]
) -> None:
    rule = "not-found" if set(before) - set(after) else "found-wrongly"
    rule = rule if set(before) != set(after) else "order-changed"
    wrong.add(
        rule,
        f"the {_NEIGHBOURS} nearest neighbours of this row's vector are not what they were",
        key=str(key),
        column=use.vector,
        expected=", ".join(map(str, before)),
        actual=", ".join(map(str, after)),
    )


def _is_text(kind: Any, value: Any) -> bool:
    if kind != "text" or not isinstance(value, bytes):
        return False
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parameters(kind: Any, value: Any, blob: Any) -> dict[str, Any]:
    model = value.decode() if _is_text(kind, value) else value
    return {"model": model, "vector": blob, "dimensions": len(blob) // 4, "k": _NEIGHBOURS}


def _bound(use: Nearest, kind: Any, value: Any) -> Nearest:
    """Return the use with a query that takes a model whose text is no UTF-8 as its bytes."""
    if kind != "text" or _is_text(kind, value):
        return use
    query = use.query.replace(":model", "CAST(:model AS TEXT)")
    return Nearest(
        source=use.source, table=use.table, vector=use.vector, model=use.model, query=query
    )


def _listed(
    work: _Work, use: Listed, connection: apsw.Connection, table: Table, wrong: _Differences
) -> dict[str, Any]:
    """Compare the rows that a service would list with those of the source."""
    after = _answers(work, use, wrong)
    there = {row[0] for row in connection.execute(f"SELECT rowid FROM main.{quote(table.name)}")}
    wanted = rows_to_show(connection, table, use)
    if after is not None:
        work.listings += 1
        found = set(after)
        missing = wanted - found
        if missing and use.column is not None:
            missing -= merged_rows(work.evidence, work.unified, use)
        for key in sorted(missing, key=str):
            cause = "the unified database no longer lists this row"
            cause += f" among those of {use.of}" if use.of else ""
            wrong.add("not-listed", cause, key=str(key), column=use.column)
        for key in sorted(found - there, key=str):
            cause = "the unified database lists a row that the source has not"
            wrong.add("listed-wrongly", cause, key=str(key))
    return {"rows": len(wanted)}
