"""Bodies about sessions and coordination sessions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from devflow.services.fields import Identifier, Integral, Json, Name, Shown, StrictBody, Text

__all__ = [
    "Audit",
    "CoordinationSession",
    "CoordinationSessions",
    "End",
    "HandedOff",
    "Handoff",
    "NewCoordinationSession",
    "NewSession",
    "Platform",
    "Session",
    "SessionChange",
    "SessionStatus",
    "Sessions",
    "Update",
]

Platform = Literal["claude_code", "openai_codex", "gemini_cli", "cursor", "openrouter"]
SessionType = Literal["development", "review", "debugging", "handoff", "planning"]
SessionStatus = Literal["active", "completed", "failed", "handed_off"]
Count = Annotated[int, Field(ge=0, le=10**12), Integral]
Total = Annotated[int, Field(ge=0, description="how many there are, on all pages", examples=[1])]
Satisfaction = Annotated[int, Field(ge=1, le=5), Integral]
Progress = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Cost = Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]


class NewSession(StrictBody):
    """A session to be remembered."""

    id: Identifier | None = Field(None, description="made up where nothing is said")
    name: Annotated[Text, Field(min_length=1, examples=["Monday"])]
    context: Text | None = None
    metadata: Json = Field(None, examples=[{"branch": "unify"}])


class SessionChange(StrictBody):
    """What is to be changed of a session; what is left out stays."""

    name: Annotated[Text, Field(min_length=1)] = Field("", examples=["Tuesday"])
    context: Text | None = None
    metadata: Json = None


class Session(Shown):
    """A session."""

    id: str
    name: str = Field(examples=["Monday"])
    context: str | None
    metadata: Json
    created_at: str | None = Field(examples=["2026-01-31T08:15:00.123Z"])
    updated_at: str | None = Field(examples=["2026-01-31T08:15:00.123Z"])


class Sessions(Shown):
    """A page of sessions."""

    items: list[Session]
    total: Total


class UsageReport(StrictBody):
    """What a session has used since it told last; recorded with it, once an `id`."""

    id: Identifier | None = Field(None, description="told again, it does not count again")
    model: Name | None = Field(None, description="the session's, where nothing is said")
    duration_ms: Count = 0
    tokens_in: Count = Field(0, examples=[1_200])
    tokens_out: Count = Field(0, examples=[300])
    cost_usd: Cost | None = Field(None, description="by the price list, where nothing is said")


class _Told(StrictBody):
    """What a client may tell of a session while it runs."""

    model_used: Name | None = Field(None, examples=["claude-sonnet-4-5"])
    context_size_start: Count | None = None
    context_size_end: Count | None = None
    compaction_events: Count = 0
    errors_encountered: Count = 0
    task_progress_delta: Progress = 0.0
    user_satisfaction: Satisfaction | None = None
    metadata: Json = Field({}, examples=[{"host": "laptop"}])


class NewCoordinationSession(StrictBody):
    """A session on a platform that begins to work on a task."""

    id: Identifier | None = Field(None, description="made up where nothing is said")
    task_id: Identifier = Field(examples=["task-7"])
    platform: Platform = Field(examples=["claude_code"])
    session_type: SessionType = "development"
    model_used: Name | None = Field(None, examples=["claude-sonnet-4-5"])
    context_size_start: Count | None = None
    metadata: Json = Field({})


class Update(_Told):
    """What is new of a running session; what is left out stays."""

    usage: UsageReport | None = None


class End(_Told):
    """How a session ended."""

    outcome: Literal["completed", "failed"] = "completed"
    usage: UsageReport | None = None


class Handoff(StrictBody):
    """Who goes on with the task, and what he has to know."""

    id: Identifier | None = Field(None, description="of the session that begins")
    platform: Platform = Field(examples=["openai_codex"])
    session_type: SessionType = "handoff"
    model_used: Name | None = None
    handoff_context: Json = Field(examples=[{"done": "the schema", "next": "the services"}])
    context_size_end: Count | None = Field(None, description="of the session that ends")
    context_size_start: Count | None = Field(None, description="of the session that begins")
    usage: UsageReport | None = Field(None, description="of the session that ends")


class CoordinationSession(Shown):
    """A session on a platform that works on a task."""

    id: str = Field(examples=["session-7"])
    task_id: str = Field(examples=["task-7"])
    platform: str = Field(examples=["claude_code"])
    session_type: str | None = Field(examples=["development"])
    status: str = Field(examples=["active"])
    start_time: str | None = Field(examples=["2026-01-31 08:15:00"])
    end_time: str | None
    duration_seconds: int | None
    tokens_used: int | None = Field(examples=[1_500])
    api_calls: int | None = Field(examples=[1])
    estimated_cost_usd: float | None
    model_used: str | None
    context_size_start: int | None
    context_size_end: int | None
    compaction_events: int | None
    handoff_from_session: str | None
    handoff_to_session: str | None
    handoff_context: Json
    handoff_success: bool | None = Field(description="whether the session that went on completed")
    user_satisfaction: int | None
    task_progress_delta: float | None
    errors_encountered: int | None
    metadata: Json
    updated_at: str | None


class CoordinationSessions(Shown):
    """A page of coordination sessions."""

    items: list[CoordinationSession]
    total: Total


class HandedOff(CoordinationSession):
    """The session that begins, with the one that it follows."""

    follows: CoordinationSession


class Change(Shown):
    """One change of a session's status."""

    id: int
    session_id: str
    old_status: str | None
    new_status: str | None = Field(examples=["active"])
    changed_at: str | None


class Audit(Shown):
    """A page of a session's changes, the first one first."""

    items: list[Change]
    total: Total
