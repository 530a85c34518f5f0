"""Vector Memory: texts with their vectors, searched by words, by nearness, or by both."""

from __future__ import annotations

from devflow.services.app import Service
from devflow.services.vector_memory import api, legacy_api
from devflow.services.vector_memory.fields import running

__all__ = ["SERVICE"]

SERVICE = Service(
    name="vector-memory",
    title="Vector Memory",
    description=(
        "Stores texts with their embeddings and finds them by words, by nearness, or by both."
        " Paths without `/v2/` are the legacy API."
    ),
    routers=(legacy_api.router, api.router),
    tables=(
        "memory_blocks",
        "memory_block_embeddings",
        "memory_embedding_changes",
        "memory_fts",
        "knowledge_entities",
        "knowledge_entity_embeddings",
        "task_contexts",
        "origin_vector_vector_memories",
    ),
    running=running,
)
