"""What the requests and responses of the costs service hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from devflow.services.fields import WHOLE_MAX, Identifier, Integral, Name, Shown, StrictBody

__all__ = [
    "Advice",
    "Alert",
    "Alerts",
    "Analytics",
    "Budget",
    "BudgetChange",
    "BudgetLeft",
    "Budgets",
    "Day",
    "NewBudget",
    "NewUsage",
    "Sums",
    "SumsOf",
    "UsageFilter",
    "UsageShown",
    "Usages",
]

_YEAR = "(?:19|2[0-9])[0-9]{2}"
_LEAP = "(?:(?:19|2[0-9])(?:0[48]|[2468][048]|[13579][26])|2[048]00)"
_MONTHS = "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
_DATE = f"(?:{_YEAR}-(?:{_MONTHS}|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"

Day = Annotated[str, Field(pattern=f"^{_DATE}$", examples=["2026-01-31"])]
_Moment = Annotated[str, Field(pattern=f"^{_DATE}T{_TIME}Z$", examples=["2026-01-31T08:15:00Z"])]
_Tokens = Annotated[int, Field(ge=0, le=10**9, examples=[1_200]), Integral]
_Limit = Annotated[float, Field(ge=1e-9, le=1e9, examples=[25.0])]


# Usage -------------------------------------------------------------------------------------------


class NewUsage(StrictBody):
    """One request to a provider, as it is recorded."""

    id: Identifier | None = Field(
        None, description="makes a retry of this call count once", examples=["usage-1"]
    )
    provider: Name = Field(examples=["anthropic"])
    agent_type: Name = Field(examples=["reviewer"])
    model: Name | None = Field(None, examples=["claude-sonnet-4-5"])
    duration_ms: Annotated[int, Field(ge=0, le=10**10, examples=[2_300]), Integral] = 0
    tokens_in: _Tokens | None = None
    tokens_out: _Tokens | None = None
    cost_usd: float | None = Field(
        None,
        ge=0,
        le=1_000,
        description="left out: looked up in the price list; unknown there: unpriced",
        examples=[0.0123],
    )
    created_at: _Moment | None = Field(None, description="left out: now")


class UsageFilter(BaseModel):
    """Which recorded requests to list; days are both included."""

    provider: Name | None = None
    agent_type: Name | None = None
    model: Name | None = None
    since: Day | None = None
    until: Day | None = None
    priced: Literal["yes", "no"] | None = None
    limit: int = Field(50, ge=1, le=500)
    offset: int = Field(0, ge=0, le=WHOLE_MAX)


class UsageShown(Shown):
    """A recorded request; `cost_usd` null is unpriced, which is not free."""

    id: str = Field(examples=["usage-1"])
    provider: str = Field(examples=["anthropic"])
    agent_type: str = Field(examples=["reviewer"])
    model: str | None = Field(examples=["claude-sonnet-4-5"])
    duration_ms: int | None = Field(examples=[2_300])
    tokens_in: int | None = Field(examples=[1_200])
    tokens_out: int | None = Field(examples=[300])
    cost_usd: float | None = Field(examples=[0.0081])
    created_at: str = Field(examples=["2026-01-31T08:15:00.000Z"])


class Usages(Shown):
    """Recorded requests, newest first; `total` counts all that fit the filter."""

    items: list[UsageShown]
    total: int


# Sums --------------------------------------------------------------------------------------------


class Sums(Shown):
    """Sums of requests, opening balances included; costs are those of priced requests."""

    requests: int = Field(examples=[12])
    tokens: int = Field(examples=[18_000])
    input_tokens: int = Field(examples=[14_400])
    output_tokens: int = Field(examples=[3_600])
    cost_usd: float = Field(examples=[0.0972])
    unpriced: int = Field(description="recorded requests without a cost", examples=[0])
    average_tokens_per_request: float | None = Field(examples=[1500.0])
    cost_per_token: float | None = Field(examples=[5.4e-06])


class SumsOf(Sums):
    """The sums of one group; what it is not grouped by is null."""

    date: str | None = Field(examples=["2026-01-31"])
    platform: str | None = Field(examples=["anthropic"])
    model: str | None = Field(examples=["claude-sonnet-4-5"])


class Analytics(Shown):
    """The groups of one page, the number of groups, and the sums of all of them."""

    items: list[SumsOf]
    total: int
    totals: Sums


# Budgets -----------------------------------------------------------------------------------------


class NewBudget(StrictBody):
    """A limit for a period, of one platform or of all."""

    id: Identifier | None = Field(None, examples=["budget-1"])
    name: Name = Field(examples=["Reviews"])
    period: Literal["day", "week", "month"] = Field(examples=["month"])
    platform: Name | None = Field(
        None, description="null: all platforms together", examples=["anthropic"]
    )
    limit_usd: _Limit


class BudgetChange(StrictBody):
    """What is to change about a budget; alerts that were raised stay."""

    name: Name | None = Field(None, examples=["Reviews and tests"])
    limit_usd: _Limit | None = None


class Budget(Shown):
    """A budget, and where it stands in the period that holds today (UTC)."""

    id: str = Field(examples=["budget-1"])
    name: str = Field(examples=["Reviews"])
    period: str = Field(examples=["month"])
    platform: str | None = Field(examples=["anthropic"])
    limit_usd: float = Field(examples=[25.0])
    period_start: str = Field(examples=["2026-01-01"])
    period_end: str = Field(description="the first day after", examples=["2026-02-01"])
    spent_usd: float = Field(examples=[13.5])
    left_usd: float = Field(description="negative where more was spent", examples=[11.5])
    percent: float = Field(examples=[54.0])
    reached_percent: int = Field(
        description="the highest threshold reached: 0, 50, 80, 90 or 100", examples=[50]
    )
    created_at: str
    updated_at: str


class Budgets(Shown):
    """Budgets in the order of their creation."""

    items: list[Budget]
    total: int


class Alert(Shown):
    """A threshold that a budget reached in a period: raised once."""

    id: str = Field(examples=["5d1c7a2e9f304b6a8e21c0d4b7f6a935"])
    budget_id: str = Field(examples=["budget-1"])
    period_start: str = Field(examples=["2026-01-01"])
    threshold_percent: int = Field(examples=[80])
    spent_usd: float = Field(description="when it was raised", examples=[20.1])
    limit_usd: float = Field(description="when it was raised", examples=[25.0])
    usage_id: str | None = Field(
        description="the request that reached it; null: a new or changed budget did",
        examples=["usage-1"],
    )
    raised_at: str
    acknowledged_at: str | None


class Alerts(Shown):
    """Alerts, newest first."""

    items: list[Alert]
    total: int


# Advice ------------------------------------------------------------------------------------------


class BudgetLeft(Shown):
    """What a budget leaves for a retry."""

    id: str = Field(examples=["budget-1"])
    name: str = Field(examples=["Reviews"])
    left_usd: float = Field(examples=[11.5])
    enough: bool | None = Field(description="null where the cost is unknown")
    period_end: str = Field(examples=["2026-02-01"])


class Advice(Shown):
    """Whether to retry now, and why."""

    advice: str = Field(
        description="retry; wait: a budget has too little left, until `wait_until`; stop: it is"
        " not worth it, or no period affords it; unknown: nothing tells what it costs",
        pattern="^(retry|wait|stop|unknown)$",
        examples=["retry"],
    )
    affordable: bool | None = Field(description="null where the cost is unknown")
    wait_until: str | None = Field(examples=["2026-02-01"])
    expected_cost_usd: float | None = Field(examples=[0.0081])
    highest_cost_usd: float | None = Field(examples=[0.0154])
    based_on: str = Field(examples=["50 recent requests of reviewer with claude-sonnet-4-5"])
    success_probability: float = Field(ge=0, le=1, examples=[0.75])
    expected_cost_per_success_usd: float | None = Field(examples=[0.0108])
    budgets: list[BudgetLeft]
    reasons: list[str] = Field(examples=[["every budget has enough left for it"]])
