"""The routing service by HTTP: decisions, their reasons, outcomes, health and load."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from fastapi.testclient import TestClient

Served = Callable[..., TestClient]
_KIND = {"capability_domain": "implementation", "task_type": "bulk_coding"}


@pytest.fixture
def client(served: Served, empty_database: Path) -> TestClient:
    return served("routing", empty_database)


def changed(database: Path, sql: str, *bindings: object) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute(sql, bindings)


def row(database: Path, sql: str) -> tuple[object, ...]:
    with closing(apsw.Connection(str(database))) as connection:
        return next(iter(connection.execute(sql)))


def decided(client: TestClient, **body: object) -> dict[str, object]:
    answer = client.post("/v2/decisions", json={**_KIND, **body})
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def test_a_decision_is_kept_with_its_reasons(client: TestClient) -> None:
    made = decided(client, id="d", seed=7)
    assert client.get("/v2/decisions/d").json() == made
    assert made["platform"] == made["considered"][0]["platform"]
    assert made["reasons"][0].startswith(f"{made['platform']} has the highest score")
    assert len(made["considered"]) == 4
    assert made["outcome"] is None


def test_the_same_seed_decides_alike_and_a_retry_decides_once(client: TestClient) -> None:
    made = decided(client, id="d", seed=7)
    assert decided(client, id="d", seed=7) == made
    assert decided(client, id="d") == made
    assert client.get("/v2/decisions").json()["total"] == 1
    other = client.post("/v2/decisions", json={"id": "d", "task_type": "another"})
    assert other.status_code == 409
    assert other.json()["error"] == "decision 'd' was made for another question"


def test_what_platforms_did_before_the_migration_is_believed(
    served: Served, empty_database: Path
) -> None:
    changed(
        empty_database,
        "INSERT INTO platform_performance (platform, capability_domain, task_type, success_rate,"
        " average_duration_seconds, average_cost_usd, total_tasks, confidence_score,"
        " measurement_period_start) VALUES"
        " ('cursor', 'implementation', 'bulk_coding', 0.9, 30, 0.02, 10, 1.0, '2025-09-01'),"
        " ('cursor', 'implementation', 'bulk_coding', 0.7, 50, NULL, 10, 1.0, '2025-09-02'),"
        " ('gemini_cli', 'implementation', 'other', 0.5, NULL, NULL, 'odd', NULL, '2025-09-01')",
    )
    made = decided(served("routing", empty_database))
    by_name = {one["platform"]: one for one in made["considered"]}
    cursor = by_name["cursor"]
    assert cursor["evidence"] == 20
    assert cursor["success"] == pytest.approx(17 / 22)
    assert cursor["duration_seconds"] == pytest.approx(40)
    assert cursor["cost_usd"] == pytest.approx(0.02)
    assert by_name["gemini_cli"]["evidence"] == 1  # 2 tasks where none are told, half confident
    assert by_name["claude_code"]["evidence"] == 0


def test_an_outcome_is_learned_once(served: Served, empty_database: Path) -> None:
    client = served("routing", empty_database)
    made = decided(client, id="d", platforms=["cursor"])
    outcome = {"success": True, "duration_seconds": 40, "cost_usd": 0.5, "tokens": 9}
    first = client.post("/v2/decisions/d/outcome", json=outcome | {"satisfaction": 4})
    again = client.post("/v2/decisions/d/outcome", json=outcome | {"satisfaction": 4})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == client.get("/v2/decisions/d").json()
    assert first.json()["reasons"] == made["reasons"]
    other = client.post("/v2/decisions/d/outcome", json=outcome)
    assert other.status_code == 409
    (belief,) = client.get("/v2/beliefs").json()["items"]
    assert belief["outcomes"] == 1
    assert belief["success"] == pytest.approx(2 / 3)
    assert row(
        empty_database,
        "SELECT platform, capability_domain, task_type, success_rate, average_duration_seconds,"
        " average_token_usage, average_cost_usd, user_satisfaction_avg, total_tasks"
        " FROM platform_performance",
    ) == ("cursor", "implementation", "bulk_coding", 1.0, 40.0, 9, 0.5, 4.0, 1)


def test_what_was_not_told_does_not_make_a_platform_cheap(
    served: Served, empty_database: Path
) -> None:
    client = served("routing", empty_database)
    for identifier, cost in (("a", 0.5), ("b", None)):
        decided(client, id=identifier, platforms=["cursor"])
        told = {"success": False, "cost_usd": cost}
        client.post(f"/v2/decisions/{identifier}/outcome", json=told)
    assert client.get("/v2/beliefs").json()["items"][0]["cost_usd"] == 0.5
    mean = row(empty_database, "SELECT average_cost_usd, total_tasks FROM platform_performance")
    assert mean == (0.5, 2)


def test_open_decisions_count_as_load_until_their_outcome(client: TestClient) -> None:
    for number in range(3):
        decided(client, id=f"d{number}", platforms=["cursor"])
    client.post("/v2/decisions/d0/outcome", json={"success": True})
    made = decided(client, platforms=["cursor", "gemini_cli"], weights={"load": 10.0})
    assert made["platform"] == "gemini_cli"
    by_name = {one["platform"]: one for one in client.get("/v2/platforms").json()["items"]}
    assert by_name["cursor"]["in_flight"] == 2
    assert by_name["cursor"]["outcomes"] == 1


def test_a_decision_that_was_forgotten_is_no_load_for_ever(
    served: Served, empty_database: Path
) -> None:
    client = served("routing", empty_database)
    decided(client, id="d", platforms=["cursor"])
    changed(empty_database, "UPDATE routing_decisions SET decided_at = '2026-01-01T00:00:00.000Z'")
    by_name = {one["platform"]: one for one in client.get("/v2/platforms").json()["items"]}
    assert by_name["cursor"]["in_flight"] == 0


def test_a_decision_of_a_clock_that_was_far_ahead_is_no_load_for_years(
    served: Served, empty_database: Path
) -> None:
    client = served("routing", empty_database)
    for identifier, ahead in (("d", "+20 minutes"), ("e", "+9 years")):
        decided(client, id=identifier, platforms=["cursor"])
        changed(
            empty_database,
            "UPDATE routing_decisions SET decided_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?)"
            " WHERE id = ?",
            ahead,
            identifier,
        )
    by_name = {one["platform"]: one for one in client.get("/v2/platforms").json()["items"]}
    assert by_name["cursor"]["in_flight"] == 1


def test_a_platform_is_left_out_while_its_providers_are_unhealthy(
    served: Served, empty_database: Path
) -> None:
    client = served("routing", empty_database)
    changed(
        empty_database,
        "INSERT INTO model_providers (name, status) VALUES ('a', 'unhealthy'), ('b', 'healthy')",
    )
    path = "/v2/platforms/cursor/providers"
    assert client.put(path, json={"providers": ["a", "b", "a"]}).json()["available"]
    shown = client.put(path, json={"providers": ["a"]}).json()
    assert shown["why_not"] == "of its providers, a is unhealthy"
    made = decided(client, platforms=["cursor", "gemini_cli"])
    assert made["platform"] == "gemini_cli"
    assert made["left_out"] == [{"platform": "cursor", "why": "of its providers, a is unhealthy"}]
    refused = client.post("/v2/decisions", json={"platforms": ["cursor"]})
    assert refused.status_code == 503
    assert refused.json()["error"] == (
        "no platform can be chosen now (cursor: of its providers, a is unhealthy)"
    )
    changed(empty_database, "UPDATE model_providers SET status = 'healthy'")
    assert decided(client, platforms=["cursor"])["platform"] == "cursor"


def test_what_is_not_there_is_said(client: TestClient) -> None:
    for method, path, body in (
        ("GET", "/v2/decisions/none", None),
        ("POST", "/v2/decisions/none/outcome", {"success": True}),
        ("POST", "/v2/decisions", {"task_id": "none"}),
        ("PUT", "/v2/platforms/cursor/providers", {"providers": ["none"]}),
    ):
        answer = client.request(method, path, json=body)
        assert answer.status_code == 404
        assert "none" in answer.json()["error"]


def test_a_task_keeps_its_decisions_and_lists_are_filtered(served: Served, database: Path) -> None:
    client = served("routing", database)
    task = str(row(database, "SELECT id FROM task_contexts LIMIT 1")[0])
    decided(client, id="d", task_id=task, platforms=["cursor"])
    decided(client, id="e", platforms=["gemini_cli"])
    client.post("/v2/decisions/e/outcome", json={"success": False})
    for asked, wanted in (
        ({}, ["e", "d"]),
        ({"task_id": task}, ["d"]),
        ({"platform": "gemini_cli"}, ["e"]),
        ({"state": "open"}, ["d"]),
        ({"state": "reported"}, ["e"]),
    ):
        found = client.get("/v2/decisions", params=asked).json()
        assert [one["id"] for one in found["items"]] == wanted
        assert found["total"] == len(wanted)


def test_a_row_that_was_changed_is_told(served: Served, empty_database: Path) -> None:
    client = served("routing", empty_database)
    decided(client, id="d", platforms=["cursor"])
    changed(empty_database, "UPDATE routing_decisions SET platform = 'gemini_cli'")
    reasons = client.get("/v2/decisions/d").json()["reasons"]
    assert reasons == ["this row does not lead to its own decision: it was changed"]
