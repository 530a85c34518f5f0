"""The legacy Database Manager with a fault that clients can only see over time, named in FAULT."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import uvicorn
from fastapi import Request, Response

from fixtures.services.database_manager import app

FAULT = os.environ["FAULT"]
SEEN: dict[str, bytes] = {}
COUNTED = itertools.count()


def sql(statement: str, *bindings: Any) -> None:
    with closing(sqlite3.connect(os.environ["DATABASE_PATH"], timeout=20)) as database, database:
        database.execute(statement, bindings)


def often() -> bool:
    """Whether this is one of the requests that go wrong: every tenth."""
    return next(COUNTED) % 10 == 9


def forgets(request: Request, status: int, body: bytes) -> bytes:
    """Take back a task that was just acknowledged."""
    if (request.method, request.url.path, status) == ("POST", "/tasks", 201) and often():
        sql("DELETE FROM task_contexts WHERE id = ?", json.loads(body)["id"])
    return body


def forgets_updates(request: Request, status: int, body: bytes) -> bytes:
    """Put the title back that was there before an update, much later than the answer."""
    if request.method == "PUT" and status == 200 and often():
        key = json.loads(body)["id"]
        sql("UPDATE task_contexts SET title = ? WHERE id = ?", f"{key} v1 of old", key)
    return body


def twice(request: Request, status: int, body: bytes) -> bytes:
    """Insert a memory once more under another key."""
    if (request.method, request.url.path, status) == ("POST", "/memory", 201) and often():
        columns = "content, type, timestamp"
        sql(
            f"INSERT INTO memory_blocks (id, {columns}) SELECT 'again-' || id, {columns}"
            " FROM memory_blocks WHERE id = ?",
            json.loads(body)["id"],
        )
    return body


def stale(request: Request, status: int, body: bytes) -> bytes:
    """Answer every other read of a task as it was first read."""
    if request.method == "GET" and request.url.path.startswith("/tasks/") and status == 200:
        first = SEEN.setdefault(request.url.path, body)
        return first if next(COUNTED) % 2 else body
    return body


def undeletes(request: Request, status: int, body: bytes) -> bytes:
    """Put a task back that was just deleted."""
    if request.method == "DELETE" and request.url.path.startswith("/tasks/") and status == 200:
        key = request.url.path.rpartition("/")[2]
        if often():
            sql("INSERT INTO task_contexts (id, title) VALUES (?, ?)", key, SEEN_TITLES[key])
    if request.method in ("POST", "PUT") and "title" in (told := json.loads(body)):
        SEEN_TITLES[told["id"]] = told["title"]
    return body


SEEN_TITLES: dict[str, str] = {}
FAULTS: dict[str, Callable[[Request, int, bytes], bytes]] = {
    "forgets": forgets,
    "forgets-updates": forgets_updates,
    "twice": twice,
    "stale": stale,
    "undeletes": undeletes,
}


@app.middleware("http")
async def faulty(request: Request, follow: Any) -> Response:
    answer = await follow(request)
    body = b"".join([part async for part in answer.body_iterator])
    if request.url.path != "/health":
        body = FAULTS[FAULT](request, answer.status_code, body)
    return Response(body, answer.status_code, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
