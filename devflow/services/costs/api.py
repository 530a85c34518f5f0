"""The routes of the costs service."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from devflow.services.app import StoreOf, refusals
from devflow.services.costs import budgets as ledger
from devflow.services.costs.advice import Retry, advised
from devflow.services.costs.analytics import GROUPS, Filter, analytics, usage_shown, usages
from devflow.services.costs.models import (
    Advice,
    Alert,
    Alerts,
    Analytics,
    Budget,
    BudgetChange,
    Budgets,
    Day,
    NewBudget,
    NewUsage,
    UsageFilter,
    Usages,
    UsageShown,
)
from devflow.services.costs.recording import Usage, record_usage
from devflow.services.errors import MissingError
from devflow.services.fields import IdentifierInPath, Limit, Offset
from devflow.services.store import Connection, Row, one, rows

__all__ = ["router"]

router = APIRouter(prefix="/v2")

_Word = Annotated[str, Query(min_length=1, max_length=200)]


def _linked(**operations: str) -> dict[int | str, dict[str, Any]]:
    """Return a 201 whose id leads to these operations' parameters."""
    links = {
        operation: {"operationId": operation, "parameters": {parameter: "$response.body#/id"}}
        for operation, parameter in operations.items()
    }
    return {201: {"links": links}}


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


# Usage -------------------------------------------------------------------------------------------


@router.post(
    "/usage",
    tags=["usage"],
    operation_id="recordUsage",
    status_code=201,
    response_model=UsageShown,
    responses=_linked(getUsage="usage_id")
    | refusals(409)
    | {200: {"model": UsageShown, "description": "It was recorded before, and counts once."}},
)
async def record(body: NewUsage, store: StoreOf, response: Response) -> Row:
    """Record a request to a provider, add it to its day's sums, raise the alerts it reaches."""

    def work(connection: Connection) -> tuple[bool, Row]:
        known = body.id is not None and one(
            connection, "SELECT 1 FROM synthetic_usage WHERE id = ?", (body.id,)
        )
        return bool(known), record_usage(connection, Usage(**body.model_dump()))

    known, row = await store.write(work)
    response.status_code = 200 if known else 201
    return usage_shown(row)


@router.get("/usage", tags=["usage"], operation_id="listUsage", response_model=Usages)
async def list_usage(store: StoreOf, asked: Annotated[UsageFilter, Query()]) -> Row:
    """List recorded requests, newest first; `priced=no` shows those without a known cost."""
    found = Filter(
        since=asked.since,
        until=asked.until,
        platform=asked.provider,
        model=asked.model,
        agent_type=asked.agent_type,
        priced=None if asked.priced is None else asked.priced == "yes",
    )
    return await store.read(lambda c: usages(c, found, limit=asked.limit, offset=asked.offset))


@router.get(
    "/usage/{usage_id}",
    tags=["usage"],
    operation_id="getUsage",
    response_model=UsageShown,
    responses=refusals(404),
)
async def get_usage(usage_id: IdentifierInPath, store: StoreOf) -> Row:
    """Show one recorded request."""

    def work(connection: Connection) -> Row:
        row = one(connection, "SELECT * FROM synthetic_usage WHERE id = ?", (usage_id,))
        if row is None:
            raise MissingError(f"there is no usage {usage_id!r}")
        return usage_shown(row)

    return await store.read(work)


# Sums --------------------------------------------------------------------------------------------


