"""Prices by provider and model, from the data that comes with genai-prices; no network.

Its authors mean it to be asked with the provider's and the model's names as the provider says
them, and with the time of the request, since prices change; it raises LookupError for what it
does not know. Such usage is unpriced (None): never zero, which would look like a price.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any

__all__ = ["price_usd"]

# The platforms of the plan, as the price list names who bills for them.
_BILLED_BY: Mapping[str, str] = {
    "claude_code": "anthropic",
    "openai_codex": "openai",
    "gemini_cli": "google",
}


def price_usd(
    *,
    provider: str,
    model: str | None,
    tokens_in: int | None,
    tokens_out: int | None,
    at: str | None = None,
) -> float | None:
    """Return what a request of that many tokens costs in USD, or None where no price is known.

    `at` is the time of the request, ISO 8601; prices of that time count (None, or no time: now).
    """
    if model is None or (tokens_in is None and tokens_out is None):
        return None
    list_ = _price_list()
    try:
        found = list_.calc_price(
            list_.Usage(input_tokens=tokens_in or 0, output_tokens=tokens_out or 0),
            model_ref=model,
            provider_id=_BILLED_BY.get(provider, provider),
            genai_request_timestamp=_time(at),
        )
    except (LookupError, ValueError):
        return None
    return float(found.total_price)


@functools.cache
def _price_list() -> Any:
    """Import the list where it is first needed: it takes a while, and most processes do not."""
    import genai_prices  # noqa: PLC0415

    return genai_prices


def _time(at: str | None) -> dt.datetime | None:
    try:
        found = dt.datetime.fromisoformat(at or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
