"""The route of search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from devflow.services.app import StoreOf
from devflow.services.database_manager.search import work
from devflow.services.fields import Limit, Offset, Shown, Words

__all__ = ["router"]

router = APIRouter(prefix="/v2", tags=["search"])


class Hit(Shown):
    """A task or memory block that holds the words."""

    kind: Literal["task", "memory"]
    id: str = Field(examples=["task-7"])
    title: str = Field(description="a task's title, a block's label", examples=["One database"])
    state: str | None = Field(
        description="a task's status, a block's type", examples=["planning", "decision"]
    )
    task_id: str | None = Field(description="the task itself, or that of the block")
    snippet: str = Field(
        description="where the words are, in brackets", examples=["Unify the [databases]"]
    )
    score: float = Field(
        description="bm25, the higher the better; 0 where it was not ranked", examples=[1.25]
    )


class Hits(Shown):
    """A page of hits, the best first."""

    items: list[Hit]
    total: Annotated[int, Field(ge=0, examples=[1])]


@router.get("/search", operation_id="search", response_model=Hits)
async def search(
    store: StoreOf,
    q: Words,
    place: Annotated[work.Place, Query(alias="in", description="where to look")] = "all",
    prefix: Annotated[bool, Query(description="the last word is only begun")] = False,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Any:
    """Find the tasks and memory that hold all the words, in any form and case, the best first.

    Of each kind the newest two hundred are ranked; the others follow, the newest first. The words
    are words, whatever signs stand among them: there is no query language.
    """
    return await store.read(
        lambda c: work.search(c, q, place=place, prefix=prefix, limit=limit, offset=offset)
    )
