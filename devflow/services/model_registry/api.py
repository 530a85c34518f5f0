"""The routes of the model registry."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from devflow.services.app import StoreOf, refusals
from devflow.services.fields import IdentifierInPath, Limit, Offset
from devflow.services.model_registry import metrics, providers, requests
from devflow.services.model_registry.background import RegistryOf
from devflow.services.model_registry.models import (
    Active,
    Analytics,
    Checks,
    Day,
    Failovers,
    NewProvider,
    NewRequest,
    Provider,
    ProviderChange,
    Providers,
    Requests,
    RequestShown,
    Round,
)
from devflow.services.pages import page
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import number, text, whole

__all__ = ["router"]

router = APIRouter(prefix="/v2")

_Named = Annotated[str | None, Query(min_length=1, max_length=200)]


def _linked(parameter: str, of: str, *operations: str) -> dict[int | str, dict[str, Any]]:
    links = {
        name: {"operationId": name, "parameters": {parameter: f"$response.body#/{of}"}}
        for name in operations
    }
    return {201: {"links": links}}


# What rows show ----------------------------------------------------------------------------------


def _provider(row: Row) -> Row:
    return {
        **{name: text(row[name]) for name in ("name", "base_url", "first_seen", "last_checked")},
        **{name: row[name] for name in ("configured_by", "status")},
        "health_path": text(row["health_path"]) or "/",
        "position": whole(row["position"]) or 0,
        "enabled": bool(row["enabled"]),
        "active": bool(row["is_active"]),
        "consecutive_failures": row["consecutive_failures"],
        "consecutive_successes": row["consecutive_successes"],
    }


def _check(row: Row) -> Row:
    return {
        "provider": row["provider"],
        "healthy": bool(row["healthy"]),
        "error": text(row["error"]),
        "checked_at": text(row["checked_at"]),
        "duration_ms": number(row["duration_ms"]),
        "from_log": row["line_no"] is not None,
    }


def _failover(row: Row) -> Row:
    told = ("from_provider", "to_provider", "occurred_at", "reason")
    return {**{name: text(row[name]) for name in told}, "from_log": row["line_no"] is not None}


def _request(row: Row) -> Row:
    return {**row, "success": bool(row["success"])}


# Providers ---------------------------------------------------------------------------------------


@router.get(
    "/providers", tags=["providers"], operation_id="listProviders", response_model=Providers
)
async def list_providers(store: StoreOf) -> Row:
    """List all providers, the preferred ones first."""
    found = await store.read(
        lambda c: rows(c, "SELECT * FROM model_providers ORDER BY position, seq")
    )
    return {"items": [_provider(row) for row in found]}


@router.post(
    "/providers",
    tags=["providers"],
    operation_id="addProvider",
    status_code=201,
    response_model=Provider,
    responses=_linked("name", "name", "getProvider", "changeProvider", "deleteProvider")
    | refusals(409),
)
async def add_provider(body: NewProvider, store: StoreOf) -> Row:
    """Add a provider on this machine; its first check decides on its status."""
    return _provider(await store.write(lambda c: providers.add(c, body.model_dump())))


@router.get(
    "/providers/{name}",
    tags=["providers"],
    operation_id="getProvider",
    response_model=Provider,
    responses=refusals(404),
)
async def get_provider(name: IdentifierInPath, store: StoreOf) -> Row:
    """Show one provider."""
    return _provider(await store.read(lambda c: providers.found(c, name)))


@router.patch(
    "/providers/{name}",
    tags=["providers"],
    operation_id="changeProvider",
    response_model=Provider,
    responses=refusals(404),
)
async def change_provider(name: IdentifierInPath, body: ProviderChange, store: StoreOf) -> Row:
    """Change where a provider is, how well it is liked, or whether it is used at all."""
    told = body.model_dump(exclude_none=True)
    return _provider(await store.write(lambda c: providers.change(c, name, told)))


@router.delete(
    "/providers/{name}",
    tags=["providers"],
    operation_id="deleteProvider",
    status_code=204,
    responses=refusals(404, 409),
)
async def delete_provider(name: IdentifierInPath, store: StoreOf) -> Response:
    """Delete a provider with its history; not one that the migrated log tells of."""
    await store.write(lambda c: providers.delete(c, name))
    return Response(status_code=204)


@router.get("/active", tags=["providers"], operation_id="getActive", response_model=Active)
async def get_active(store: StoreOf) -> Row:
    """Tell which provider to use now."""
    row = await store.read(
        lambda c: one(c, "SELECT name AS active FROM model_providers WHERE is_active = 1")
    )
    return row or {"active": None}


# Checks and failovers ----------------------------------------------------------------------------


@router.post("/checks", tags=["health"], operation_id="checkNow", response_model=Round)
async def check_now(store: StoreOf, registry: RegistryOf) -> Row:
    """Check every provider that may be called, now."""
    checks = await registry.check_all()

    def work(connection: Connection) -> Row:
        row = one(connection, "SELECT name FROM model_providers WHERE is_active = 1")
        return {"active": row["name"] if row else None}

    shown = [
        {
            "provider": check.provider,
            "healthy": check.healthy,
            "error": check.error,
            "checked_at": None,
            "duration_ms": check.duration_ms,
            "from_log": False,
        }
        for check in checks
    ]
    return {"checks": shown, **await store.read(work)}


@router.get("/checks", tags=["health"], operation_id="listChecks", response_model=Checks)
async def list_checks(
    store: StoreOf,
    provider: _Named = None,
    since: Day | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Row:
    """List health checks, newest first; what the migrated log told is among them."""
    return await store.read(
        lambda c: page(
            c,
            _check,
            select="provider, healthy, error, checked_at, duration_ms, line_no",
            source="model_health_history",
            order="seq DESC",
            given={"provider = ?": provider, "checked_at >= ?": since},
            limit=limit,
            offset=offset,
        )
    )


@router.get("/failovers", tags=["health"], operation_id="listFailovers", response_model=Failovers)
async def list_failovers(store: StoreOf, limit: Limit = 50, offset: Offset = 0) -> Row:
    """List changes of the active provider, newest first, each with its reason."""
    return await store.read(
        lambda c: page(
            c,
            _failover,
            select="from_provider, to_provider, occurred_at, reason, line_no",
            source="failover_events",
            order="seq DESC",
            given={},
            limit=limit,
            offset=offset,
        )
    )


# Requests and analytics --------------------------------------------------------------------------


@router.post(
    "/requests",
    tags=["requests"],
    operation_id="reportRequest",
    status_code=201,
    response_model=RequestShown,
    responses=_linked("request_id", "id", "getRequest")
    | refusals(404, 409)
    | {200: {"model": RequestShown, "description": "It was reported before, and counts once."}},
)
async def report_request(body: NewRequest, store: StoreOf, response: Response) -> Row:
    """Report a request to a provider: it is summed, priced and fed to platform performance."""
    new, row = await store.write(lambda c: requests.report(c, body.model_dump()))
    response.status_code = 201 if new else 200
    return _request(row)


@router.get("/requests", tags=["requests"], operation_id="listRequests", response_model=Requests)
async def list_requests(
    store: StoreOf, provider: _Named = None, limit: Limit = 50, offset: Offset = 0
) -> Row:
    """List reported requests, newest first, as long as they are retained."""
    return await store.read(
        lambda c: page(
            c,
            _request,
            select="*",
            source="provider_requests",
            order="seq DESC",
            given={"provider = ?": provider},
            limit=limit,
            offset=offset,
        )
    )


@router.get(
    "/requests/{request_id}",
    tags=["requests"],
    operation_id="getRequest",
    response_model=RequestShown,
    responses=refusals(404),
)
async def get_request(request_id: IdentifierInPath, store: StoreOf) -> Row:
    """Show one reported request."""
    return _request(await store.read(lambda c: requests.found(c, request_id)))


@router.get("/analytics", tags=["requests"], operation_id="getAnalytics", response_model=Analytics)
async def get_analytics(
    store: StoreOf,
    provider: _Named = None,
    since: Day | None = None,
    until: Day | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Row:
    """Show availability, latency, requests and costs by provider and day, and their sum."""
    return await store.read(
        lambda c: metrics.analytics(
            c, provider=provider, since=since, until=until, limit=limit, offset=offset
        )
    )
