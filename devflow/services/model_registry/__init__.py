"""Model providers: their health, failover, statistics of requests; nothing of it is forgotten."""

from __future__ import annotations

from devflow.services.app import Service
from devflow.services.model_registry.api import router
from devflow.services.model_registry.background import running
from devflow.services.model_registry.legacy import router as legacy

__all__ = ["SERVICE"]

SERVICE = Service(
    name="model-registry",
    title="DevFlow Model Registry",
    description=(
        "Which model providers there are, which of them is well, which one to use, and how they"
        " did. It goes on after a restart where it was."
    ),
    routers=(legacy, router),
    tables=(
        "model_providers",
        "model_health_history",
        "failover_events",
        "provider_requests",
        "provider_performance_metrics",
        "platform_performance",
        "synthetic_usage",
    ),
    running=running,
)
