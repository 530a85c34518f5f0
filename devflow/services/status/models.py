"""What the status service shows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from devflow.services.fields import Shown
from devflow.services.routing.models import PlatformShown

__all__ = ["Overview", "ServiceShown"]


class ServiceShown(Shown):
    """One service: `down` where it does not answer, `failing` where it says what it lacks."""

    name: str = Field(examples=["costs"])
    port: int = Field(examples=[8086])
    status: Literal["ok", "failing", "down"]
    detail: str = Field(description="what is wrong, empty where nothing is", examples=[""])
    answered_ms: float | None = Field(description="how long its health took", examples=[3.1])


class Counted(Shown):
    """How many rows there are of something."""

    what: str = Field(examples=["memory blocks"])
    rows: int = Field(examples=[1_204])


class DatabaseShown(Shown):
    """The one database: its file, sizes in bytes, and rows."""

    path: str = Field(examples=["devflow.sqlite"])
    bytes: int = Field(examples=[8_433_664])
    free_bytes: int = Field(description="in pages that hold nothing", examples=[4_096])
    wal_bytes: int = Field(description="size of the write-ahead log", examples=[0])
    rows: list[Counted]


class DayShown(Shown):
    """What one day cost, UTC."""

    date: str = Field(examples=["2026-01-31"])
    cost_usd: float = Field(examples=[0.42])
    requests: int = Field(examples=[17])


class BudgetShown(Shown):
    """Where a budget stands in its present period."""

    name: str = Field(examples=["claude by day"])
    period: str = Field(examples=["day"])
    platform: str | None
    spent_usd: float = Field(examples=[0.42])
    limit_usd: float = Field(examples=[5.0])
    percent: float = Field(examples=[8.4])


class CostsShown(Shown):
    """What was spent in the day, week and month of today (UTC), and the days of the last 30."""

    day_usd: float = Field(examples=[0.42])
    week_usd: float = Field(examples=[2.1])
    month_usd: float = Field(examples=[9.7])
    by_day: list[DayShown] = Field(description="days with requests, oldest first")
    budgets: list[BudgetShown]
    alerts_unseen: int = Field(examples=[0])


class ProviderShown(Shown):
    """A model provider, as the registry found it last."""

    name: str = Field(examples=["ollama"])
    status: str = Field(examples=["healthy"])
    active: bool
    enabled: bool
    last_checked: str | None = Field(examples=["2026-01-31T08:15:00.000Z"])


class DecisionShown(Shown):
    """A decision of the routing; `success` is null while it is open."""

    id: str = Field(examples=["decision-1"])
    platform: str = Field(examples=["claude_code"])
    capability_domain: str = Field(examples=["implementation"])
    task_type: str = Field(examples=["bulk_coding"])
    decided_at: str = Field(examples=["2026-01-31T08:15:00.000Z"])
    success: bool | None


class RoutingShown(Shown):
    """The platforms, and the latest decisions, newest first."""

    platforms: list[PlatformShown]
    latest: list[DecisionShown]


class MigrationShown(Shown):
    """The last migration, and what its steps counted: rows by rule, objects, lines of the log."""

    schema_version: str | None = Field(examples=["2.0.0"])
    applied_at: str | None = Field(examples=["2026-01-31 08:15:00"])
    steps: int = Field(examples=[41])
    counts: list[Counted]


class Overview(Shown):
    """The unified system as it is now; `ok` where every service is and the database answers."""

    status: Literal["ok", "failing"]
    at: str = Field(examples=["2026-01-31T08:15:00.000Z"])
    services: list[ServiceShown]
    database: DatabaseShown
    costs: CostsShown
    providers: list[ProviderShown]
    routing: RoutingShown
    migration: MigrationShown
