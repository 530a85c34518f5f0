"""Bodies of the old API: what it does not know in a request, it passes over."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from devflow.services.database_manager.vectors import Vector
from devflow.services.fields import Integral, Name, Shown, Text

__all__ = [
    "Deleted",
    "Embedding",
    "Embeddings",
    "Found",
    "Memories",
    "Memory",
    "NewEmbedding",
    "NewMemory",
    "NewSession",
    "NewTask",
    "NewUsage",
    "Session",
    "Sessions",
    "Task",
    "TaskChange",
    "Tasks",
    "Usage",
    "Usages",
]

Key = Annotated[str, Field(min_length=1, max_length=200, examples=["task-7"])]
Word = Annotated[str, Field(min_length=1, max_length=100)]
Moment = Annotated[str | None, Field(examples=["2026-01-31 08:15:00"])]
Iso = Annotated[str | None, Field(examples=["2026-01-31T08:15:00.123Z"])]
Total = Annotated[int, Field(ge=0, description="how many there are, on all pages", examples=[1])]
Whole = Annotated[int, Field(ge=-(10**15), le=10**15, strict=True), Integral]
Amount = int | float | str | None
"""A number; old rows may hold text where one is declared, and it is shown as it is."""


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Deleted(Shown):
    """The thing was there, and is gone."""

    deleted: bool = Field(examples=[True])


class NewTask(_Lenient):
    """A task to be made."""

    id: Key | None = None
    title: Annotated[Text, Field(min_length=1, examples=["Unify the databases"])]
    description: Text | None = None
    status: Word = Field("pending", examples=["pending", "in_progress"])
    priority: Word = Field("medium", examples=["high"])


class TaskChange(_Lenient):
    """What is to be changed of a task; what is left out stays."""

    title: Annotated[Text, Field(min_length=1)] = ""
    description: Text | None = None
    status: Word = Field("", examples=["done"])
    priority: Word = Field("", examples=["low"])


class Task(Shown):
    """A task, in the old words."""

    id: str | None = Field(examples=["task-7"])
    title: str | None = Field(examples=["Unify the databases"])
    description: str | None
    status: str | None = Field(examples=["in_progress"])
    priority: str | None = Field(examples=["high"])
    created_at: Moment
    updated_at: Moment


class Tasks(Shown):
    """A page of tasks, the newest first."""

    tasks: list[Task]
    total: Total


class NewMemory(_Lenient):
    """A piece of memory to be kept."""

    id: Key | None = None
    content: Text = Field(examples=["The unified database is devflow.sqlite"])
    type: Annotated[Text, Field(min_length=1, examples=["decision", "note"])]
    timestamp: Annotated[str, Field(max_length=100)] | None = Field(
        None, examples=["2026-01-31T08:15:00.123Z"], description="now, where nothing is said"
    )


class Memory(Shown):
    """A piece of memory."""

    id: str | None = Field(examples=["memory-7"])
    content: str | None = Field(examples=["The unified database is devflow.sqlite"])
    type: str | None = Field(examples=["decision"])
    timestamp: Iso


class Memories(Shown):
    """A page of memory, the newest first."""

    memories: list[Memory]
    total: Total


class Found(Shown):
    """The pieces of memory that hold the words, the newest first."""

    results: list[Memory]


class NewEmbedding(_Lenient):
    """A vector for a piece of memory, made by somebody else."""

    model_id: Annotated[Text, Field(min_length=1, examples=["gemma-7b-embedding"])]
    embedding: Vector


class Embedding(Shown):
    """Which model made a vector, and of what length; the vector itself stays in the database."""

    id: str | None
    memory_block_id: str | None = Field(examples=["memory-7"])
    model_id: str | None = Field(examples=["gemma-7b-embedding"])
    dimensions: Amount = Field(examples=[768])
    created_at: Moment


class Embeddings(Shown):
    """The vectors of one piece of memory."""

    embeddings: list[Embedding]


class NewUsage(_Lenient):
    """A request that was made to a provider."""

    id: Key | None = None
    provider: Annotated[Name, Field(examples=["synthetic"])]
    agent_type: Annotated[Name, Field(examples=["coder"])]
    model: Annotated[str, Field(max_length=200)] | None = None
    duration_ms: Whole = Field(examples=[1_200])
    tokens_in: Whole | None = None
    tokens_out: Whole | None = None
    cost_usd: Annotated[float, Field(allow_inf_nan=False, strict=True)] | None = None


class Usage(Shown):
    """A recorded request to a provider."""

    id: str | None
    provider: str | None = Field(examples=["synthetic"])
    agent_type: str | None = Field(examples=["coder"])
    model: str | None
    duration_ms: Amount = Field(examples=[1_200])
    tokens_in: Amount
    tokens_out: Amount
    cost_usd: Amount
    created_at: Iso


class Usages(Shown):
    """A page of usage, the newest first."""

    usage: list[Usage]
    total: Total


class NewSession(_Lenient):
    """A session to be remembered."""

    id: Key | None = None
    name: Annotated[Text, Field(min_length=1, examples=["Monday"])]
    context: Text | None = None
    metadata: Text | None = None


class Session(Shown):
    """A session."""

    id: str | None
    name: str | None = Field(examples=["Monday"])
    context: str | None
    metadata: str | None
    created_at: Iso
    updated_at: Iso


class Sessions(Shown):
    """A page of sessions, the last changed first."""

    sessions: list[Session]
    total: Total
