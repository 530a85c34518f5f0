"""Asks the services how they are, each on its port, side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import httpx

from devflow.services.settings import PORTS, Settings
from devflow.services.store import Row

__all__ = ["answers", "client"]

_DEADLINE_S = 2.0
_SELF = "status"


async def answers(client: httpx.AsyncClient, settings: Settings) -> list[Row]:
    """Return of each service its `models.ServiceShown`, in the order of the ports.

    The status service does not ask itself: that it answers at all is its health.
    """
    return list(await asyncio.gather(*(_answer(client, name, settings) for name in PORTS)))


async def _answer(client: httpx.AsyncClient, name: str, settings: Settings) -> Row:
    port = settings.port(name)
    row = {"name": name, "port": port, "status": "ok", "detail": "", "answered_ms": None}
    if name == _SELF:
        return row
    began = time.perf_counter()
    try:
        answer = await client.get(f"http://{_reachable(settings.host)}:{port}/health")
    except httpx.TimeoutException:
        return row | {"status": "down", "detail": f"gave no answer within {_DEADLINE_S:g} s"}
    except httpx.HTTPError:
        return row | {"status": "down", "detail": f"nothing answers on port {port}"}
    status, detail = _read(answer, name)
    return row | {
        "status": status,
        "detail": detail,
        "answered_ms": round((time.perf_counter() - began) * 1000, 1),
    }


def _reachable(host: str) -> str:
    """Return the address to ask at, where a service listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - nothing is bound


def _read(answer: httpx.Response, name: str) -> tuple[str, str]:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, Mapping) or told.get("service") != name:
        return "down", "something else answers on its port"
    if answer.status_code == httpx.codes.OK:
        return "ok", ""
    failing = [f"{c['name']}: {c['detail']}" for c in told.get("checks", ()) if not c["ok"]]
    return "failing", "; ".join(failing)


def client() -> httpx.AsyncClient:
    """Return a client that asks only what it is told to, and does not wait long."""
    return httpx.AsyncClient(timeout=_DEADLINE_S, trust_env=False)