@router.get("/analytics", tags=["analytics"], operation_id="getAnalytics", response_model=Analytics)
async def get_analytics(
    store: StoreOf,
    by: Annotated[
        list[Literal["date", "platform", "model"]] | None,
        Query(max_length=3, description="what to group by; left out: all three"),
    ] = None,
    platform: _Word | None = None,
    model: _Word | None = None,
    since: Day | None = None,
    until: Day | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Row:
    """Sum requests, tokens and costs by day, platform and model (or fewer), with totals."""
    found = Filter(since=since, until=until, platform=platform, model=model)
    groups = [name for name in GROUPS if by is None or name in by]
    return await store.read(
        lambda c: analytics(c, found, by=groups, limit=limit, offset=offset),
    )


# Budgets -----------------------------------------------------------------------------------------


@router.post(
    "/budgets",
    tags=["budgets"],
    operation_id="createBudget",
    status_code=201,
    response_model=Budget,
    responses=_linked(getBudget="budget_id", changeBudget="budget_id", deleteBudget="budget_id")
    | refusals(409),
)
async def create_budget(body: NewBudget, store: StoreOf) -> Row:
    """Set a limit; what was spent in the running period counts, and may raise alerts at once."""
    fields = body.model_dump()
    return await store.write(lambda c: ledger.create(c, fields=fields, today=_today()))


@router.get("/budgets", tags=["budgets"], operation_id="listBudgets", response_model=Budgets)
async def list_budgets(store: StoreOf, limit: Limit = 50, offset: Offset = 0) -> Row:
    """List budgets, each with what was spent and what is left in its running period."""

    def work(connection: Connection) -> Row:
        page = rows(
            connection, "SELECT * FROM cost_budgets ORDER BY seq LIMIT ? OFFSET ?", (limit, offset)
        )
        count = one(connection, "SELECT count(*) AS n FROM cost_budgets") or {"n": 0}
        items = [ledger.state(connection, budget, today=_today()) for budget in page]
        return {"items": items, "total": count["n"]}

    return await store.read(work)


@router.get(
    "/budgets/{budget_id}",
    tags=["budgets"],
    operation_id="getBudget",
    response_model=Budget,
    responses=refusals(404),
)
async def get_budget(budget_id: IdentifierInPath, store: StoreOf) -> Row:
    """Show a budget with what was spent and what is left in its running period."""
    return await store.read(
        lambda c: ledger.state(c, ledger.found(c, budget_id), today=_today()),
    )


@router.patch(
    "/budgets/{budget_id}",
    tags=["budgets"],
    operation_id="changeBudget",
    response_model=Budget,
    responses=refusals(404),
)
async def change_budget(budget_id: IdentifierInPath, body: BudgetChange, store: StoreOf) -> Row:
    """Change a budget's name or limit; null and what is left out stay as they are."""
    return await store.write(
        lambda c: ledger.change(
            c, budget_id, name=body.name, limit_usd=body.limit_usd, today=_today()
        ),
    )


@router.delete(
    "/budgets/{budget_id}",
    tags=["budgets"],
    operation_id="deleteBudget",
    status_code=204,
    responses=refusals(404),
)
async def delete_budget(budget_id: IdentifierInPath, store: StoreOf) -> None:
    """Delete a budget and its alerts."""
    await store.write(lambda c: ledger.delete(c, budget_id))


# Alerts ------------------------------------------------------------------------------------------


@router.get("/alerts", tags=["alerts"], operation_id="listAlerts", response_model=Alerts)
async def list_alerts(
    store: StoreOf,
    budget_id: _Word | None = None,
    state: Literal["open", "acknowledged"] | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Row:
    """List alerts, newest first."""
    seen = None if state is None else state == "acknowledged"
    return await store.read(
        lambda c: ledger.alerts(
            c, budget_id=budget_id, acknowledged=seen, limit=limit, offset=offset
        ),
    )


@router.post(
    "/alerts/{alert_id}/acknowledge",
    tags=["alerts"],
    operation_id="acknowledgeAlert",
    response_model=Alert,
    responses=refusals(404),
)
async def acknowledge_alert(alert_id: IdentifierInPath, store: StoreOf) -> Row:
    """Note that the alert was seen; the first time stays."""
    return await store.write(lambda c: ledger.acknowledge(c, alert_id))


# Advice ------------------------------------------------------------------------------------------


@router.get("/advice", tags=["advice"], operation_id="adviseRetry", response_model=Advice)
async def advise(
    store: StoreOf,
    platform: _Word,
    agent_type: _Word,
    model: _Word | None = None,
    failures: Annotated[int, Query(ge=0, le=10_000, description="so far")] = 1,
    successes: Annotated[int, Query(ge=0, le=10_000, description="so far")] = 0,
    worth_usd: Annotated[
        float | None, Query(ge=0, le=1e9, description="what a success is worth")
    ] = None,
) -> Row:
    """Say whether a retry is affordable now: expected cost, budgets, chance of success, reasons."""
    retry = Retry(
        platform=platform,
        agent_type=agent_type,
        model=model,
        failures=failures,
        successes=successes,
        worth_usd=worth_usd,
    )
    return await store.read(lambda c: advised(c, retry, today=_today()))
