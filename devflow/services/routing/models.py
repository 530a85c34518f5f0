"""What the requests and responses of the routing service hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from devflow.services.fields import Identifier, Integral, Name, Shown, StrictBody

__all__ = [
    "BeliefShown",
    "Beliefs",
    "Decision",
    "Decisions",
    "NewDecision",
    "NewOutcome",
    "PlatformShown",
    "Platforms",
    "ProvidersOf",
]

PLATFORMS_MAX = 50
_Share = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]


class WeightsAsked(StrictBody):
    """What the worst candidate's cost, time and load take from its score; a success is worth 1."""

    cost: _Share = Field(0.2, examples=[0.2])
    time: _Share = Field(0.1, examples=[0.1])
    load: _Share = Field(0.1, examples=[0.1])


class NewDecision(StrictBody):
    """A kind of task for which a platform is wanted."""

    id: Identifier | None = Field(
        None, description="makes a retry of this call decide once", examples=["decision-1"]
    )
    task_id: Identifier | None = Field(
        None, description="the task itself, where there is one", examples=[None]
    )
    capability_domain: Name = Field("general", examples=["implementation"])
    task_type: Name = Field("general", examples=["bulk_coding"])
    platforms: Annotated[list[Name], Field(min_length=1, max_length=PLATFORMS_MAX)] | None = Field(
        None, description="left out: all that are known", examples=[["claude_code", "cursor"]]
    )
    weights: WeightsAsked = Field(default_factory=lambda: WeightsAsked.model_validate({}))
    seed: Annotated[int, Field(ge=0, lt=2**31, examples=[7]), Integral] | None = Field(
        None, description="of the draws; left out: drawn"
    )


class BeliefShown(Shown):
    """What is believed of a platform at one kind of task."""

    platform: str = Field(examples=["claude_code"])
    capability_domain: str = Field(examples=["implementation"])
    task_type: str = Field(examples=["bulk_coding"])
    success: float = Field(description="expected, 0 to 1", examples=[0.83])
    evidence: float = Field(description="outcomes that it stands for, discounted", examples=[12.4])
    outcomes: int = Field(description="outcomes that were reported", examples=[14])
    duration_seconds: float | None = Field(examples=[41.5])
    cost_usd: float | None = Field(examples=[0.0123])
    updated_at: str = Field(examples=["2026-01-31T08:15:00.000Z"])


class Beliefs(Shown):
    """What was learned from outcomes; `total` counts all that fit the filter."""

    items: list[BeliefShown]
    total: int


class ConsideredShown(Shown):
    """A platform that could be chosen, with what spoke for it and against it."""

    platform: str = Field(examples=["claude_code"])
    score: float = Field(description="the draw without what is taken from it", examples=[0.71])
    drawn: float = Field(description="success, drawn from what is believed", examples=[0.86])
    success: float = Field(description="success, expected", examples=[0.83])
    evidence: float = Field(examples=[12.4])
    cost_usd: float | None = Field(examples=[0.0123])
    duration_seconds: float | None = Field(examples=[41.5])
    in_flight: int = Field(examples=[1])
    taken: dict[str, float] = Field(examples=[{"cost": 0.1, "time": 0.05, "load": 0.0}])


class LeftOut(Shown):
    """A platform that could not be chosen."""

    platform: str = Field(examples=["cursor"])
    why: str = Field(examples=["of its providers, ollama is unhealthy"])


class OutcomeShown(Shown):
    """How the task went."""

    success: bool
    duration_seconds: float | None = Field(examples=[40.0])
    cost_usd: float | None = Field(examples=[0.01])
    tokens: int | None = Field(examples=[1_800])
    satisfaction: int | None = Field(examples=[5])
    reported_at: str = Field(examples=["2026-01-31T08:20:00.000Z"])


class Decision(Shown):
    """A decision, why it was made, and what came of it."""

    id: str = Field(examples=["decision-1"])
    task_id: str | None
    capability_domain: str = Field(examples=["implementation"])
    task_type: str = Field(examples=["bulk_coding"])
    platform: str = Field(description="the one that was chosen", examples=["claude_code"])
    decided_at: str = Field(examples=["2026-01-31T08:15:00.000Z"])
    seed: int = Field(examples=[7])
    weights: dict[str, float] = Field(examples=[{"cost": 0.2, "time": 0.1, "load": 0.1}])
    reasons: list[str] = Field(
        examples=[["claude_code has the highest score, 0.71, before cursor with 0.64"]]
    )
    considered: list[ConsideredShown] = Field(description="best first")
    left_out: list[LeftOut]
    outcome: OutcomeShown | None


class Decisions(Shown):
    """Decisions, newest first; `total` counts all that fit the filter."""

    items: list[Decision]
    total: int


class NewOutcome(StrictBody):
    """How a task went; what is left out is not known, and is not learned of."""

    success: bool
    duration_seconds: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = Field(
        None, examples=[40.0]
    )
    cost_usd: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = Field(
        None, examples=[0.01]
    )
    tokens: Annotated[int, Field(ge=0, le=10**12), Integral] | None = Field(None, examples=[1_800])
    satisfaction: Annotated[int, Field(ge=1, le=5), Integral] | None = Field(None, examples=[5])


class PlatformShown(Shown):
    """A platform: whether it can be chosen, and how busy it is."""

    platform: str = Field(examples=["claude_code"])
    available: bool
    why_not: str | None = Field(examples=[None])
    providers: list[str] = Field(examples=[["ollama"]])
    in_flight: int = Field(examples=[0])
    decisions: int = Field(examples=[12])
    outcomes: int = Field(examples=[11])
    successes: int = Field(examples=[9])


class Platforms(Shown):
    """All platforms that are known of."""

    items: list[PlatformShown]


class ProvidersOf(StrictBody):
    """The model providers that a platform works with; none: it does not depend on the registry."""

    providers: Annotated[list[Name], Field(max_length=PLATFORMS_MAX, examples=[["ollama"]])]
