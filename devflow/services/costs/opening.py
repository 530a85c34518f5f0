"""Takes the opening balances, once in the life of a database, and starts the counting.

A migrated `cost_analytics` row may hold more (or less) than the usage rows of its key add up to:
those rows were pruned, or never written. The difference is the key's opening balance. From then
on triggers add each usage row to its key's sums, whoever writes it.
"""

from __future__ import annotations

from devflow.services.store import Connection
from devflow.services.values import iso_now

__all__ = ["ensure_opened"]

# Each key is looked for by the index of cost_sums: a join of the two views on their expressions
# would compare each key with all others, while everybody who writes waits.
_SHOWN = """
INSERT INTO cost_sums (
    date, platform, model, opening_requests, opening_tokens, opening_input_tokens,
    opening_output_tokens, opening_cost_nanousd, requests, tokens, input_tokens, output_tokens,
    cost_nanousd, computed
)
SELECT date, platform, model, requests, tokens, input_tokens, output_tokens, cost_nanousd,
    requests, tokens, input_tokens, output_tokens, cost_nanousd, 0
FROM counted_analytics
"""
# Keys of usage rows that had no row in cost_analytics get one, by the trigger on cost_sums, for
# which `computed` is 1; a migrated row stays as it is, to the last digit, until usage comes.
_USED = """
INSERT INTO cost_sums (
    date, platform, model, requests, tokens, input_tokens, output_tokens, cost_nanousd, unpriced
)
SELECT date, platform, model, count(*), sum(input_tokens) + sum(output_tokens), sum(input_tokens),
    sum(output_tokens), sum(cost_nanousd), sum(unpriced)
FROM counted_usage GROUP BY date, platform, model
ON CONFLICT (date, platform, model) DO UPDATE SET
    opening_requests = opening_requests - excluded.requests,
    opening_tokens = opening_tokens - excluded.tokens,
    opening_input_tokens = opening_input_tokens - excluded.input_tokens,
    opening_output_tokens = opening_output_tokens - excluded.output_tokens,
    opening_cost_nanousd = opening_cost_nanousd - excluded.cost_nanousd,
    unpriced = excluded.unpriced
"""


def ensure_opened(connection: Connection) -> None:
    """Take the opening balances in the caller's transaction, unless they were taken before."""
    if connection.execute("SELECT 1 FROM cost_state").fetchone() is None:
        connection.execute(_SHOWN)
        connection.execute(_USED)
        connection.execute("INSERT INTO cost_state VALUES (1, ?)", (iso_now(),))
