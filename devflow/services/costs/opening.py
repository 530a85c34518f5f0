"""Takes the opening balances, once in the life of a database, and starts the counting.

A migrated `cost_analytics` row may hold more (or less) than the usage rows of its key add up to:
those rows were pruned, or never written. The difference is the key's opening balance. From then
on triggers add each usage row to its key's sums, whoever writes it.
"""

from __future__ import annotations

from devflow.services.store import Connection
from devflow.services.values import iso_now

__all__ = ["ensure_opened"]

# Keys of usage rows that had no row in cost_analytics get one, by the trigger on cost_sums, for
# which `computed` is 1; a migrated row stays as it is, to the last digit, until usage comes.
_OPEN = """
WITH used AS (
    SELECT date, platform, model, count(*) AS requests, sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens, sum(cost_nanousd) AS cost_nanousd,
        sum(unpriced) AS unpriced
    FROM counted_usage GROUP BY date, platform, model
)
INSERT INTO cost_sums (
    date, platform, model, opening_requests, opening_tokens, opening_input_tokens,
    opening_output_tokens, opening_cost_nanousd, requests, tokens, input_tokens, output_tokens,
    cost_nanousd, unpriced, computed
)
SELECT a.date, a.platform, a.model,
    a.requests - ifnull(u.requests, 0),
    a.tokens - ifnull(u.input_tokens + u.output_tokens, 0),
    a.input_tokens - ifnull(u.input_tokens, 0),
    a.output_tokens - ifnull(u.output_tokens, 0),
    a.cost_nanousd - ifnull(u.cost_nanousd, 0),
    a.requests, a.tokens, a.input_tokens, a.output_tokens, a.cost_nanousd,
    ifnull(u.unpriced, 0), 0
FROM counted_analytics AS a LEFT JOIN used AS u USING (date, platform, model)
UNION ALL
SELECT u.date, u.platform, u.model, 0, 0, 0, 0, 0, u.requests, u.input_tokens + u.output_tokens,
    u.input_tokens, u.output_tokens, u.cost_nanousd, u.unpriced, 1
FROM used AS u LEFT JOIN counted_analytics AS a USING (date, platform, model)
WHERE a.seq IS NULL
"""


def ensure_opened(connection: Connection) -> None:
    """Take the opening balances in the caller's transaction, unless they were taken before."""
    if connection.execute("SELECT 1 FROM cost_state").fetchone() is None:
        connection.execute(_OPEN)
        connection.execute("INSERT INTO cost_state VALUES (1, ?)", (iso_now(),))
