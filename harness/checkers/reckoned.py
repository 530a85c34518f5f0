"""Judges the daily sums that services reckon of usage, and of which no source knows.

A unified service adds a row to `cost_analytics` for each day, platform and model that usage was
recorded of. Such a row flows back with all else that is written, and stands in the root then. It is
one of a day, platform and model that had none before, and is judged by the usage that stands there.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from harness.database import attach, open_scratch
from harness.model import CheckResult, Finding

__all__ = ["check", "forget_reckoned"]

_SUMS: Final = "cost_analytics"
_USAGE: Final = "synthetic_usage"
_VERIFIES: Final = (
    "Each row that services added to cost_analytics says what the usage of its day, platform and"
    " model comes to: requests, tokens in and out and together, cost, and the averages of them."
)
_DOES_NOT_VERIFY: Final = (
    "The price of usage whose cost nobody told, but that it takes nothing away; rows of"
    " cost_analytics that were there before, which other checks compare."
)
# What is no number, or an absurd one, counts as nothing: the rule of `invariants`, too.
_USED: Final = """
CREATE TEMP TABLE used AS
SELECT substr(created_at, 1, 10) AS date, provider AS platform, ifnull(model, '') AS model,
    count(*) AS requests, sum(told_in) AS input, sum(told_out) AS output,
    sum(ifnull(nano, 0)) AS nano, sum(nano IS NULL) AS unpriced
FROM (
    SELECT created_at, provider, model,
        iif(typeof(tokens_in) = 'integer' AND tokens_in BETWEEN -1e12 AND 1e12,
            tokens_in, 0) AS told_in,
        iif(typeof(tokens_out) = 'integer' AND tokens_out BETWEEN -1e12 AND 1e12,
            tokens_out, 0) AS told_out,
        iif(typeof(cost_usd) IN ('real', 'integer') AND cost_usd BETWEEN -1e6 AND 1e6,
            CAST(round(cost_usd * 1e9) AS INTEGER), NULL) AS nano
    FROM ({sources})
)
GROUP BY 1, 2, 3
"""
# By their key: a migrated row may have come without an id, and have one now.
_NEW: Final = f"""NOT EXISTS (
    SELECT 1 FROM was.{_SUMS} AS w
    WHERE w.date = a.date AND w.platform = a.platform AND w.model = a.model
)"""
# A cost that was looked up stands in the sums and, where it flowed back, in no usage row.
_WRONG: Final = f"""
SELECT CAST(a.date || ' ' || a.platform || ' ' || a.model AS BLOB), a.total_requests,
    a.total_tokens, a.input_tokens, a.output_tokens, a.total_cost_usd,
    ifnull(u.requests, 0), ifnull(u.input + u.output, 0), ifnull(u.input, 0), ifnull(u.output, 0),
    ifnull(u.nano, 0) / 1e9
FROM now.{_SUMS} AS a LEFT JOIN used AS u
    ON u.date = a.date AND u.platform = a.platform AND u.model = a.model
WHERE {_NEW} AND NOT (
    u.requests IS NOT NULL AND a.total_requests IS u.requests
    AND a.input_tokens IS u.input AND a.output_tokens IS u.output
    AND a.total_tokens IS u.input + u.output
    AND typeof(a.total_cost_usd) IN ('real', 'integer')
    AND iif(u.unpriced, a.total_cost_usd >= u.nano / 1e9, a.total_cost_usd = u.nano / 1e9)
    AND a.average_tokens_per_request IS (u.input + u.output) * 1.0 / u.requests
    AND a.cost_per_token IS
        iif(u.input + u.output > 0, a.total_cost_usd / (u.input + u.output), NULL)
    AND a.tasks_completed IS 0 AND a.cost_per_task IS NULL
)
ORDER BY 1
"""
_MISSING: Final = f"""
SELECT CAST(u.date || ' ' || u.platform || ' ' || u.model AS BLOB), u.requests FROM used AS u
WHERE NOT EXISTS (
    SELECT 1 FROM now.{_SUMS} AS a
    WHERE a.date = u.date AND a.platform = u.platform AND a.model = u.model
)
ORDER BY 1
"""


def check(
    checker: str, now: Path, before: Path, usage: Iterable[Path], *, complete: bool = False
) -> CheckResult | None:
    """Judge the sums that `now` has and `before` has not by the usage in the databases `usage`.

    Where they are `complete`, no usage may lack its row, as in the database that services write to.
    The result is one of the check `checker`; None where nothing was reckoned. Files are copies at
    rest; `before` may be missing.
    """
    with closing(open_scratch()) as database:
        attach(database, now, "now")
        _attach_before(database, before)
        sources = []
        columns = "created_at, provider, model, tokens_in, tokens_out, cost_usd"
        for number, path in enumerate(dict.fromkeys(usage)):
            attach(database, path, f"usage{number}")
            if _has(database, f"usage{number}", _USAGE):
                sources.append(f"SELECT {columns} FROM usage{number}.{_USAGE}")
        if not sources or not _has(database, "now", _SUMS):
            return None
        database.execute(_USED.format(sources=" UNION ALL ".join(sources)))
        counted = database.execute(f"SELECT count(*) FROM now.{_SUMS} AS a WHERE {_NEW}").get
        looked = int(str(counted))
        if not looked:
            return None
        findings = [_wrong(checker, row) for row in database.execute(_WRONG).fetchall()]
        if complete:
            for key, requests in database.execute(_MISSING).fetchall():
                findings.append(_finding(checker, key, f"{requests} requests", "no row"))
    return CheckResult.judged(
        checker,
        findings,
        {"reckoned sums": looked},
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
    )


def forget_reckoned(path: Path, before: Path) -> int:
    """Delete from a copy what services have reckoned since `before`; return how many rows.

    It stands for rows that stay, and `check` has judged it.
    """
    with closing(open_scratch()) as database:
        database.execute("ATTACH ? AS now", (str(path),))
        _attach_before(database, before)
        database.execute(
            f"DELETE FROM now.{_SUMS} WHERE rowid IN"
            f" (SELECT a.rowid FROM now.{_SUMS} AS a WHERE {_NEW})"
        )
        return database.changes()


def _attach_before(database: apsw.Connection, before: Path) -> None:
    """Attach `before` as `was`, with no sums where it has none."""
    if before.is_file() and before.stat().st_size:
        attach(database, before, "was")
        if _has(database, "was", _SUMS):
            return
        database.execute("DETACH was")
    database.execute("ATTACH ':memory:' AS was")
    database.execute(f"CREATE TABLE was.{_SUMS} (date, platform, model)")


def _has(database: apsw.Connection, schema: str, table: str) -> bool:
    sql = f"SELECT 1 FROM {schema}.sqlite_master WHERE type = 'table' AND name = ?"
    return database.execute(sql, (table,)).get is not None


def _wrong(checker: str, row: tuple[object, ...]) -> Finding:
    key, told, reckoned = row[0], row[1:6], row[6:]
    return _finding(checker, key, _said(reckoned), _said(told))


def _said(sums: tuple[object, ...]) -> str:
    requests, tokens, given, answered, cost = sums
    return f"{requests} requests, {tokens} tokens ({given} in, {answered} out), {cost} USD"


def _finding(checker: str, key: object, expected: str, actual: str) -> Finding:
    return Finding(
        rule=f"{checker}/reckoned-wrong",
        database="root",
        table=_SUMS,
        key=key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key),
        cause="what services reckoned of a day's usage is not what that usage comes to",
        expected=expected,
        actual=actual,
    )
