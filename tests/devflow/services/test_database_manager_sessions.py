"""Sessions and coordination sessions by HTTP: who works on a task, hands it on, what it costs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from fastapi.testclient import TestClient

from devflow.services.costs.consistency import inconsistencies

Served = Callable[..., TestClient]
SESSIONS = "/v2/coordination-sessions"


@pytest.fixture
def client(served: Served, empty_database: Path) -> TestClient:
    client = served("database-manager", empty_database)
    assert client.post("/v2/tasks", json={"id": "t", "title": "Task"}).status_code == 201
    return client


def begin(client: TestClient, name: str, **given: object) -> dict[str, Any]:
    body = {"id": name, "task_id": "t", "platform": "claude_code", **given}
    answer = client.post(SESSIONS, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def error(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"])


def test_a_session_is_kept_changed_and_listed(client: TestClient) -> None:
    body = {"id": "s", "name": "Monday", "context": "c", "metadata": {"branch": "b"}}
    made = client.post("/v2/sessions", json=body).json()
    assert {name: made[name] for name in body} == body
    assert client.get("/v2/sessions/s").json() == made
    changed = client.patch("/v2/sessions/s", json={"metadata": None, "name": "Tuesday"}).json()
    assert changed == made | {
        **{"name": "Tuesday", "metadata": None, "updated_at": changed["updated_at"]}
    }
    assert changed["updated_at"] >= made["updated_at"]
    named = client.post("/v2/sessions", json={"name": "other"}).json()
    listed = client.get("/v2/sessions").json()
    assert {item["id"] for item in listed["items"]} == {"s", named["id"]}
    assert error(client.post("/v2/sessions", json=body), 409) == "a session 's' exists already"
    assert error(client.get("/v2/sessions/none"), 404) == "there is no session 'none'"
    error(client.patch("/v2/sessions/none", json={}), 404)


def test_a_coordination_session_begins_goes_on_and_ends(client: TestClient) -> None:
    made = begin(client, "s", model_used="m", context_size_start=5, metadata={"host": "h"})
    assert (made["status"], made["end_time"], made["tokens_used"]) == ("active", None, 0)
    told = {"compaction_events": 2, "errors_encountered": 1, "task_progress_delta": 0.5}
    after = client.patch(f"{SESSIONS}/s", json=told).json()
    assert after == made | told | {"updated_at": after["updated_at"]}
    ended = client.post(f"{SESSIONS}/s/end", json={"outcome": "failed", "user_satisfaction": 2})
    found = ended.json()
    assert (found["status"], found["user_satisfaction"]) == ("failed", 2)
    assert found["end_time"] is not None
    assert found["duration_seconds"] >= 0
    audit = client.get(f"{SESSIONS}/s/audit").json()
    changes = [(item["old_status"], item["new_status"]) for item in audit["items"]]
    assert changes == [(None, "active"), ("active", "failed")]
    for answer in (
        client.patch(f"{SESSIONS}/s", json={}),
        client.post(f"{SESSIONS}/s/end", json={}),
        client.post(f"{SESSIONS}/s/handoff", json={"platform": "cursor", "handoff_context": 1}),
    ):
        assert "is failed; only an active one can go on, end or hand off" in error(answer, 409)


def test_no_session_ends_before_it_began_when_the_clock_is_set_back(
    client: TestClient, empty_database: Path
) -> None:
    begin(client, "a")
    begin(client, "b")
    with closing(apsw.Connection(str(empty_database))) as connection:
        connection.execute(
            "UPDATE coordination_sessions SET start_time = datetime('now', '+1 hour')"
        )
    ended = client.post(f"{SESSIONS}/a/end", json={}).json()
    body = {"id": "c", "platform": "cursor", "handoff_context": {}}
    handed = client.post(f"{SESSIONS}/b/handoff", json=body).json()["follows"]
    for found in (ended, handed):
        assert (found["end_time"], found["duration_seconds"]) == (found["start_time"], 0)


def test_what_a_session_needs_has_to_be_there(client: TestClient) -> None:
    begin(client, "s")
    again = client.post(SESSIONS, json={"id": "s", "task_id": "t", "platform": "cursor"})
    assert error(again, 409) == "a coordination session 's' exists already"
    none = client.post(SESSIONS, json={"task_id": "none", "platform": "cursor"})
    assert error(none, 409) == "there is no task 'none' for the session"
    for path in ("", "/chain", "/audit"):
        error(client.get(f"{SESSIONS}/none{path}"), 404)
    error(client.post(f"{SESSIONS}/none/end", json={}), 404)


def test_a_handoff_ends_one_session_and_begins_the_next(client: TestClient) -> None:
    begin(client, "a", model_used="m")
    body = {"id": "b", "platform": "gemini_cli", "handoff_context": {"next": "costs"}}
    answer = client.post(f"{SESSIONS}/a/handoff", json=body | {"context_size_end": 9})
    assert answer.status_code == 201
    follower = answer.json()
    first = follower.pop("follows")
    assert client.get(f"{SESSIONS}/b").json() == follower
    assert client.get(f"{SESSIONS}/a").json() == first
    assert (first["status"], first["context_size_end"]) == ("handed_off", 9)
    assert (first["handoff_to_session"], follower["handoff_from_session"]) == ("b", "a")
    assert first["handoff_context"] == follower["handoff_context"] == {"next": "costs"}
    assert (follower["task_id"], follower["session_type"]) == ("t", "handoff")
    assert first["handoff_success"] is None
    client.post(f"{SESSIONS}/b/handoff", json=body | {"id": "c", "platform": "cursor"})
    client.post(f"{SESSIONS}/c/end", json={})
    for name in "abc":
        chain = client.get(f"{SESSIONS}/{name}/chain").json()
        assert [item["id"] for item in chain["items"]] == ["a", "b", "c"]
    page = client.get(f"{SESSIONS}/a/chain?limit=1&offset=1").json()
    assert ([item["id"] for item in page["items"]], page["total"]) == (["b"], 3)
    success = {n: client.get(f"{SESSIONS}/{n}").json()["handoff_success"] for n in "abc"}
    assert success == {"a": None, "b": True, "c": None}


def test_a_handoff_that_fails_ends_nothing(client: TestClient) -> None:
    begin(client, "a")
    begin(client, "b")
    before = client.get(f"{SESSIONS}/a").json()
    body = {"id": "b", "platform": "cursor", "handoff_context": {}, "usage": {"tokens_in": 5}}
    assert error(client.post(f"{SESSIONS}/a/handoff", json=body), 409).endswith("exists already")
    assert client.get(f"{SESSIONS}/a").json() == before
    assert client.get("/usage").json()["total"] == 0


def test_usage_is_added_to_the_session_and_to_the_sums_once_an_id(
    client: TestClient, empty_database: Path
) -> None:
    begin(client, "a", model_used="claude-sonnet-4-5")
    usage = {"id": "u", "tokens_in": 1_000, "tokens_out": 100, "cost_usd": 0.5}
    for _ in range(2):
        found = client.patch(f"{SESSIONS}/a", json={"usage": usage}).json()
        assert (found["tokens_used"], found["api_calls"]) == (1_100, 1)
        assert found["estimated_cost_usd"] == 0.5
    looked_up = {"tokens_in": 1_000_000, "tokens_out": 0}
    ended = client.post(f"{SESSIONS}/a/end", json={"usage": looked_up}).json()
    assert ended["api_calls"] == 2
    assert ended["estimated_cost_usd"] > 0.5
    with closing(apsw.Connection(str(empty_database))) as connection:
        assert not inconsistencies(connection)
        ((platform, model, requests),) = connection.execute(
            "SELECT platform, model, total_requests FROM cost_analytics"
        )
    assert (platform, model, requests) == ("claude_code", "claude-sonnet-4-5", 2)
    other = client.post(f"{SESSIONS}", json={"id": "o", "task_id": "t", "platform": "cursor"})
    assert other.status_code == 201
    taken = client.patch(f"{SESSIONS}/o", json={"usage": usage})
    assert "recorded already, with other content" in error(taken, 409)
    assert client.get(f"{SESSIONS}/o").json()["tokens_used"] == 0


def test_coordination_sessions_are_listed_by_what_they_are(client: TestClient) -> None:
    begin(client, "a")
    begin(client, "b", platform="cursor")
    client.post(f"{SESSIONS}/b/end", json={})

    def listed(**asked: object) -> set[str]:
        found = client.get(SESSIONS, params=asked).json()
        assert found["total"] == len(found["items"])
        return {item["id"] for item in found["items"]}

    assert listed(task_id="t") == {"a", "b"}
    assert listed(platform="cursor") == {"b"}
    assert listed(status="active") == {"a"}


def test_chains_that_were_migrated_odd_end(client: TestClient, empty_database: Path) -> None:
    for name in "abc":
        begin(client, name)
    with closing(apsw.Connection(str(empty_database))) as connection:
        connection.execute(
            "UPDATE coordination_sessions SET handoff_to_session = CASE id WHEN 'a' THEN 'b'"
            " WHEN 'b' THEN 'a' ELSE 'gone' END, handoff_success = 1, metadata = 'odd'"
        )
    found = client.get(f"{SESSIONS}/a/chain").json()["items"]
    assert [item["id"] for item in found] == ["a", "b"]
    assert (found[0]["handoff_success"], found[0]["metadata"]) == (True, "odd")
    assert client.get(f"{SESSIONS}/c/chain").json()["total"] == 1


def test_every_migrated_session_can_be_shown(served: Served, database: Path) -> None:
    client = served("database-manager", database)
    found = client.get(f"{SESSIONS}?limit=500").json()
    assert found["total"] == len(found["items"]) > 0
    for item in found["items"]:
        assert client.get(f"{SESSIONS}/{item['id']}").json() == item
