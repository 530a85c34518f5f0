"""What the requests and responses of `/v2/` hold."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from devflow.services.fields import Body, Identifier, Json, Name, Shown, Text
from devflow.services.vector_memory.fields import Most, Number, Vector

BlockType = Literal[
    "architectural",
    "implementation",
    "debugging",
    "maintenance",
    "context",
    "decision",
    "emergency_context",
    "context_snapshot",
]
EntityType = Literal["person", "technology", "pattern", "antipattern", "rule", "preference"]
Which = Literal["configured", "lexical"]

_WHICH = (
    "who makes the vector: what the service is configured for, or `lexical`, the built-in hashing"
    " of words"
)


class GivenVector(Body):
    """A vector that the client made, and the model that made it."""

    model: Name = Field(examples=["my-model"])
    values: Vector


class NewMemory(Body):
    """A text to remember, with a vector of its own or one that the service makes."""

    id: Identifier | None = Field(None, examples=["mem-1"])
    task_id: Identifier | None = Field(
        None, description="the task that it belongs to; none: the one of imported vector memories"
    )
    session_id: Name = Field("vector-memory", examples=["planning-7"])
    block_type: BlockType = Field("context", examples=["decision"])
    label: Name | None = Field(None, description="none: how the content begins")
    content: Text = Field(min_length=1, examples=["Sessions are kept in one SQLite database"])
    metadata: dict[str, Json] = Field(default_factory=dict, examples=[{"source": "planning"}])
    importance_score: Number = Field(0.5, ge=0, le=1, examples=[0.7])
    embedder: Which = Field("configured", description=_WHICH)
    vector: GivenVector | None = Field(None, description="none: the embedder makes one")


class NewEmbedding(Body):
    """One more vector of something: given, or made by an embedder."""

    embedder: Which = Field("configured", description=_WHICH)
    vector: GivenVector | None = Field(None, description="none: the embedder makes one")


class Embedding(Shown):
    """A vector of a memory, without its values."""

    id: str = Field(examples=["1f0c2f9be0a94d3ab8ee0d3e3d1f9a11"])
    block_id: str | None = Field(examples=["mem-1"])
    model: str = Field(examples=["lexical-hash-768"])
    dimensions: int | None = Field(examples=[768])
    lexical: bool = Field(description="whether it tells of shared words only, not of meaning")
    created_at: str | None = Field(examples=["2026-01-31 08:15:00"])


class EmbeddingWithValues(Embedding):
    """A vector of a memory with its values; null where what is stored is no vector."""

    values: list[float | None] | None


class EntityEmbedding(Shown):
    """A vector of a knowledge entity, without its values."""

    id: str = Field(examples=["5d1d3f6a7c0c4a3f8f0c2f9be0a94d3a"])
    entity_id: str | None = Field(examples=["entity-sqlite"])
    model: str = Field(examples=["lexical-hash-768"])
    dimensions: int | None = Field(examples=[768])
    lexical: bool = Field(description="whether it tells of shared words only, not of meaning")
    created_at: str | None = Field(examples=["2026-01-31 08:15:00"])


class Memory(Shown):
    """A memory block."""

    id: str = Field(examples=["mem-1"])
    task_id: str = Field(examples=["vector-import"])
    session_id: str = Field(examples=["vector-memory"])
    block_type: str = Field(examples=["decision"])
    label: str = Field(examples=["Sessions are kept in one SQLite database"])
    content: str = Field(examples=["Sessions are kept in one SQLite database"])
    metadata: Any = Field(examples=[{"source": "planning"}])
    importance_score: float | None = Field(examples=[0.7])
    created_at: str | None = Field(examples=["2026-01-31 08:15:00"])
    updated_at: str | None = Field(examples=[None])


class MemoryWithEmbeddings(Memory):
    """A memory block and its vectors."""

    embeddings: list[Embedding]


class Memories(Shown):
    """A page of memories, the latest first."""

    items: list[Memory]
    total: int = Field(examples=[1])


class Embeddings(Shown):
    """The vectors of one memory, the oldest first."""

    items: list[Embedding]
    total: int = Field(examples=[1])


class EntityEmbeddings(Shown):
    """The vectors of one knowledge entity, the oldest first."""

    items: list[EntityEmbedding]
    total: int = Field(examples=[1])


# Searching ---------------------------------------------------------------------------------------


class NearText(Body):
    """A text, of which an embedder makes the vector; compared with vectors of the same model."""

    text: Text = Field(min_length=1, examples=["where do sessions live"])
    embedder: Which = Field("configured", description=_WHICH)


class NearVector(Body):
    """A vector; compared with those of `model`, or where none is named, all of its dimensions."""

    values: Vector
    model: Name | None = Field(None, examples=["my-model"])


Near = NearText | NearVector


class _Search(Body):
    limit: Most = 10
    task_id: Identifier | None = Field(None, description="memories of this task only")
    session_id: Name | None = Field(None, description="memories of this session only")
    block_type: BlockType | None = Field(None, description="memories of this type only")


class TextSearch(_Search):
    """Words to look for: memories with any of them, the best by BM25 first."""

    text: Text = Field(min_length=1, examples=["sessions database"])


class VectorSearch(_Search):
    """What memories should be near to."""

    near: Near = Field(examples=[{"text": "where do sessions live"}])


class HybridSearch(_Search):
    """Words to look for, and what memories should be near to: the words, if nothing is said."""

    text: Text = Field(min_length=1, examples=["sessions database"])
    near: Near | None = Field(None, examples=[{"text": "where do sessions live"}])


class EntitySearch(Body):
    """What knowledge entities should be near to."""

    near: Near = Field(examples=[{"text": "databases"}])
    entity_type: EntityType | None = None
    limit: Most = 10


class Result(Shown):
    """A memory that was found, and why it is where it is."""

    memory: Memory
    score: float = Field(
        examples=[0.0325],
        description="what the order follows: BM25, the cosine, or the fused ranks",
    )
    text_rank: int | None = Field(None, examples=[1], description="its place by words")
    text_score: float | None = Field(None, examples=[7.31], description="BM25; more is better")
    vector_rank: int | None = Field(None, examples=[2], description="its place by nearness")
    similarity: float | None = Field(None, examples=[0.4635], description="the cosine")


class Results(Shown):
    """Memories that were found, the best first, and how they were looked for."""

    mode: str = Field(examples=["hybrid"], pattern="^(text|vector|hybrid)$")
    model: str | None = Field(
        examples=["lexical-hash-768"], description="whose vectors are compared"
    )
    dimensions: int | None = Field(examples=[768])
    lexical: bool | None = Field(
        examples=[True], description="whether nearness tells of shared words only, not of meaning"
    )
    rrf_k: int | None = Field(
        examples=[60], description="each list adds 1 / (rrf_k + rank) to the score of a result"
    )
    results: list[Result]


class Entity(Shown):
    """A knowledge entity."""

    id: str = Field(examples=["entity-sqlite"])
    entity_type: str | None = Field(examples=["technology"])
    name: str | None = Field(examples=["SQLite"])
    description: str | None = Field(examples=["an embedded database"])
    confidence_score: float | None = Field(examples=[0.8])


class EntityResult(Shown):
    """A knowledge entity that is near."""

    entity: Entity
    similarity: float = Field(examples=[0.52])


class EntityResults(Shown):
    """Knowledge entities that are near, the nearest first."""

    model: str | None = Field(
        examples=["lexical-hash-768"], description="whose vectors are compared"
    )
    dimensions: int = Field(examples=[768])
    lexical: bool | None = Field(
        examples=[True], description="whether nearness tells of shared words only, not of meaning"
    )
    results: list[EntityResult]


# What there is -----------------------------------------------------------------------------------


class Model(Shown):
    """A model whose vectors are stored here, of one size."""

    model: str = Field(examples=["lexical-hash-768"])
    dimensions: int | None = Field(examples=[768])
    memories: int = Field(examples=[1204], description="vectors of memories")
    entities: int = Field(examples=[17], description="vectors of knowledge entities")
    lexical: bool = Field(description="whether it tells of shared words only, not of meaning")


class Models(Shown):
    """The models whose vectors are stored here."""

    items: list[Model]
    total: int = Field(examples=[1])


class EmbedderShown(Shown):
    """Who makes vectors now, and what is known of the provider."""

    configured: Literal["auto", "lexical", "ollama"] = Field(examples=["auto"])
    provider: Literal["lexical", "ollama"] = Field(examples=["lexical"])
    model: str = Field(examples=["lexical-hash-768"])
    dimensions: int = Field(examples=[768])
    semantic: bool = Field(description="whether texts of like meaning are near each other")
    about: str = Field(examples=["hashes words and their pieces: lexical, not semantic"])
    ollama_reachable: bool | None = Field(examples=[False])
    ollama_problem: str | None = Field(
        examples=["Ollama at http://127.0.0.1:11434 cannot be reached: all attempts failed"]
    )
    ollama_checked_at: str | None = Field(examples=["2026-01-31T08:15:00.123Z"])


class IndexShown(Shown):
    """What of the memories' vectors is held in memory as codes."""

    vectors: int = Field(examples=[1204])
    upto: int = Field(examples=[1230], description="the last embedding's seq that it covers")
    version: int = Field(examples=[3], description="the last change's seq that it knows")
