"""Routing: which platform should do a task, why, and what is learned from how it went."""

from __future__ import annotations

from devflow.services.app import Service
from devflow.services.routing.api import router

__all__ = ["SERVICE"]

SERVICE = Service(
    name="routing",
    title="DevFlow Routing",
    description=(
        "Chooses a platform for a task by what is believed of its success, by cost, time and load,"
        " trying what is little known; leaves out what the registry finds unhealthy; learns from"
        " each outcome; tells of each decision why it was made."
    ),
    routers=(router,),
    tables=(
        "platform_performance",
        "platform_providers",
        "model_providers",
        "routing_beliefs",
        "routing_decisions",
    ),
)
