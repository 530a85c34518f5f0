"""What must hold of the unified database after whatever was asked of the services: SQL, no API.

Each invariant compares the database with what it was before the first request, because a migrated
database may hold what no service would write: a reference that dangled already does so still.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from harness.checkers.invariant_sql import INVARIANTS, Invariant
from harness.checkers.throwaway import throwaway
from harness.database import quote
from harness.model import Finding

__all__ = ["violations"]

_SHOWN: Final = 3
_MAIL_ADDRESS: Final = re.compile(r"[\w.+%-]+@[^\W\d_][\w-]*(?:\.[\w-]+)+")


# The rule of `devflow.services.costs`: for each day, platform and model the sums of cost_analytics
# are an opening balance and what the usage rows come to. The balance is what the row held beyond
# its usage before the first request. What is no number, or an absurd one, counts as nothing.
_COSTS: Final = """
WITH key (date, platform, model) AS (
    SELECT date, platform, model FROM main.cost_analytics
    UNION SELECT substr(created_at, 1, 10), provider, ifnull(model, '') FROM main.synthetic_usage
),
was AS ({was}), used AS ({used}), now AS ({now}), uses AS ({uses})
SELECT CAST(key.date || ' ' || key.platform || ' ' || key.model AS BLOB),
    now.requests IS NULL AND uses.requests IS used.requests AND uses.nano IS used.nano AS untouched,
    ifnull(was.requests - ifnull(used.requests, 0), 0) + ifnull(uses.requests, 0),
    ifnull(was.tokens - ifnull(used.tokens, 0), 0) + ifnull(uses.tokens, 0),
    ifnull(was.nano - ifnull(used.nano, 0), 0) + ifnull(uses.nano, 0),
    now.requests, now.tokens, now.nano
FROM key LEFT JOIN was USING (date, platform, model) LEFT JOIN used USING (date, platform, model)
    LEFT JOIN now USING (date, platform, model) LEFT JOIN uses USING (date, platform, model)
"""
_SUMS: Final = """
SELECT date, platform, model,
    iif(typeof(total_requests) = 'integer' AND abs(total_requests) <= 1e15,
        total_requests, 0) AS requests,
    iif(typeof(total_tokens) = 'integer' AND abs(total_tokens) <= 1e15,
        total_tokens, 0) AS tokens,
    iif(typeof(total_cost_usd) IN ('real', 'integer') AND abs(total_cost_usd) <= 1e9,
        CAST(round(total_cost_usd * 1e9) AS INTEGER), 0) AS nano
FROM {place}.cost_analytics
"""
_USES: Final = """
SELECT substr(created_at, 1, 10) AS date, provider AS platform, ifnull(model, '') AS model,
    count(*) AS requests,
    sum(iif(typeof(tokens_in) = 'integer' AND abs(tokens_in) <= 1e12, tokens_in, 0)
        + iif(typeof(tokens_out) = 'integer' AND abs(tokens_out) <= 1e12, tokens_out, 0)) AS tokens,
    sum(iif(typeof(cost_usd) IN ('real', 'integer') AND abs(cost_usd) <= 1e6,
        CAST(round(cost_usd * 1e9) AS INTEGER), 0)) AS nano
FROM {place}.synthetic_usage GROUP BY 1, 2, 3
"""


def violations(before: Path, after: Path, *, service: str) -> tuple[list[Finding], int]:
    """Return what does not hold of `after` and did of `before`, and how many invariants that was.

    Both are copies at rest. `service` is the one that was tried in between.
    """
    found: list[Finding] = []
    held = 0
    with throwaway(after) as now, throwaway(before) as was:
        now.execute("ATTACH ':memory:' AS was")
        with now.backup("was", was, "main") as backup:
            backup.step(-1)
        for each in (now, was):
            each.create_scalar_function("has_mail_address", _has_mail_address, 1)
        tables = {str(name) for (name,) in now.execute("SELECT name FROM sqlite_master")}
        for invariant in INVARIANTS:
            if tables.issuperset(invariant.tables) and _applies(now, invariant):
                held += 1
                found += _new(was, now, invariant, service)
        held += 2
        found += _sound(now, service)
        found += _referring(was, now, service)
        for table in _fulltext(now):
            held += 1
            if (wrong := _out_of_step(now, table)) and not _out_of_step(was, table):
                found.append(_behind(table, wrong, service))
        if tables.issuperset({"cost_analytics", "synthetic_usage"}):
            held += 1
            found += _costs(now, service)
    return found, held


def _has_mail_address(*values: object) -> bool:
    return any(isinstance(text, str) and _MAIL_ADDRESS.search(text) for text in values)


def _finding(
    service: str,
    rule: str,
    says: str,
    *,
    table: str | None = None,
    key: str | None = None,
    expected: str | None = None,
    actual: str | None = None,
) -> Finding:
    return Finding(
        rule=f"api/{rule}",
        cause=f"after requests to {service}: {says}",
        database="unified",
        table=table,
        key=key,
        expected=expected,
        actual=actual,
    )


def _applies(now: apsw.Connection, invariant: Invariant) -> bool:
    """Whether the tables have the columns; another schema is the schema checker's to judge."""
    try:
        now.execute(f"EXPLAIN {invariant.broken}").close()
    except apsw.SQLError:
        return False
    return True


