"""The routes of the routing service."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response

from devflow.services.app import StoreOf, refusals
from devflow.services.fields import IdentifierInPath, Limit, Offset
from devflow.services.pages import page
from devflow.services.routing import platforms as known
from devflow.services.routing.choosing import Belief
from devflow.services.routing.deciding import decide, found
from devflow.services.routing.explaining import explained
from devflow.services.routing.models import (
    Beliefs,
    Decision,
    Decisions,
    NewDecision,
    NewOutcome,
    Platforms,
    PlatformShown,
    ProvidersOf,
)
from devflow.services.routing.outcomes import report
from devflow.services.store import Row

__all__ = ["router"]

router = APIRouter(prefix="/v2")

_Word = Annotated[str, Query(min_length=1, max_length=200)]
_Platform = Annotated[
    str, Path(min_length=1, max_length=200, pattern=r"^[^\x00/]+$", examples=["claude_code"])
]
_MADE: dict[int | str, dict[str, Any]] = {
    200: {"model": Decision, "description": "It was made before, and stands."},
    201: {
        "links": {
            name: {"operationId": name, "parameters": {"decision_id": "$response.body#/id"}}
            for name in ("getDecision", "reportOutcome")
        }
    },
}
_TOLD: dict[int | str, dict[str, Any]] = {
    200: {"model": Decision, "description": "This outcome was reported before, and counts once."}
}


# Decisions ---------------------------------------------------------------------------------------


@router.post(
    "/decisions",
    tags=["decisions"],
    operation_id="decide",
    status_code=201,
    response_model=Decision,
    responses=_MADE | refusals(404, 409, 503),
)
async def make_decision(body: NewDecision, store: StoreOf, response: Response) -> Row:
    """Choose a platform for a task, and keep why."""
    new, row = await store.write(lambda connection: decide(connection, body.model_dump()))
    response.status_code = 201 if new else 200
    return explained(row)


@router.get(
    "/decisions", tags=["decisions"], operation_id="listDecisions", response_model=Decisions
)
async def list_decisions(
    store: StoreOf,
    platform: _Word | None = None,
    task_id: _Word | None = None,
    state: Annotated[
        Literal["open", "reported"] | None, Query(description="without an outcome, or with one")
    ] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Row:
    """List decisions, newest first."""
    reported = None if state is None else int(state == "reported")
    return await store.read(
        lambda connection: page(
            connection,
            explained,
            select="*",
            source="routing_decisions",
            order="seq DESC",
            given={
                "platform = ?": platform,
                "task_id = ?": task_id,
                "(reported_at IS NOT NULL) = ?": reported,
            },
            limit=limit,
            offset=offset,
        )
    )


@router.get(
    "/decisions/{decision_id}",
    tags=["decisions"],
    operation_id="getDecision",
    response_model=Decision,
    responses=refusals(404),
)
async def get_decision(decision_id: IdentifierInPath, store: StoreOf) -> Row:
    """Show a decision with its reasons, computed again from what it was made of."""
    return explained(await store.read(lambda connection: found(connection, decision_id)))


@router.post(
    "/decisions/{decision_id}/outcome",
    tags=["decisions"],
    operation_id="reportOutcome",
    status_code=201,
    response_model=Decision,
    responses=_TOLD | refusals(404, 409),
)
async def report_outcome(
    decision_id: IdentifierInPath, body: NewOutcome, store: StoreOf, response: Response
) -> Row:
    """Tell how the task went: what is believed and the platform's performance follow at once."""
    told = body.model_dump()
    new, row = await store.write(lambda connection: report(connection, decision_id, told))
    response.status_code = 201 if new else 200
    return explained(row)


# Platforms ---------------------------------------------------------------------------------------


@router.get(
    "/platforms", tags=["platforms"], operation_id="listPlatforms", response_model=Platforms
)
async def list_platforms(store: StoreOf) -> Row:
    """List the platforms: which can be chosen, which are busy, and how they did."""
    return {"items": await store.read(known.listed)}


@router.put(
    "/platforms/{platform}/providers",
    tags=["platforms"],
    operation_id="setProviders",
    response_model=PlatformShown,
    responses=refusals(404),
)
async def set_providers(platform: _Platform, body: ProvidersOf, store: StoreOf) -> Row:
    """Say which model providers a platform works with: it is left out while all are unhealthy."""
    return await store.write(
        lambda connection: known.set_providers(connection, platform, body.providers)
    )


@router.get("/beliefs", tags=["platforms"], operation_id="listBeliefs", response_model=Beliefs)
async def list_beliefs(
    store: StoreOf,
    platform: _Word | None = None,
    capability_domain: _Word | None = None,
    task_type: _Word | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Row:
    """List what was learned from outcomes."""
    return await store.read(
        lambda connection: page(
            connection,
            _belief,
            select="*",
            source="routing_beliefs",
            order="platform, capability_domain, task_type",
            given={
                "platform = ?": platform,
                "capability_domain = ?": capability_domain,
                "task_type = ?": task_type,
            },
            limit=limit,
            offset=offset,
        )
    )


def _belief(row: Row) -> Row:
    belief = Belief(successes=row["successes"], failures=row["failures"])
    return {**row, "success": belief.success, "evidence": belief.evidence}
