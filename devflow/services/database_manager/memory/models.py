"""Bodies about memory blocks and their embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from devflow.services.database_manager.vectors import Vector
from devflow.services.fields import Identifier, Json, Name, Shown, StrictBody, Text

__all__ = [
    "Block",
    "BlockChange",
    "BlockType",
    "Blocks",
    "Embedding",
    "Embeddings",
    "NewBlock",
    "NewEmbedding",
]

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
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Total = Annotated[int, Field(ge=0, description="how many there are, on all pages", examples=[1])]


class Relationship(StrictBody):
    """What a block has to do with another one."""

    block_id: Identifier = Field(examples=["block-6"])
    type: Name = Field(examples=["explains"])


class _Told(StrictBody):
    """What a client may tell of a block, whether it is new or there already."""

    metadata: Json = Field({}, examples=[{"file": "store.py"}])
    importance_score: Score = 0.5
    relationships: Annotated[list[Relationship], Field(max_length=100)] = Field([])


class NewBlock(_Told):
    """A block to be kept."""

    id: Identifier | None = Field(None, description="made up where nothing is said")
    task_id: Identifier = Field(examples=["task-7"])
    session_id: Identifier = Field(examples=["monday"])
    block_type: BlockType = Field(examples=["decision"])
    label: Annotated[Text, Field(min_length=1, examples=["One database"])]
    content: Text = Field(examples=["Everything is kept in devflow.sqlite, to be joined"])


class BlockChange(_Told):
    """What is to be changed of a block; what is left out stays."""

    block_type: BlockType = "context"
    label: Annotated[Text, Field(min_length=1)] = ""
    content: Text = Field("", examples=["Everything is kept in one file"])


class Block(Shown):
    """A memory block."""

    id: str = Field(examples=["block-7"])
    task_id: str = Field(examples=["task-7"])
    session_id: str = Field(examples=["monday"])
    block_type: str = Field(examples=["decision"])
    label: str = Field(examples=["One database"])
    content: str
    metadata: Json
    importance_score: float | None = Field(examples=[0.5])
    relationships: Json
    created_at: str | None = Field(examples=["2026-01-31 08:15:00"])
    updated_at: str | None
    last_accessed: str | None = Field(examples=["2026-01-31 08:15:00"])
    access_count: int | None = Field(examples=[1])


class Blocks(Shown):
    """A page of memory blocks."""

    items: list[Block]
    total: Total


class NewEmbedding(StrictBody):
    """A vector of a block's content."""

    id: Identifier | None = Field(None, description="made up where nothing is said")
    model: Name = Field(examples=["embeddinggemma"])
    embedding: Vector


class Embedding(Shown):
    """An embedding; the vector itself is shown only where it is asked for."""

    id: str
    block_id: str = Field(examples=["block-7"])
    model: str = Field(examples=["embeddinggemma"])
    dimensions: int | None = Field(examples=[3])
    embedding: list[float | None] | None = Field(None, examples=[[0.25, -1.0, 3.5]])
    created_at: str | None
    updated_at: str | None


class Embeddings(Shown):
    """A page of a block's embeddings."""

    items: list[Embedding]
    total: Total
