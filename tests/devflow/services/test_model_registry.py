"""The registry over HTTP, with real providers: health, failover, requests, retention, restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
from conftest import Served
from fastapi.testclient import TestClient
from providers import Provider, provider

from devflow.services.model_registry import checking
from devflow.services.model_registry.standing import DOWN_AFTER, UP_AFTER
from harness.services import free_port

STANDING = "SELECT name, status, is_active, consecutive_failures FROM model_providers"
REQUEST = {"provider": "ollama", "agent_type": "coder", "model": "m", "duration_ms": 100}


@pytest.fixture
def ollama() -> Iterator[Provider]:
    with provider() as one:
        yield one


@pytest.fixture
def synthetic() -> Iterator[Provider]:
    with provider() as one:
        yield one


@pytest.fixture
def registry(served: Served, database: Path, ollama: Provider, synthetic: Provider) -> TestClient:
    return served(
        "model-registry",
        database,
        OLLAMA_HOST=ollama.url,
        SYNTHETIC_BASE_URL=synthetic.url,
        DEVFLOW_HEALTH_INTERVAL_S=3_600,
    )


def checked(client: TestClient, times: int = 1) -> dict[str, Any]:
    for _ in range(times):
        answer = client.post("/v2/checks").json()
    return dict(answer)


def select(database: Path, sql: str, *bindings: object) -> list[tuple[Any, ...]]:
    with apsw.Connection(str(database)) as connection:
        return list(connection.execute(sql, bindings))


# Health and failover -----------------------------------------------------------------------------


def test_one_bad_answer_is_no_outage(registry: TestClient, ollama: Provider) -> None:
    checked(registry, UP_AFTER)
    ollama.status = 503
    assert checked(registry, DOWN_AFTER - 1)["active"] == "ollama"
    assert checked(registry)["active"] == "synthetic"
    latest = registry.get("/v2/failovers").json()["items"][0]
    assert (latest["from_provider"], latest["to_provider"]) == ("ollama", "synthetic")
    assert latest["reason"] == "ollama was unhealthy"


def test_a_better_placed_provider_is_gone_back_to_once_it_is_steady(
    registry: TestClient, ollama: Provider
) -> None:
    ollama.status = 500
    assert checked(registry, DOWN_AFTER)["active"] == "synthetic"
    ollama.status = 200
    assert checked(registry, UP_AFTER - 1)["active"] == "synthetic"
    assert checked(registry)["active"] == "ollama"


def test_without_any_healthy_provider_none_is_active(
    registry: TestClient, ollama: Provider, synthetic: Provider
) -> None:
    ollama.status = synthetic.status = 500
    assert checked(registry, DOWN_AFTER)["active"] is None
    assert registry.get("/v2/active").json() == {"active": None}
    assert registry.get("/v2/failovers").json()["items"][0]["to_provider"] is None


def test_a_provider_that_hangs_is_unwell_after_the_deadline(
    registry: TestClient, ollama: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "DEADLINE_S", 0.1)
    ollama.delay_s = 1.0
    found = {check["provider"]: check for check in checked(registry)["checks"]}
    assert found["ollama"]["healthy"] is False
    assert found["ollama"]["error"] == "no answer within 0.1 s"
    assert found["synthetic"]["healthy"] is True


def test_what_the_log_alone_knows_is_never_called(served: Served, database: Path) -> None:
    client = served("model-registry", database, OLLAMA_HOST="", DEVFLOW_HEALTH_INTERVAL_S=3_600)
    assert checked(client)["checks"] == []
    migrated = select(database, "SELECT count(*) FROM model_health_history WHERE line_no > 0")
    assert client.get("/v2/checks").json()["total"] == migrated[0][0] > 0


def test_a_disabled_provider_is_left_at_once(registry: TestClient) -> None:
    checked(registry, UP_AFTER)
    changed = registry.patch("/v2/providers/ollama", json={"enabled": False})
    assert changed.json()["configured_by"] == "api"
    assert registry.get("/v2/active").json() == {"active": "synthetic"}
    reason = registry.get("/v2/failovers").json()["items"][0]["reason"]
    assert reason == "ollama is not to be called any more"


def test_a_provider_elsewhere_can_only_be_named_by_the_operator(registry: TestClient) -> None:
    body = {"name": "far", "base_url": "http://192.0.2.1/v1"}
    assert registry.post("/v2/providers", json=body).status_code == 400


def test_a_provider_of_the_log_is_not_deleted(registry: TestClient) -> None:
    refused = registry.delete("/v2/providers/ollama")
    assert refused.status_code == 409
    assert "enabled" in refused.json()["error"]


def test_an_added_provider_is_checked_used_and_deleted(
    registry: TestClient, ollama: Provider, synthetic: Provider
) -> None:
    ollama.status = synthetic.status = 500
    with provider() as third:
        body = {"name": "third", "base_url": third.url, "health_path": "/models", "position": 9}
        assert registry.post("/v2/providers", json=body).status_code == 201
        assert registry.post("/v2/providers", json=body).status_code == 409
        assert checked(registry, DOWN_AFTER)["active"] == "third"
    assert registry.delete("/v2/providers/third").status_code == 204
    assert registry.get("/v2/active").json() == {"active": None}
    assert registry.get("/v2/providers/third").status_code == 404
    last = registry.get("/v2/failovers?limit=1").json()["items"][0]
    assert (last["from_provider"], last["to_provider"]) == ("third", None)
    assert last["reason"] == "third is not to be called any more"


# Requests ----------------------------------------------------------------------------------------


def test_a_request_is_summed_priced_and_fed_to_performance_once(
    registry: TestClient, database: Path
) -> None:
    body = REQUEST | {"id": "r1", "tokens_in": 30, "tokens_out": 12, "cost_usd": 0.5}
    first = registry.post("/v2/requests", json=body)
    again = registry.post("/v2/requests", json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == registry.get("/v2/requests/r1").json()
    assert select(database, "SELECT cost_usd FROM synthetic_usage WHERE id = 'r1'") == [(0.5,)]
    performance = select(
        database,
        "SELECT total_tasks, success_rate, average_token_usage, average_cost_usd"
        " FROM platform_performance WHERE platform = 'ollama' AND task_type = 'coder'"
        " AND capability_domain = 'model_requests'",
    )
    assert performance == [(1, 1.0, 42, 0.5)]
    figures = registry.get("/v2/analytics", params={"provider": "ollama"}).json()["items"][0]
    assert (figures["requests"], figures["tokens_in"], figures["cost_usd"]) == (1, 30, 0.5)


def test_another_request_under_a_known_id_is_refused_and_changes_nothing(
    registry: TestClient, database: Path
) -> None:
    registry.post("/v2/requests", json=REQUEST | {"id": "r1"})
    refused = registry.post("/v2/requests", json=REQUEST | {"id": "r1", "duration_ms": 7})
    assert refused.status_code == 409
    assert select(database, "SELECT count(*) FROM provider_requests") == [(1,)]


def test_a_request_whose_usage_id_is_taken_leaves_nothing_behind(
    registry: TestClient, database: Path
) -> None:
    with apsw.Connection(str(database)) as connection:
        connection.set_busy_timeout(5_000)
        connection.execute(
            "INSERT INTO synthetic_usage (id, provider, agent_type, duration_ms, created_at)"
            " VALUES ('taken', 'other', 'other', 1, '2026-01-01T00:00:00Z')"
        )
    refused = registry.post("/v2/requests", json=REQUEST | {"id": "taken"})
    assert refused.status_code == 409
    assert select(database, "SELECT count(*) FROM provider_requests") == [(0,)]


def test_performance_is_the_mean_of_its_requests(registry: TestClient, database: Path) -> None:
    for number in range(8):
        told = {"success": number % 4 != 0, "duration_ms": 1000 * number, "cost_usd": 0.25}
        assert registry.post("/v2/requests", json=REQUEST | told).status_code == 201
    found = select(
        database,
        "SELECT total_tasks, success_rate, average_duration_seconds FROM platform_performance"
        " WHERE capability_domain = 'model_requests'",
    )
    assert found == [(8, pytest.approx(0.75), pytest.approx(3.5))]


def test_requests_of_nobody_are_not_taken(registry: TestClient) -> None:
    assert registry.post("/v2/requests", json=REQUEST | {"provider": "x"}).status_code == 404


# Retention ---------------------------------------------------------------------------------------


def test_what_is_old_is_forgotten_and_stays_in_the_sums(
    served: Served, database: Path, ollama: Provider
) -> None:
    settings: dict[str, Any] = {"OLLAMA_HOST": ollama.url, "DEVFLOW_HEALTH_INTERVAL_S": 3_600}
    client = served("model-registry", database, **settings)
    checked(client, 3)
    client.post("/v2/requests", json=REQUEST)
    with apsw.Connection(str(database)) as connection:
        connection.execute(
            "UPDATE model_health_history SET checked_at = '2001-01-01T00:00:00.000Z'"
            " WHERE line_no IS NULL"
        )
        connection.execute("UPDATE provider_requests SET reported_at = '2001-01-01T00:00:00Z'")
        # as another program may have left it: not in the sums of any day yet
        connection.execute(
            "INSERT INTO model_health_history (provider, healthy, checked_at, duration_ms)"
            " VALUES ('ollama', 0, '2001-01-02T00:00:00Z', 4.0)"
        )
    before = client.get("/v2/analytics").json()["sum"]
    migrated = select(database, "SELECT count(*) FROM model_health_history WHERE line_no > 0")
    cleaned = served("model-registry", database, **settings)  # cleaning begins with the service
    deadline = time.monotonic() + 10
    while cleaned.get("/v2/checks").json()["total"] > migrated[0][0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    after = cleaned.get("/v2/analytics").json()["sum"]
    assert after["checks"] == before["checks"] + 1
    assert after["requests"] == before["requests"] == 1
    assert cleaned.get("/v2/requests").json()["total"] == 0
    day = cleaned.get("/v2/analytics", params={"until": "2001-01-02"}).json()["items"]
    assert [(d["day"], d["checks"], d["availability"]) for d in day] == [("2001-01-02", 1, 0.0)]


# Restarts ----------------------------------------------------------------------------------------


@pytest.fixture
def process(database: Path, ollama: Provider, synthetic: Provider) -> Iterator[Any]:
    """Start the service as a process, as often as asked; the last one is ended."""
    port, running = free_port(), []

    def start(interval_s: float) -> str:
        environment = {
            "DEVFLOW_DB_PATH": str(database),
            "OLLAMA_HOST": ollama.url,
            "SYNTHETIC_BASE_URL": synthetic.url,
            "DEVFLOW_HEALTH_INTERVAL_S": str(interval_s),
        }
        command = [sys.executable, "-m", "devflow.services", "model-registry", str(port)]
        child = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)
        running.append(child)
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{url}/health").status_code == httpx.codes.OK:
                    return url
            except httpx.HTTPError:
                time.sleep(0.02)
        raise AssertionError("the service does not start")

    def kill() -> None:
        running[-1].send_signal(signal.SIGKILL)
        running[-1].wait()

    yield start, kill
    for child in running:
        child.kill()
        child.wait()


def test_after_a_kill_it_goes_on_where_it_was(
    process: Any, database: Path, ollama: Provider, synthetic: Provider
) -> None:
    start, kill = process
    url = start(3_600)
    for _ in range(UP_AFTER):
        httpx.post(f"{url}/v2/checks")
    ollama.status = 503
    for _ in range(DOWN_AFTER - 1):
        httpx.post(f"{url}/v2/checks")
    kill()
    before = select(database, STANDING)
    asked = len(ollama.asked)
    url = start(3_600)
    now = select(database, STANDING)
    assert now == before
    assert ("ollama", "healthy", 1, DOWN_AFTER - 1) in now
    time.sleep(0.3)
    assert len(ollama.asked) == asked  # nothing is due, and a restart is no reason
    assert httpx.post(f"{url}/v2/checks").json()["active"] == "synthetic"


def test_checks_are_made_as_often_as_it_is_told(process: Any, ollama: Provider) -> None:
    start, _ = process
    start(0.2)
    deadline = time.monotonic() + 10
    while len(ollama.asked) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    gaps = [b - a for a, b in zip(ollama.asked, ollama.asked[1:], strict=False)]
    assert min(gaps) >= 0.15
