"""Knowledge: what memory blocks tell of, how it belongs together, and how far it is believed."""

from __future__ import annotations

from devflow.services.app import Service
from devflow.services.knowledge.api import router
from devflow.services.knowledge.background import running

__all__ = ["SERVICE"]

SERVICE = Service(
    name="knowledge",
    title="DevFlow Knowledge",
    description=(
        "Learns of memory blocks which technologies, patterns, rules and preferences they tell of,"
        " and which of these belong together; what is personal is masked first. Feedback moves how"
        " far each is believed. Nothing leaves the machine."
    ),
    routers=(router,),
    tables=(
        "memory_blocks",
        "knowledge_entities",
        "entity_relationships",
        "knowledge_learned",
        "knowledge_mentions",
        "knowledge_pairs",
        "knowledge_feedback",
    ),
    running=running,
)
