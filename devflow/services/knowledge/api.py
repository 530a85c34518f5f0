"""The routes of the knowledge service."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from devflow.services.app import StoreOf, refusals
from devflow.services.fields import IdentifierInPath, Limit, Offset, Words
from devflow.services.knowledge import entities as known
from devflow.services.knowledge.background import LearnerOf
from devflow.services.knowledge.counting import stats
from devflow.services.knowledge.extracting import extracted
from devflow.services.knowledge.feedback import give
from devflow.services.knowledge.models import (
    Entities,
    Entity,
    EntityType,
    Extraction,
    Feedback,
    LearnAsked,
    Learned,
    Mentions,
    NewEntity,
    NewFeedback,
    Relationships,
    Stats,
    TextAsked,
)
from devflow.services.store import Row

__all__ = ["router"]

router = APIRouter(prefix="/v2")

_Share = Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)]
_LINKS = {
    name: {"operationId": name, "parameters": {"entity_id": "$response.body#/id"}}
    for name in ("getEntity", "giveFeedback", "listMentions", "listRelationships")
}
_TOLD: dict[int | str, dict[str, Any]] = {
    200: {"model": Entity, "description": "It was told before, and stands."},
    201: {"links": _LINKS},
}
_GIVEN: dict[int | str, dict[str, Any]] = {
    200: {"model": Feedback, "description": "This feedback was given before, and counts once."}
}


# Entities ----------------------------------------------------------------------------------------


@router.get("/entities", tags=["entities"], operation_id="listEntities", response_model=Entities)
async def list_entities(
    store: StoreOf,
    q: Words | None = None,
    entity_type: EntityType | None = None,
    status: Annotated[
        Literal["pending", "confirmed", "rejected", "any"] | None,
        Query(description="left out: all but those that were rejected"),
    ] = None,
    confidence_min: _Share = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Row:
    """List entities: those with any of the words, the best first; else by confidence."""
    return await store.read(
        lambda connection: known.listed(
            connection,
            words=q,
            entity_type=entity_type,
            status=status,
            confidence_min=confidence_min,
            limit=limit,
            offset=offset,
        )
    )


@router.post(
    "/entities",
    tags=["entities"],
    operation_id="createEntity",
    status_code=201,
    response_model=Entity,
    responses=_TOLD | refusals(409),
)
async def create_entity(body: NewEntity, store: StoreOf, response: Response) -> Row:
    """Tell of an entity by hand."""
    told = body.model_dump()
    new, row = await store.write(lambda connection: known.create(connection, told))
    response.status_code = 201 if new else 200
    return known.shown(row)


@router.get(
    "/entities/{entity_id}",
    tags=["entities"],
    operation_id="getEntity",
    response_model=Entity,
    responses=refusals(404),
)
async def get_entity(entity_id: IdentifierInPath, store: StoreOf) -> Row:
    """Show an entity."""
    return known.shown(await store.read(lambda connection: known.found(connection, entity_id)))


@router.get(
    "/entities/{entity_id}/relationships",
    tags=["entities"],
    operation_id="listRelationships",
    response_model=Relationships,
    responses=refusals(404),
)
async def list_relationships(
    entity_id: IdentifierInPath,
    store: StoreOf,
    strength_min: _Share = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Row:
    """List what an entity is related to, the strongest first."""
    return await store.read(
        lambda connection: known.relationships(
            connection, entity_id, strength_min=strength_min, limit=limit, offset=offset
        )
    )


@router.get(
    "/entities/{entity_id}/mentions",
    tags=["entities"],
    operation_id="listMentions",
    response_model=Mentions,
    responses=refusals(404),
)
async def list_mentions(
    entity_id: IdentifierInPath, store: StoreOf, limit: Limit = 50, offset: Offset = 0
) -> Row:
    """List the memory blocks that mention an entity, the newest first."""
    return await store.read(
        lambda connection: known.mentions(connection, entity_id, limit=limit, offset=offset)
    )


@router.post(
    "/entities/{entity_id}/feedback",
    tags=["entities"],
    operation_id="giveFeedback",
    status_code=201,
    response_model=Feedback,
    responses=_GIVEN | refusals(404, 409),
)
async def give_feedback(
    entity_id: IdentifierInPath, body: NewFeedback, store: StoreOf, response: Response
) -> Row:
    """Confirm or reject an entity, or tell that it was of use: its confidence follows at once."""
    new, row, entity = await store.write(
        lambda connection: give(connection, entity_id, feedback_id=body.id, kind=body.kind)
    )
    response.status_code = 201 if new else 200
    return {**row, "entity": known.shown(entity)}


# Learning ----------------------------------------------------------------------------------------


@router.post("/learn", tags=["learning"], operation_id="learn", response_model=Learned)
async def learn(body: LearnAsked, learner: LearnerOf) -> Any:
    """Learn of memory blocks now that were not learned yet, or have changed since."""
    return await learner.learn(body.limit)


@router.post("/extract", tags=["learning"], operation_id="extract", response_model=Extraction)
async def extract(body: TextAsked) -> Row:
    """Show what would be learned of a text; nothing of it is kept."""
    return {"items": await asyncio.to_thread(extracted, body.text)}


@router.get("/stats", tags=["learning"], operation_id="getStats", response_model=Stats)
async def get_stats(store: StoreOf) -> Row:
    """Tell how much is known, and how much is still to be learned."""
    return await store.read(stats)
