"""What providers cost: usage as it happens, sums by day, budgets, and advice on retries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devflow.services.app import Service
from devflow.services.costs.api import router
from devflow.services.costs.opening import ensure_opened
from devflow.services.settings import Settings
from devflow.services.store import Store

__all__ = ["SERVICE"]


@asynccontextmanager
async def _opened(store: Store, _: Settings) -> AsyncIterator[None]:
    await store.write(ensure_opened)
    yield


SERVICE = Service(
    name="costs",
    title="DevFlow costs",
    description=(
        "Usage of providers, the sums of it by day, platform and model, budgets with alerts, and"
        " advice on whether a retry is affordable."
    ),
    routers=(router,),
    tables=("synthetic_usage", "cost_analytics", "cost_sums", "cost_budgets", "cost_alerts"),
    running=_opened,
)
