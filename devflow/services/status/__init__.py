"""Status: how all of it is, on one page and as JSON."""

from __future__ import annotations

from devflow.services.app import Service
from devflow.services.status.api import router, running

__all__ = ["SERVICE"]

SERVICE = Service(
    name="status",
    title="DevFlow Status",
    description=(
        "Shows the unified system as it is now: which services answer, what the database holds and"
        " how large it is, what was spent, where tasks were routed to, and the last migration."
    ),
    routers=(router,),
    tables=(
        "schema_versions",
        "migration_steps",
        "task_contexts",
        "memory_blocks",
        "cost_sums",
        "cost_budgets",
        "model_providers",
        "routing_decisions",
    ),
    running=running,
)
