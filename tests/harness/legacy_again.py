"""A legacy stand-in in the role of its successor, with something changed where FAULT names it."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import Request, Response

FAULT = os.environ.get("FAULT", "")


def changed(body: Any) -> Any:
    """Return the body with the fault in it, wherever it applies."""
    if isinstance(body, list):
        return [changed(item) for item in (body[::-1] if FAULT == "order" else body)]
    if not isinstance(body, dict):
        return body
    altered = FAULTS.get(FAULT, lambda _: {})(body)
    return {key: changed(value) for key, value in (body | altered).items() if value is not LEFT_OUT}


LEFT_OUT = object()
FAULTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "status-word": lambda b: {"status": "active"} if b.get("status") == "in_progress" else {},
    "rounding": lambda b: {k: round(v, 3) for k, v in b.items() if k == "similarity"},
    "number-as-text": lambda b: {k: str(v) for k, v in b.items() if k == "total"},
    "null-left-out": lambda b: {k: LEFT_OUT for k, v in b.items() if v is None},
    "old-time-lost": lambda b: {k: "2026-01-01T00:00:00.000Z" for k in b if k == "timestamp"},
    "sentence": lambda b: {k: "not found" for k in b if k == "error"},
}


def main(name: str, port: int) -> None:
    os.chdir(Path(os.environ["DEVFLOW_DB_PATH"]).parent)
    app = importlib.import_module(f"fixtures.services.{name}").app

    @app.middleware("http")
    async def altered(request: Request, follow: Any) -> Response:
        answer = await follow(request)
        content = b"".join([part async for part in answer.body_iterator])
        if FAULT == "fails" and request.url.path == "/usage":
            return Response("{}", 500)
        if FAULT == "ends" and request.method == "PUT":
            os._exit(1)
        body = changed(json.loads(content))
        status = 200 if FAULT == "status" and answer.status_code == 201 else answer.status_code
        return Response(json.dumps(body), status, media_type="application/json")

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
