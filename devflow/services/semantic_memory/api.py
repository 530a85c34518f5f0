"""The routes of contexts."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Query

from devflow.services.app import refusals
from devflow.services.errors import UnavailableError
from devflow.services.semantic_memory import work
from devflow.services.semantic_memory.candidates import Asked, text_of_task, worth
from devflow.services.semantic_memory.models import (
    BUDGET_MAX,
    HALF_LIFE_MAX_DAYS,
    ITEMS_MAX,
    Context,
    ContextAsked,
)
from devflow.services.vector_memory.embedding import Embedded
from devflow.services.vector_memory.fields import MemoryOf, VectorMemory

__all__ = ["router"]

router = APIRouter(tags=["context"])

_EMBEDDED_MAX = 8_000
_TEXT_MAX = 2_000
_HOW = (
    "Candidates are blocks of the task, of what it depends on and is a part of; memory and"
    " knowledge with words of the text; memory near to it. Each has a score of relevance,"
    " importance, recency and use; those that add most a token are chosen, as long as they fit."
)


@router.post(
    "/context",
    operation_id="make_context",
    response_model=Context,
    responses=refusals(404),
    description=f"Gather the context of a task or a text. {_HOW}",
)
async def make_context(asked: ContextAsked, memory: MemoryOf) -> Any:
    """Gather the context of a task or a text, and note its blocks as read where that is asked."""
    return await _context(memory, asked)


@router.get(
    "/context",
    operation_id="read_context",
    response_model=Context,
    responses=refusals(404),
    description=f"Gather the context of a task or a text, without noting it as read. {_HOW}",
)
async def read_context(
    memory: MemoryOf,
    task_id: Annotated[str | None, Query(max_length=200)] = None,
    text: Annotated[str, Query(max_length=_TEXT_MAX, description="more of it by POST")] = "",
    budget_tokens: Annotated[int, Query(ge=1, le=BUDGET_MAX)] = 2_000,
    most: Annotated[int, Query(ge=1, le=ITEMS_MAX)] = 50,
    entities: bool = True,
    half_life_days: Annotated[
        float, Query(ge=0.1, le=HALF_LIFE_MAX_DAYS, allow_inf_nan=False)
    ] = 30.0,
) -> Any:
    """Gather the context of a task or a text."""
    return await _context(
        memory,
        ContextAsked.model_construct(
            task_id=task_id,
            text=text,
            budget_tokens=budget_tokens,
            most=most,
            entities=entities,
            half_life_days=half_life_days,
        ),
    )


async def _context(memory: VectorMemory, asked: ContextAsked) -> dict[str, Any]:
    text, task_id = asked.text, asked.task_id
    if task_id is not None:
        of_task = await memory.store.read(lambda connection: text_of_task(connection, task_id))
        text = f"{of_task}\n{text}".strip()
    embedded, problem = await _embedded(memory, text)
    wanted = Asked(task_id=task_id, text=text, embedded=embedded, entities=asked.entities)
    today = dt.datetime.now(dt.UTC).date()
    candidates, choice = await memory.read(
        lambda connection, reach: work.chosen_for(
            connection,
            reach,
            wanted,
            budget_tokens=asked.budget_tokens,
            most=asked.most,
            today=today,
            half_life_days=asked.half_life_days,
        )
    )
    marked = 0
    if asked.mark and choice.items:
        marked = await memory.store.write(lambda connection: work.mark(connection, choice.items))
    return {
        "task_id": task_id,
        "as_of": today.isoformat(),
        "budget_tokens": asked.budget_tokens,
        "tokens": choice.tokens,
        "half_life_days": asked.half_life_days,
        "words": worth(text),
        "vectors": {"model": embedded.model if embedded else None, "problem": problem},
        "candidates": len(candidates),
        "left_out": {"alike": choice.alike, "no_room": choice.no_room},
        "marked": marked,
        "items": [work.shown(one) for one in choice.items],
    }


async def _embedded(memory: VectorMemory, text: str) -> tuple[Embedded | None, str | None]:
    """Return the vector of a text; without one, why: a context can do without nearness."""
    if not text.strip():
        return None, None
    try:
        return await memory.asked(text[:_EMBEDDED_MAX]), None
    except UnavailableError as error:
        return None, str(error)
