"""What makes a service of a router: its store, health, metrics, error bodies and OpenAPI."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any

import prometheus_client
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from devflow.live.authority import SOURCE_OF, may_write
from devflow.services.errors import RefusedError, UnavailableError
from devflow.services.fields import ErrorBody, Shown
from devflow.services.logs import logger
from devflow.services.settings import Settings
from devflow.services.store import Connection, Store, one

__all__ = ["Service", "SettingsOf", "StoreOf", "create_app", "refusals"]

SCHEMA_MAJOR = "2"
_BODY_MAX = 16 * 1024 * 1024
_log = logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What one service is made of.

    `tables` are those that it cannot work without. `running` is entered at start and left at
    stop: the place for background work; its value is found at `request.app.state.running`.
    """

    name: str
    title: str
    description: str
    routers: tuple[APIRouter, ...]
    tables: tuple[str, ...]
    running: Callable[[Store, Settings], AbstractAsyncContextManager[Any]] | None = None


def _allowing(service: str, settings: Settings) -> Callable[[Connection], None] | None:
    """Return what refuses a write that belongs to the legacy service, None where there is none.

    A gate that was started anew may let a request through to the side that is giving up just then:
    only asked within the transaction is it certain whose the write is.
    """
    if not settings.beside_legacy or service not in SOURCE_OF:
        return None

    def allow(connection: Connection) -> None:
        if not may_write(connection, service):
            raise UnavailableError(f"{service} is answered for by its legacy service; ask there")

    return allow


class Check(Shown):
    """One thing that a service needs, and whether it is there."""

    name: str = Field(examples=["table memory_blocks"])
    ok: bool
    detail: str = Field(examples=["1,204 rows"])


class Health(Shown):
    """Whether a service can work; `failing` comes with status 503."""

    status: str = Field(examples=["ok"], pattern="^(ok|failing)$")
    service: str = Field(examples=["database-manager"])
    checks: list[Check]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an operation that may be refused with these statuses."""
    texts = {
        404: "What the request names is not there.",
        409: "The request does not fit what is there.",
        503: "Something that the request needs does not answer now.",
    }
    return {s: {"model": ErrorBody, "description": texts[s]} for s in statuses}


# Coroutines, since plain functions would each be run in a thread.
async def _store_of(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


async def _settings_of(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


StoreOf = Annotated[Store, Depends(_store_of)]
SettingsOf = Annotated[Settings, Depends(_settings_of)]


def _build_routes(app: FastAPI) -> None:
    """Let FastAPI build its routes now, which it puts off until a request is matched with them.

    Who asked first would wait for it: all clients, when a gate lets them through to this service.
    """
    nowhere = {"type": "http", "method": "GET", "path": "", "root_path": "", "headers": []}
    for route in app.routes:
        route.matches(nowhere)


def create_app(service: Service, settings: Settings) -> FastAPI:
    """Return the application of `service` on the database that `settings` name."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with Store(settings.db_path, allow=_allowing(service.name, settings)) as store:
            app.state.store = store
            store.open_readers()
            _build_routes(app)
            background = service.running(store, settings) if service.running else nullcontext()
            async with background as app.state.running:
                _log.info("started", database=str(settings.db_path))
                yield
        _log.info("stopped")

    app = FastAPI(
        title=service.title,
        version="2.0.0",
        description=service.description,
        lifespan=lifespan,
        responses={
            400: {"model": ErrorBody, "description": "The request is malformed."},
            413: {"model": ErrorBody, "description": "The request is too large."},
            503: {"model": ErrorBody, "description": "The database does not answer now."},
        },
    )
    app.state.settings = settings
    registry = prometheus_client.CollectorRegistry()
    app.add_middleware(_Measured, service=service.name, registry=registry)
    _add_error_bodies(app)
    _add_health(app, service, registry)
    for router in service.routers:
        app.include_router(router)
    app.openapi = _described(app.openapi)  # type: ignore[method-assign]
    return app


# Errors ------------------------------------------------------------------------------------------


def _refusal(status: int, text: str, headers: Mapping[str, str] | None = None, **more: Any) -> Any:
    return JSONResponse({"error": text, **more}, status, headers=headers)


