"""What the requests and responses of the knowledge service hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from devflow.services.fields import Identifier, Integral, Json, Name, Shown, StrictBody

__all__ = [
    "Entities",
    "Entity",
    "EntityType",
    "Extraction",
    "Feedback",
    "LearnAsked",
    "Learned",
    "Mentions",
    "NewEntity",
    "NewFeedback",
    "Relationships",
    "Stats",
    "TextAsked",
]

EntityType = Literal["person", "technology", "pattern", "antipattern", "rule", "preference"]
Status = Literal["pending", "confirmed", "rejected"]
LEARN_MAX = 5_000
_TAGS_MAX = 50
_TEXT_MAX = 65_536
_When = "2026-01-31T08:15:00.000Z"


class NewEntity(StrictBody):
    """An entity that somebody tells of; only so can a person become one."""

    id: Identifier | None = Field(
        None, description="makes a retry of this call count once", examples=["use-sqlite"]
    )
    entity_type: EntityType = Field(examples=["rule"])
    name: Name = Field(examples=["always back up before a migration"])
    description: Annotated[str, Field(max_length=10_000)] | None = Field(
        None, examples=["learned the hard way"]
    )
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        0.5, examples=[0.7]
    )
    tags: Annotated[list[Name], Field(max_length=_TAGS_MAX)] = Field(
        default_factory=list, examples=[["database"]]
    )


class Entity(Shown):
    """Something that is known, and how far it is believed."""

    id: str = Field(examples=["use-sqlite"])
    entity_type: EntityType
    name: str = Field(examples=["SQLite"])
    description: str | None
    confidence: float | None = Field(description="0 to 1", examples=[0.8])
    status: Status
    usage_count: int = Field(examples=[3])
    blocks: int = Field(description="memory blocks that mention it", examples=[12])
    first_seen: str | None = Field(examples=["2026-01-31 08:15:00"])
    last_confirmed: str | None = Field(examples=[None])
    source: Json = Field(examples=[{"source": "memory_blocks"}])
    tags: list[str] = Field(examples=[["database"]])


class Entities(Shown):
    """Entities; `total` counts all that fit the filter."""

    items: list[Entity]
    total: int


class Mention(Shown):
    """A memory block that mentions an entity."""

    block_id: str = Field(examples=["block-7"])
    task_id: str = Field(examples=["task-7"])
    label: str = Field(examples=["decision"])
    times: int = Field(examples=[2])
    snippet: str = Field(
        description="the sentence of the first time; what is personal is masked",
        examples=["We keep all of it in SQLite."],
    )
    learned_at: str = Field(examples=[_When])


class Mentions(Shown):
    """Mentions of an entity, those of the newest blocks first."""

    items: list[Mention]
    total: int


class Relationship(Shown):
    """What an entity is related to."""

    id: str
    type: str = Field(examples=["co_occurs"])
    direction: Literal["out", "in"]
    entity_id: str = Field(description="the other entity", examples=["fastapi"])
    name: str = Field(description="of the other entity", examples=["FastAPI"])
    strength: float | None = Field(description="0 to 1", examples=[0.61])
    blocks: int | None = Field(
        description="blocks that mention both; null where it was not discovered", examples=[4]
    )
    about: str | None = Field(examples=["4 of 120 blocks mention both"])
    discovered: bool = Field(description="from mentions, by this service")


class Relationships(Shown):
    """Relationships of an entity, the strongest first."""

    items: list[Relationship]
    total: int


class NewFeedback(StrictBody):
    """What is said of an entity."""

    id: Identifier | None = Field(
        None, description="makes a retry of this call count once", examples=["feedback-1"]
    )
    kind: Literal["confirm", "reject", "use"] = Field(examples=["confirm"])


class Feedback(Shown):
    """A feedback, and the entity as it is now."""

    id: str = Field(examples=["feedback-1"])
    kind: Literal["confirm", "reject", "use"]
    given_at: str = Field(examples=[_When])
    entity: Entity


class LearnAsked(StrictBody):
    """How much to learn now."""

    limit: Annotated[int, Field(ge=1, le=LEARN_MAX), Integral] = Field(
        500, description="blocks at most", examples=[500]
    )


class Learned(Shown):
    """What was learned now."""

    blocks: int = Field(description="memory blocks that were learned", examples=[12])
    mentions: int = Field(description="entities in them, counted in each block", examples=[31])
    remaining: int = Field(description="blocks still to be learned", examples=[0])


class TextAsked(StrictBody):
    """A text, of which nothing is kept."""

    text: Annotated[str, Field(max_length=_TEXT_MAX)] = Field(
        examples=["We prefer SQLite over PostgreSQL for local tools."]
    )


class Found(Shown):
    """An entity that a text tells of."""

    entity_type: EntityType
    name: str = Field(examples=["SQLite"])
    times: int = Field(examples=[1])
    snippet: str = Field(examples=["We prefer SQLite over PostgreSQL for local tools."])


class Extraction(Shown):
    """What a text tells of, in its order."""

    items: list[Found]


class Stats(Shown):
    """How much is known, and how much is still to be learned."""

    entities: dict[str, int] = Field(examples=[{"technology": 40, "rule": 12}])
    statuses: dict[str, int] = Field(examples=[{"pending": 50, "confirmed": 2}])
    mentions: int
    relationships: int = Field(description="that were discovered")
    feedback: int
    blocks_learned: int
    blocks_remaining: int
    rules: str = Field(description="the version of what extraction goes by", examples=["1-9f86d0"])
