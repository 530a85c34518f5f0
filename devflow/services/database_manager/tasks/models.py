"""Bodies about tasks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from devflow.services.fields import Identifier, Integral, Json, Name, Shown, StrictBody, Text

__all__ = [
    "Dependencies",
    "Lifecycle",
    "NewTask",
    "Placed",
    "Platform",
    "Priority",
    "State",
    "Status",
    "Subtree",
    "Task",
    "TaskChange",
    "Tasks",
]

Status = Literal["planning", "active", "blocked", "completed", "archived"]
Priority = Literal["h-", "m-", "l-", "?-"]
Platform = Literal["claude_code", "openai_codex", "gemini_cli", "cursor"]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Names = Annotated[list[Name], Field(max_length=100)]
Needed = Annotated[list[Identifier], Field(max_length=100, examples=[["task-6"]])]
Total = Annotated[int, Field(ge=0, description="how many there are, on all pages", examples=[1])]


class _Told(StrictBody):
    """What a client may tell of a task, whether it is new or there already."""

    description: Text | None = None
    priority: Priority = Field("m-", description="high, medium, low, unknown")
    complexity_score: Score | None = None
    estimated_duration_minutes: Annotated[int, Field(ge=0, le=10**9), Integral] | None = None
    required_capabilities: Names | None = Field(None, examples=[["python", "sqlite"]])
    primary_platform: Platform | None = None
    platform_routing: Json = None
    architectural_context: Json = Field(None, examples=[{"database": "SQLite"}])
    implementation_context: Json = None
    debugging_context: Json = None
    maintenance_context: Json = None
    cc_session_id: Name | None = None
    cc_task_file: Text | None = None
    branch_name: Text | None = Field(None, examples=["unify"])
    parent_task_id: Identifier | None = Field(None, description="the task that this is a part of")
    depends_on: Needed = Field([], description="the tasks that have to be done before this one")


class NewTask(_Told):
    """A task to be made."""

    id: Identifier | None = Field(None, description="made up where nothing is said")
    title: Annotated[Text, Field(min_length=1, examples=["Unify the databases"])]
    status: Status = "planning"


class TaskChange(_Told):
    """What is to be changed of a task; what is left out stays. Its state has a call of its own."""

    title: Annotated[Text, Field(min_length=1)] = Field("", examples=["Unify all databases"])


class State(StrictBody):
    """The state that a task is to enter."""

    status: Status = Field(examples=["active"])


class Dependencies(StrictBody):
    """All tasks that have to be done before this one."""

    depends_on: Needed


class Task(Shown):
    """A task."""

    id: str = Field(examples=["task-7"])
    title: str = Field(examples=["Unify the databases"])
    description: str | None
    priority: str = Field(examples=["m-"])
    status: str | None = Field(examples=["planning"])
    complexity_score: float | None
    estimated_duration_minutes: int | None
    required_capabilities: Json
    primary_platform: str | None
    platform_routing: Json
    architectural_context: Json
    implementation_context: Json
    debugging_context: Json
    maintenance_context: Json
    cc_session_id: str | None
    cc_task_file: str | None
    branch_name: str | None
    parent_task_id: str | None
    depends_on: list[str] = Field(examples=[["task-6"]])
    created_at: str | None = Field(examples=["2026-01-31 08:15:00"])
    updated_at: str | None = Field(examples=["2026-01-31 08:15:00"])
    completed_at: str | None


class Tasks(Shown):
    """A page of tasks."""

    items: list[Task]
    total: Total


class Placed(Task):
    """A task within a subtree."""

    depth: int = Field(ge=0, description="steps from the subtree's own task", examples=[1])


class Subtree(Shown):
    """A page of a subtree, level by level."""

    items: list[Placed]
    total: Total


class Lifecycle(Shown):
    """The states of a task."""

    moves: dict[str, list[str]] = Field(
        description="the states that each may be followed by",
        examples=[{"planning": ["active", "blocked", "archived"]}],
    )
    free: list[str] = Field(
        description="the states that only a task without open dependencies can enter",
        examples=[["active", "completed"]],
    )
    closed: list[str] = Field(
        description="the states in which a task keeps no other waiting",
        examples=[["completed", "archived"]],
    )
