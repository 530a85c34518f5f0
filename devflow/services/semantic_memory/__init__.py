"""Semantic Memory: the memory and knowledge that a task needs, within a budget of tokens."""

from __future__ import annotations

from devflow.services.app import Service
from devflow.services.semantic_memory.api import router
from devflow.services.vector_memory.fields import running

__all__ = ["SERVICE"]

SERVICE = Service(
    name="semantic-memory",
    title="DevFlow Semantic Memory",
    description=(
        "Gathers the context of a task: blocks of its own, of what it is a part of and of what it"
        " depends on, memory and knowledge with its words, and memory near to it; chosen by value"
        " a token, without saying the same twice, and never more than the budget."
    ),
    routers=(router,),
    tables=(
        "task_contexts",
        "memory_blocks",
        "memory_block_embeddings",
        "memory_embedding_changes",
        "memory_fts",
        "knowledge_entities",
        "knowledge_entities_fts",
    ),
    running=running,
)
