"""The rule of the daily sums, as SQL that anybody can run on the database; no output is well.

    sqlite3 devflow.sqlite < rule.sql
    python -m devflow.services.costs.consistency devflow.sqlite

Amounts count in whole nano-dollars (`round(cost_usd * 1e9)`), which are integers: no order of
adding changes a sum, so equality is exact and there is no tolerance. A cost that is no number
between ±1,000,000, tokens that are no integers between ±10^12, count as nothing; the views
`counted_usage` and `counted_analytics` say so in SQL. The key of a usage row is the first ten
characters of its created_at, its provider, and its model ('' where that is NULL).

Once `cost_state` has its row, these hold after every commit; before, nothing is claimed:

1. For every key of `cost_sums`: sums = opening balance + sum over the key's usage rows.
2. Every key of `synthetic_usage`, of `cost_analytics` and of `cost_sums` is a key of the others
   (where only `cost_analytics` and `cost_sums` know a key, the opening balance is all there is).
3. For every key, `cost_analytics` shows the sums. Where `computed` is 1 its columns are those
   sums exactly (total_cost_usd = cost_nanousd / 1e9, as SQLite divides), and the derived ones
   follow: average_tokens_per_request = total_tokens / total_requests, cost_per_token =
   total_cost_usd / total_tokens, NULL where there is nothing to divide by. Where `computed` is 0
   the row is a migrated one that nothing was added to: it stands as it was written, and its
   values count as much as the sums say.
"""

from __future__ import annotations

import sys
from pathlib import Path

import apsw

from devflow.services.store import Connection, Row, rows

__all__ = ["RULE", "inconsistencies", "main"]

RULE = """
WITH used AS (
    SELECT date, platform, model, count(*) AS requests, sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens, sum(cost_nanousd) AS cost_nanousd,
        sum(unpriced) AS unpriced
    FROM counted_usage GROUP BY date, platform, model
)
SELECT s.date, s.platform, s.model, 'sums are not opening balance and usage' AS problem
FROM cost_sums AS s LEFT JOIN used AS u USING (date, platform, model)
WHERE s.requests IS NOT s.opening_requests + ifnull(u.requests, 0)
    OR s.input_tokens IS NOT s.opening_input_tokens + ifnull(u.input_tokens, 0)
    OR s.output_tokens IS NOT s.opening_output_tokens + ifnull(u.output_tokens, 0)
    OR s.tokens IS NOT s.opening_tokens + ifnull(u.input_tokens + u.output_tokens, 0)
    OR s.cost_nanousd IS NOT s.opening_cost_nanousd + ifnull(u.cost_nanousd, 0)
    OR s.unpriced IS NOT ifnull(u.unpriced, 0)
UNION ALL
SELECT u.date, u.platform, u.model, 'usage has no sums'
FROM used AS u LEFT JOIN cost_sums AS s USING (date, platform, model)
WHERE s.seq IS NULL AND EXISTS (SELECT 1 FROM cost_state)
UNION ALL
SELECT a.date, a.platform, a.model, 'cost_analytics has a key without sums'
FROM cost_analytics AS a LEFT JOIN cost_sums AS s USING (date, platform, model)
WHERE s.seq IS NULL AND EXISTS (SELECT 1 FROM cost_state)
UNION ALL
SELECT s.date, s.platform, s.model, 'sums have no row in cost_analytics'
FROM cost_sums AS s LEFT JOIN cost_analytics AS a USING (date, platform, model)
WHERE a.seq IS NULL
UNION ALL
SELECT s.date, s.platform, s.model, 'cost_analytics does not show the sums'
FROM cost_sums AS s
JOIN cost_analytics AS a USING (date, platform, model)
JOIN counted_analytics AS c USING (date, platform, model)
WHERE CASE s.computed WHEN 1 THEN
        a.total_requests IS NOT s.requests OR a.total_tokens IS NOT s.tokens
        OR a.input_tokens IS NOT s.input_tokens OR a.output_tokens IS NOT s.output_tokens
        OR a.total_cost_usd IS NOT s.cost_nanousd / 1e9
        OR a.average_tokens_per_request IS NOT
            iif(s.requests > 0, s.tokens * 1.0 / s.requests, NULL)
        OR a.cost_per_token IS NOT iif(s.tokens > 0, s.cost_nanousd / 1e9 / s.tokens, NULL)
    ELSE
        c.requests IS NOT s.requests OR c.tokens IS NOT s.tokens
        OR c.input_tokens IS NOT s.input_tokens OR c.output_tokens IS NOT s.output_tokens
        OR c.cost_nanousd IS NOT s.cost_nanousd
    END
"""


def inconsistencies(connection: Connection) -> list[Row]:
    """Return what breaks the rule: date, platform, model, problem; nothing where all is well."""
    return rows(connection, RULE)


def main(arguments: list[str]) -> int:
    """Print each key that breaks the rule; 1 where there is one."""
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        sys.stderr.write("name the database: python -m devflow.services.costs.consistency FILE\n")
        return 2
    connection = apsw.Connection(arguments[0], flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = inconsistencies(connection)
    except apsw.Error as error:
        sys.stderr.write(f"{arguments[0]} is no unified database: {error}\n")
        return 2
    finally:
        connection.close()
    for row in found:
        key = ", ".join(repr(row[name]) for name in ("date", "platform", "model"))
        sys.stdout.write(f"{key}: {row['problem']}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