def _add_error_bodies(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        answer: Response = _refusal(error.status, str(error))
        return answer

    @app.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:  # the router names the methods of one route only
            headers["Allow"] = ", ".join(sorted(_methods(request))) or headers.get("Allow", "")
        answer: Response = _refusal(error.status_code, str(error.detail), headers)
        return answer

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        fields = [
            {"field": ".".join(str(part) for part in found["loc"]), "problem": str(found["msg"])}
            for found in error.errors()
        ]
        first = fields[0]
        text = f"{first['field']}: {first['problem']}"
        answer: Response = _refusal(400, _printable(text), fields=[_shown(f) for f in fields])
        return answer

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        _log.error("failed", path=request.url.path, exc_info=error)
        answer: Response = _refusal(500, "the service failed; its log says why")
        return answer


def _methods(request: Request) -> set[str]:
    """Return the documented methods of the request's path, of all routes that have it."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    asked = request.scope["path"]
    alike = [asked] if asked in paths else [p for p in paths if compile_path(p)[0].match(asked)]
    return {method.upper() for path in alike for method in paths[path]}


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _shown(field: dict[str, str]) -> dict[str, str]:
    return {name: _printable(value) for name, value in field.items()}


def _described(plain: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Take FastAPI's own 422 out of the description: here, a malformed request is a 400."""

    def openapi() -> dict[str, Any]:
        schema = plain()
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schema.get("components", {}).get("schemas", {}).pop(name, None)
        return schema

    return openapi


# Health and metrics ------------------------------------------------------------------------------


def _add_health(
    app: FastAPI, service: Service, registry: prometheus_client.CollectorRegistry
) -> None:
    @app.get(
        "/health",
        tags=["operation"],
        response_model=Health,
        responses={503: {"model": Health, "description": "Something that it needs is missing."}},
    )
    async def health(store: StoreOf, response: Response) -> Health:
        """Check the database, the schema's version and this service's own tables."""
        try:
            checks = await store.read(lambda connection: _checks(connection, service.tables))
        except Exception as error:  # whatever it is, the service cannot work
            checks = [Check(name="database", ok=False, detail=str(error))]
        well = all(check.ok for check in checks)
        response.status_code = 200 if well else 503
        return Health(status="ok" if well else "failing", service=service.name, checks=checks)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        content = prometheus_client.generate_latest(registry)
        return Response(content, media_type=prometheus_client.CONTENT_TYPE_LATEST)


def _checks(connection: Connection, tables: tuple[str, ...]) -> list[Check]:
    checks = [Check(name="database", ok=True, detail=connection.filename)]
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    version = (
        one(connection, "SELECT version FROM schema_versions ORDER BY seq DESC LIMIT 1")
        if "schema_versions" in names
        else None
    )
    found = str(version["version"]) if version else "none"
    right = found.split(".")[0] == SCHEMA_MAJOR
    wanted = f"; {SCHEMA_MAJOR}.x is needed: run `python -m devflow migrate apply`"
    checks.append(Check(name="schema version", ok=right, detail=found if right else found + wanted))
    for table in tables:
        there = table in names
        checks.append(
            Check(name=f"table {table}", ok=there, detail="present" if there else "missing")
        )
    return checks


class _Measured:
    """Counts and times requests, and refuses bodies that are too large before they are read."""

    def __init__(
        self, app: ASGIApp, *, service: str, registry: prometheus_client.CollectorRegistry
    ) -> None:
        self.app = app
        self.requests = prometheus_client.Counter(
            "devflow_requests", "Requests", ["service", "method", "status"], registry=registry
        )
        self.seconds = prometheus_client.Histogram(
            "devflow_request_seconds", "Time to answer", ["service", "method"], registry=registry
        )
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if _too_large(scope):
                refused = _refusal(413, f"a request's body has {_BODY_MAX:,} bytes at most")
                await refused(scope, receive, noting)
            else:
                await self.app(scope, receive, noting)
        finally:
            method = scope["method"]
            self.requests.labels(self.service, method, str(status)).inc()
            self.seconds.labels(self.service, method).observe(time.perf_counter() - began)


def _too_large(scope: Scope) -> bool:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return any(value.isdigit() and int(value) > _BODY_MAX for value in lengths)
