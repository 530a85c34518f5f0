"""A little service of notes over one table, with something wrong about it where FAULT names it."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

FAULT = os.environ.get("FAULT", "")
DATABASE = os.environ["DEVFLOW_DB_PATH"]


class Error(BaseModel):
    error: str


class Note(BaseModel):
    id: str
    text: str


class NewNote(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str | None = Field(None, min_length=1, max_length=50, pattern="^[a-z0-9-]+$")
    text: str = Field(max_length=200, pattern=r"^[^\x00]*$")


class Notes(BaseModel):
    items: list[Note]
    total: int


class MissingError(Exception):
    pass


MALFORMED: Any = {400: {"model": Error, "description": "malformed"}}
MISSING: Any = {**MALFORMED, 404: {"model": Error, "description": "missing"}}
LINKS = {"read": {"operationId": "read_note", "parameters": {"key": "$response.body#/id"}}}
CREATED: Any = {
    **MALFORMED,
    201: {"description": "made", "links": LINKS},
    409: {"model": Error, "description": "taken"},
}
app = FastAPI(generate_unique_id_function=lambda route: route.name)
Key = Annotated[str, Path(min_length=1, max_length=50, pattern="^[a-z0-9-]+$")]
COUNTED: dict[str, int] = {}
_early: list[tuple[str, str]] = []
_lock = threading.Lock()


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(DATABASE)
    connection.execute("PRAGMA synchronous = FULL")
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def described() -> dict[str, Any]:
    schema = plain()
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    return schema


plain = app.openapi
app.openapi = described  # type: ignore[method-assign]


@app.exception_handler(RequestValidationError)
def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
    if FAULT == "keeps-what-it-refuses":
        with database() as connection:
            connection.execute("INSERT INTO notes VALUES (?, 'refused')", (uuid.uuid4().hex,))
    return JSONResponse({"error": str(error.errors()[0]["msg"])}, 400)


@app.exception_handler(HTTPException)
def refused(request: Request, error: HTTPException) -> JSONResponse:
    headers = dict(error.headers or {})
    if error.status_code == 405:  # the routing tells the methods of one route of several
        there = [r for r in app.routes if r.matches(request.scope)[0] is not Match.NONE]
        methods = {method for route in there for method in getattr(route, "methods", ())}
        headers["allow"] = ", ".join(sorted(methods))
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers)


@app.exception_handler(MissingError)
def missing(_: Request, __: MissingError) -> JSONResponse:
    return JSONResponse({"error": "there is no such note"}, 404)


@app.get("/health", include_in_schema=False)
def health() -> JSONResponse:
    return JSONResponse({}, 503 if FAULT == "never-healthy" else 200)


@app.post("/v2/notes", status_code=201, responses=CREATED, response_model=Note)
def create_note(new: NewNote) -> Any:
    key = new.id or uuid.uuid4().hex
    COUNTED["notes"] = COUNTED.get("notes", 0) + 1
    if FAULT == "breaks-on-odd-text" and not new.text.isascii():
        raise ValueError(new.text)
    if FAULT == "acknowledges-early":
        return later(key, new.text)
    if FAULT == "forgets":
        return {"id": key, "text": new.text}
    try:
        with database() as connection:
            text = new.text[: len(new.text) // 2] if FAULT == "keeps-half" else new.text
            connection.execute("INSERT INTO notes VALUES (?, ?)", (key, text))
            if FAULT == "commits-in-between":
                connection.commit()
                time.sleep(0.01)
            connection.execute("INSERT INTO marks VALUES (?)", (key,))
            if FAULT == "has-an-orphan":
                connection.execute("INSERT INTO marks VALUES (?)", (uuid.uuid4().hex,))
    except sqlite3.IntegrityError:
        status = 410 if FAULT == "undocumented-status" else 409
        return JSONResponse({"error": f"a note '{key}' exists already"}, status)
    if FAULT == "body-changed":
        return JSONResponse({"id": key, "text": None}, 201)
    return {"id": key, "text": new.text}


def later(key: str, text: str) -> dict[str, str]:
    """Keep it in memory, and write ten of them at once."""
    with _lock:
        _early.append((key, text))
        if len(_early) >= 10:
            with database() as connection:
                connection.executemany("INSERT OR IGNORE INTO notes VALUES (?, ?)", _early)
            _early.clear()
    return {"id": key, "text": text}


@app.get("/v2/notes", responses=MALFORMED, response_model=Notes)
def list_notes(limit: Annotated[int, Query(ge=1, le=100)] = 50) -> Any:
    with database() as connection:
        rows = connection.execute("SELECT id, text FROM notes ORDER BY id LIMIT ?", (limit,))
        items = [{"id": key, "text": text} for key, text in rows]
        total = connection.execute("SELECT count(*) FROM notes").fetchone()[0]
    if FAULT == "forgets-what-it-showed":
        total = COUNTED.get("notes", 0)
    return {"items": items, "total": total}


@app.get("/v2/notes/{key}", responses=MISSING, response_model=Note)
def read_note(key: Key) -> Any:
    with database() as connection:
        row = connection.execute("SELECT id, text FROM notes WHERE id = ?", (key,)).fetchone()
    if row is None:
        raise MissingError
    return {"id": row[0], "text": row[1].upper() if FAULT == "shouts" else row[1]}


@app.delete("/v2/notes/{key}", status_code=204, responses=MISSING)
def delete_note(key: Key) -> None:
    with database() as connection:
        connection.execute("DELETE FROM marks WHERE note = ?", (key,))
        if not connection.execute("DELETE FROM notes WHERE id = ?", (key,)).rowcount:
            raise MissingError


if __name__ == "__main__":
    if FAULT == "ends-at-once":
        sys.exit("the notes are not in the mood")
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
