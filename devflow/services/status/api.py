"""The routes of the status service."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from devflow.services.app import SettingsOf, StoreOf
from devflow.services.settings import Settings
from devflow.services.status import asking, overview
from devflow.services.status.models import Overview
from devflow.services.status.page import CONTENT_SECURITY_POLICY, render
from devflow.services.store import Row, Store
from devflow.services.values import iso_now

__all__ = ["router", "running"]

router = APIRouter()


@asynccontextmanager
async def running(_: Store, __: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Keep the client that asks the other services."""
    async with asking.client() as client:
        yield client


async def _client_of(request: Request) -> httpx.AsyncClient:
    client: httpx.AsyncClient = request.app.state.running
    return client


_ClientOf = Annotated[httpx.AsyncClient, Depends(_client_of)]


async def _overview(store: Store, settings: Settings, client: httpx.AsyncClient) -> Row:
    services = await asking.answers(client, settings)
    today = dt.datetime.now(dt.UTC).date()
    read = await store.read(lambda each: overview.read(each, settings.db_path, today=today))
    well = all(service["status"] == "ok" for service in services)
    return {"status": "ok" if well else "failing", "at": iso_now(), "services": services, **read}


@router.get("/v2/status", tags=["status"], operation_id="getStatus", response_model=Overview)
async def get_status(store: StoreOf, settings: SettingsOf, client: _ClientOf) -> Row:
    """Tell how the services are, and what the database says of the system."""
    return await _overview(store, settings, client)


@router.get("/", include_in_schema=False)
async def show_page(store: StoreOf, settings: SettingsOf, client: _ClientOf) -> HTMLResponse:
    """Show the same as a page, which brings itself up to date."""
    found = await _overview(store, settings, client)
    headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(render(found), headers=headers)
