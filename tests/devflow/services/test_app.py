"""A service that says that it is well has built what its first request needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydantic
import pytest
from fastapi.testclient import TestClient


@pytest.mark.parametrize(
    ("service", "path"),
    [("database-manager", "/tasks"), ("vector-memory", "/v2/memories"), ("costs", "/v2/budgets")],
)
def test_the_first_request_builds_no_route(
    service: str,
    path: str,
    served: Callable[..., TestClient],
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = served(service, database)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a request built what it is validated by")

    monkeypatch.setattr(pydantic.TypeAdapter, "__init__", refused)
    assert client.get(path).status_code == 200