def _new(
    was: apsw.Connection, now: apsw.Connection, invariant: Invariant, service: str
) -> Iterator[Finding]:
    known = {key for (key,) in was.execute(invariant.broken)}
    broken = [key for (key,) in now.execute(invariant.broken) if key not in known]
    if broken:
        yield _finding(
            service,
            invariant.rule,
            f"it does not hold that {invariant.says}",
            table=invariant.tables[0],
            key=", ".join(map(_text, broken[:_SHOWN])),
            expected="no such row that was not there before",
            actual=f"{len(broken)} rows",
        )


def _sound(now: apsw.Connection, service: str) -> Iterator[Finding]:
    told = [str(line) for (line,) in now.execute("PRAGMA integrity_check")]
    if told != ["ok"]:
        yield _finding(
            service,
            "integrity",
            "SQLite finds the database broken",
            actual="; ".join(told[:_SHOWN]),
        )


def _referring(was: apsw.Connection, now: apsw.Connection, service: str) -> Iterator[Finding]:
    known = set(was.execute("PRAGMA foreign_key_check"))
    broken = [row for row in now.execute("PRAGMA foreign_key_check") if row not in known]
    for table, rowid, parent, _ in broken[:_SHOWN]:
        yield _finding(
            service,
            "dangling",
            f"a row of {table} refers to a row of {parent} that is not there",
            table=str(table),
            key=str(rowid),
        )


def _fulltext(now: apsw.Connection) -> list[str]:
    return [
        str(name)
        for (name,) in now.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            " AND lower(sql) LIKE 'create virtual table%using fts5%'"
        )
    ]


def _out_of_step(database: apsw.Connection, table: str) -> str | None:
    """Return what FTS5 says of an index that is not its table's; it checks by an INSERT."""
    name = quote(table)
    try:
        database.execute(f"INSERT INTO {name}({name}, rank) VALUES ('integrity-check', 1)")
    except apsw.Error as error:
        return str(error)
    return None


def _behind(table: str, wrong: str, service: str) -> Finding:
    return _finding(
        service,
        "fulltext",
        f"the full-text index {table} is out of step with its rows",
        table=table,
        actual=wrong,
    )


def _costs(now: apsw.Connection, service: str) -> Iterator[Finding]:
    sql = _COSTS.format(
        was=_SUMS.format(place="was"),
        used=_USES.format(place="was"),
        now=_SUMS.format(place="main"),
        uses=_USES.format(place="main"),
    )
    shown = 0
    with contextlib.closing(now.cursor()) as cursor:
        for key, untouched, *sums in cursor.execute(sql):
            expected, actual = sums[:3], sums[3:]
            if expected == actual or untouched:
                continue
            shown += 1
            if shown <= _SHOWN:
                yield _finding(
                    service,
                    "costs",
                    "cost_analytics is not its opening balance and the sum of its usage",
                    table="cost_analytics",
                    key=_text(key),
                    expected=_spent(expected),
                    actual=_spent(actual),
                )


def _text(key: object) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _spent(sums: list[int | None]) -> str:
    requests, tokens, nano = (0 if value is None else value for value in sums)
    return f"{requests} requests, {tokens} tokens, {nano / 1e9:.9f} USD"
