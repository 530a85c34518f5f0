"""What is asked for a context, and what the answer holds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from devflow.services.fields import Identifier, Integral, Shown, StrictBody

__all__ = [
    "BUDGET_MAX",
    "HALF_LIFE_MAX_DAYS",
    "ITEMS_MAX",
    "Context",
    "ContextAsked",
]

_TEXT_MAX = 20_000
BUDGET_MAX = 1_000_000
ITEMS_MAX = 200
HALF_LIFE_MAX_DAYS = 36_500


class ContextAsked(StrictBody):
    """What a context is wanted for. Without task and text it is what is important at all."""

    task_id: Identifier | None = Field(None, examples=["task-7"])
    text: Annotated[str, Field(max_length=_TEXT_MAX)] = Field(
        "", description="what it is about, beside the task's title and description"
    )
    budget_tokens: Annotated[int, Field(ge=1, le=BUDGET_MAX), Integral] = Field(
        2_000, description="tokens at most, as estimated: a quarter of the bytes, and 6 an item"
    )
    most: Annotated[int, Field(ge=1, le=ITEMS_MAX), Integral] = Field(
        50, description="items at most"
    )
    entities: bool = Field(True, description="whether knowledge entities may be chosen")
    half_life_days: Annotated[float, Field(ge=0.1, le=HALF_LIFE_MAX_DAYS, allow_inf_nan=False)] = (
        Field(30.0, description="the age at which recency counts half")
    )
    mark: bool = Field(False, description="whether the chosen blocks count as read now")


class Parts(Shown):
    """What a score is the weighted sum of, each from 0 to 1."""

    relevance: float = Field(examples=[1.0])
    importance: float = Field(examples=[0.9])
    recency: float = Field(examples=[0.5])
    use: float = Field(examples=[0.0])


class Item(Shown):
    """A block or entity of the context, and why it was chosen."""

    kind: Literal["block", "entity"]
    id: str = Field(examples=["block-7"])
    task_id: str | None = Field(description="the block's task; where an entity was learned")
    type: str | None = Field(examples=["decision"])
    title: str = Field(examples=["One database"])
    content: str
    tokens: int = Field(ge=1, examples=[42])
    score: float = Field(examples=[0.83])
    parts: Parts
    ranks: dict[str, int] = Field(
        description="its place in each list that names it", examples=[{"own": 1, "words": 3}]
    )
    similarity: float = Field(
        description="the share of words in common with the most similar item chosen before it",
        examples=[0.1],
    )
    reasons: list[str] = Field(
        examples=[["a block of the task itself, number 1", "importance 0.90"]]
    )


class LeftOut(Shown):
    """How many candidates are not in the context, and why."""

    alike: int = Field(ge=0, description="they only repeat what was chosen", examples=[1])
    no_room: int = Field(
        ge=0, description="they do not fit any more, or are one too many", examples=[12]
    )


class Vectors(Shown):
    """Whether nearness counted, and by which model."""

    model: str | None = Field(examples=["lexical-hash-768"])
    problem: str | None = Field(description="why there is no vector of the text")


class Context(Shown):
    """A context: never more tokens than the budget."""

    task_id: str | None
    as_of: str = Field(description="the day that ages are counted to", examples=["2026-01-31"])
    budget_tokens: int
    tokens: int = Field(ge=0, description="what the items take, as estimated", examples=[420])
    half_life_days: float
    words: str = Field(description="the words that were looked for", examples=["unify databases"])
    vectors: Vectors
    candidates: int = Field(ge=0, examples=[30])
    left_out: LeftOut
    marked: int = Field(ge=0, description="blocks that count as read now", examples=[0])
    items: list[Item]
