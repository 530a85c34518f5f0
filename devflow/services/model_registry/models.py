"""What the requests and responses of the model registry hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from devflow.services.costs.models import Day
from devflow.services.fields import Identifier, Integral, Name, Shown, StrictBody

__all__ = [
    "Active",
    "Analytics",
    "Check",
    "Checks",
    "Day",
    "Failover",
    "Failovers",
    "LegacyActive",
    "LegacyCheck",
    "LegacyProviders",
    "NewProvider",
    "NewRequest",
    "Provider",
    "ProviderChange",
    "Providers",
    "RequestShown",
    "Requests",
    "Round",
]

# An API without accounts must not make this machine call others: those are the operator's to name.
_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_LOOPBACK = rf"^https?://(127\.0\.0\.1|localhost)(:({_PORT}))?(/[A-Za-z0-9._~-]{{1,40}}){{0,4}}$"

_Url = Annotated[
    str, Field(pattern=_LOOPBACK, max_length=200, examples=["http://127.0.0.1:1234/v1"])
]
_HealthPath = Annotated[
    str, Field(pattern=r"^(/[A-Za-z0-9._~-]{0,40}){1,4}$", max_length=200, examples=["/models"])
]
_Position = Annotated[
    int, Field(ge=0, le=1_000, description="the lower, the better liked", examples=[2]), Integral
]
_Tokens = Annotated[int, Field(ge=0, le=10**9, examples=[1_200]), Integral]


# Providers ---------------------------------------------------------------------------------------


class NewProvider(StrictBody):
    """A provider on this machine; those elsewhere are named in the settings."""

    name: Identifier = Field(examples=["lmstudio"])
    base_url: _Url
    health_path: _HealthPath = "/"
    position: _Position = 100


class ProviderChange(StrictBody):
    """What to change of a provider; what is left out stays."""

    base_url: _Url | None = None
    health_path: _HealthPath | None = None
    position: _Position | None = None
    enabled: bool | None = None


class Provider(Shown):
    """A provider, and what its checks came to."""

    name: str = Field(examples=["ollama"])
    base_url: str | None = Field(examples=["http://127.0.0.1:11434"])
    health_path: str
    position: int
    enabled: bool
    configured_by: Literal["settings", "api"] | None = Field(
        description="null: known from the migrated log alone, and never called"
    )
    status: Literal["healthy", "unhealthy", "unknown"]
    active: bool
    consecutive_failures: int
    consecutive_successes: int
    first_seen: str | None
    last_checked: str | None


class Providers(Shown):
    """All providers, the preferred ones first."""

    items: list[Provider]


class Active(Shown):
    """The active provider, null where none is healthy."""

    active: str | None = Field(examples=["ollama"])


# Checks and failovers ----------------------------------------------------------------------------


class Check(Shown):
    """One health check; `from_log` tells one that was migrated."""

    provider: str
    healthy: bool
    error: str | None = Field(examples=["it answered 503"])
    checked_at: str | None
    duration_ms: float | None
    from_log: bool


class Checks(Shown):
    """A page of health checks, newest first."""

    items: list[Check]
    total: int


class Round(Shown):
    """What a round of checks found, in which every callable provider was asked."""

    checks: list[Check]
    active: str | None


class Failover(Shown):
    """A change of the active provider; null: none was healthy."""

    from_provider: str | None
    to_provider: str | None
    occurred_at: str | None
    reason: str | None = Field(examples=["ollama was unhealthy"])
    from_log: bool


class Failovers(Shown):
    """A page of failovers, newest first."""

    items: list[Failover]
    total: int


# Requests ----------------------------------------------------------------------------------------


class NewRequest(StrictBody):
    """One request that a client made to a provider."""

    id: Identifier | None = Field(
        None, description="makes a retry of this report count once", examples=["request-1"]
    )
    provider: Identifier = Field(examples=["ollama"])
    agent_type: Name = Field(examples=["reviewer"])
    model: Name | None = Field(None, examples=["gemma3"])
    success: bool = True
    error: Name | None = Field(None, examples=["timed out"])
    duration_ms: Annotated[int, Field(ge=0, le=10**10, examples=[840]), Integral]
    tokens_in: _Tokens | None = None
    tokens_out: _Tokens | None = None
    cost_usd: float | None = Field(
        None, ge=0, le=1_000, description="left out: looked up in the price list"
    )


class RequestShown(Shown):
    """A reported request, with what it cost as far as that is known."""

    id: str
    provider: str
    agent_type: str
    model: str | None
    success: bool
    error: str | None
    duration_ms: int
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    reported_at: str


class Requests(Shown):
    """A page of reported requests, newest first."""

    items: list[RequestShown]
    total: int


# Analytics ---------------------------------------------------------------------------------------


class Percentiles(Shown):
    """Durations in milliseconds that so many per cent did not exceed, 5 % wrong at most."""

    p50: float | None
    p90: float | None
    p99: float | None


class Figures(Shown):
    """Sums of checks and requests, and what follows from them."""

    checks: int
    healthy_checks: int
    availability: float | None = Field(description="the share of checks that were well")
    check_ms: Percentiles
    requests: int
    successful_requests: int
    success_rate: float | None
    request_ms: Percentiles
    tokens_in: int
    tokens_out: int
    cost_usd: float


class DayFigures(Figures):
    """The figures of one provider's day."""

    provider: str
    day: str


class Analytics(Shown):
    """A page of provider's days, newest first, and one sum over all days that were asked for."""

    items: list[DayFigures]
    total: int
    sum: Figures


# The old API -------------------------------------------------------------------------------------


class LegacyProvider(Shown):
    """A provider as the old registry showed it."""

    name: str
    url: str
    healthy: bool | None
    active: bool


class LegacyProviders(Shown):
    """The two providers that the old registry knew."""

    providers: list[LegacyProvider]


class LegacyActive(Shown):
    """The first provider whose last check was well."""

    active: str | None


class LegacyCheck(LegacyActive):
    """What each provider's check found."""

    ollama: bool
    synthetic: bool
