"""The costs service by HTTP: what is recorded is summed, limited, alerted and shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from fastapi.testclient import TestClient

Served = Callable[..., TestClient]
_USAGE = {"provider": "anthropic", "agent_type": "reviewer", "model": "claude-sonnet-4-5"}


@pytest.fixture
def client(served: Served, empty_database: Path) -> TestClient:
    return served("costs", empty_database)


def test_a_retry_of_the_call_is_answered_alike_and_counts_once(client: TestClient) -> None:
    body = _USAGE | {"id": "u", "tokens_in": 10, "tokens_out": 5}
    first, again = (client.post("/v2/usage", json=body) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == client.get("/v2/usage/u").json()
    assert first.json()["cost_usd"] > 0
    assert client.get("/v2/analytics").json()["totals"]["requests"] == 1
    other = client.post("/v2/usage", json=body | {"tokens_in": 11})
    assert other.status_code == 409
    assert other.json()["error"] == "usage 'u' is recorded already, with other content"


def test_usage_is_found_by_what_it_is(client: TestClient) -> None:
    for number, (provider, day) in enumerate([("p", "30"), ("p", "31"), ("q", "31")]):
        told = {"id": f"u{number}", "provider": provider, "created_at": f"2026-01-{day}T08:00:00Z"}
        cost = {"cost_usd": 1.0} if provider == "p" else {}
        client.post("/v2/usage", json=_USAGE | told | cost)

    def found(**filters: object) -> list[str]:
        answer = client.get("/v2/usage", params=filters).json()
        assert answer["total"] == len(answer["items"])
        return [item["id"] for item in answer["items"]]

    assert found() == ["u1", "u2", "u0"]
    assert found(provider="p") == ["u1", "u0"]
    assert found(since="2026-01-31") == ["u1", "u2"]
    assert found(until="2026-01-30") == ["u0"]
    assert found(priced="no") == ["u2"]
    assert found(priced="yes", agent_type="reviewer", since="2026-01-31") == ["u1"]
    missing = client.get("/v2/usage/none")
    assert missing.status_code == 404
    assert missing.json()["error"] == "there is no usage 'none'"


def test_sums_by_fewer_things_are_the_same_sums(client: TestClient) -> None:
    for number in range(6):
        told = {"provider": "pq"[number % 2], "created_at": f"2026-01-{10 + number % 3}T08:00:00Z"}
        client.post("/v2/usage", json=_USAGE | told | {"cost_usd": 0.1, "tokens_in": number})
    pages = [
        client.get("/v2/analytics", params=params).json()
        for params in ({}, {"by": "platform"}, {"by": ["date", "model"]}, {"limit": 1})
    ]
    assert [page["total"] for page in pages] == [6, 2, 3, 6]
    for page in pages:
        assert page["totals"]["cost_usd"] == 0.6
        assert page["totals"]["tokens"] == 15
    assert [item["cost_usd"] for item in pages[1]["items"]] == [0.3, 0.3]
    assert {item["platform"] for item in pages[2]["items"]} == {None}
    filtered = client.get("/v2/analytics", params={"platform": "p", "since": "2026-01-12"}).json()
    assert filtered["totals"]["requests"] == 1


def test_a_budget_lives_and_dies(client: TestClient) -> None:
    body = {"id": "b", "name": "Reviews", "period": "month", "limit_usd": 2.0}
    created = client.post("/v2/budgets", json=body)
    assert created.status_code == 201
    assert client.post("/v2/budgets", json=body).status_code == 409
    client.post("/v2/usage", json=_USAGE | {"id": "u", "cost_usd": 1.7})
    shown = client.get("/v2/budgets/b").json()
    assert (shown["spent_usd"], shown["left_usd"], shown["percent"]) == (1.7, 0.3, 85.0)
    assert shown["reached_percent"] == 80
    alerts = client.get("/v2/alerts", params={"budget_id": "b", "state": "open"}).json()
    assert [(a["threshold_percent"], a["usage_id"]) for a in alerts["items"]] == [
        (80, "u"),
        (50, "u"),
    ]
    path = f"/v2/alerts/{alerts['items'][0]['id']}/acknowledge"
    seen, again = client.post(path).json(), client.post(path).json()
    assert seen == again and seen["acknowledged_at"]
    assert client.get("/v2/alerts", params={"state": "acknowledged"}).json()["total"] == 1
    changed = client.patch("/v2/budgets/b", json={"limit_usd": 1.0}).json()
    assert (changed["name"], changed["reached_percent"]) == ("Reviews", 100)
    assert client.delete("/v2/budgets/b").status_code == 204
    assert (
        client.get("/v2/alerts").json()
        == client.get("/v2/budgets").json()
        == {
            "items": [],
            "total": 0,
        }
    )
    for call in (client.get, client.delete):
        assert call("/v2/budgets/b").status_code == 404
    assert client.post("/v2/alerts/none/acknowledge").status_code == 404


def test_advice_tells_its_reasons(client: TestClient) -> None:
    client.post("/v2/usage", json=_USAGE | {"cost_usd": 0.25})
    client.post("/v2/budgets", json={"name": "B", "period": "day", "limit_usd": 0.4})
    asked = {"platform": "anthropic", "agent_type": "reviewer", "model": "claude-sonnet-4-5"}
    found = client.get("/v2/advice", params=asked).json()
    assert found["advice"] == "wait"
    assert found["reasons"] == ["'B' has $0.150000 left"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"provider": ""},
        {"cost_usd": -1},
        {"cost_usd": "0.1"},
        {"tokens_in": True},
        {"created_at": "2026-02-29T08:00:00Z"},
        {"created_at": "2026-01-31T08:00:00+01:00"},
        {"colour": "red"},
    ],
)
def test_malformed_usage_is_refused_and_changes_nothing(
    client: TestClient, wrong: dict[str, object]
) -> None:
    answer = client.post("/v2/usage", json=_USAGE | wrong)
    assert answer.status_code == 400
    assert next(iter(wrong)) in answer.json()["error"]
    assert client.get("/v2/usage").json()["total"] == 0


def test_methods_that_a_path_lacks_are_refused_with_those_that_it_has(client: TestClient) -> None:
    answer = client.put("/v2/budgets/b", json={})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


def test_odd_migrated_values_are_shown(served: Served, database: Path) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute(
            "INSERT INTO synthetic_usage VALUES (1, x'ff', 'p', 'a', x'41', 'slow', 9e99, x'00',"
            " 'dear', CAST(x'32ff' AS TEXT))"
        )
        connection.execute(
            "INSERT INTO cost_analytics (date, platform, model, total_requests, total_cost_usd)"
            " VALUES (x'ff', CAST(x'ff' AS TEXT), 'm', 'many', 9e99)"
        )
    client = served("costs", database)
    assert client.get("/v2/usage").status_code == 200
    assert client.get("/v2/analytics").json()["total"] == 2
    assert client.get("/v2/advice?platform=p&agent_type=a").json()["advice"] == "unknown"
