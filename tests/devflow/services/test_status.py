"""The status service: what it says of the services, the database, costs, routing, migration."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from browser import chromium
from fastapi.testclient import TestClient

from devflow.services.settings import PORTS
from devflow.services.status.page import render
from harness.candidate import Candidate
from harness.services import free_port, running

Served = Callable[..., TestClient]


@contextmanager
def answering(status: int, body: object) -> Iterator[int]:
    """Answer every request with that status and body; yield the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def nobody() -> dict[str, int]:
    """Ports for all services on which nobody listens."""
    return {name: free_port() for name in PORTS}


def told(client: TestClient, name: str) -> dict[str, object]:
    services = client.get("/v2/status").json()["services"]
    return next(dict(one) for one in services if one["name"] == name)


def test_a_service_that_is_well_is_ok(served: Served, database: Path) -> None:
    with answering(200, {"service": "costs", "status": "ok", "checks": []}) as port:
        client = served("status", database, DEVFLOW_PORTS=nobody() | {"costs": port})
        costs = told(client, "costs")
    assert (costs["status"], costs["detail"], costs["port"]) == ("ok", "", port)
    assert costs["answered_ms"] is not None
    assert told(client, "status")["status"] == "ok"


def test_nobody_on_the_port_is_down(served: Served, database: Path) -> None:
    ports = nobody()
    client = served("status", database, DEVFLOW_PORTS=ports)
    routing = told(client, "routing")
    assert routing["status"] == "down"
    assert routing["detail"] == f"nothing answers on port {ports['routing']}"
    assert client.get("/v2/status").json()["status"] == "failing"


@pytest.mark.parametrize(
    "body", [b"hello", ["a", "list"], {"service": "routing", "status": "ok", "checks": []}]
)
def test_somebody_else_on_the_port_is_down(served: Served, database: Path, body: object) -> None:
    with answering(200, body) as port:
        client = served("status", database, DEVFLOW_PORTS=nobody() | {"costs": port})
        assert told(client, "costs")["detail"] == "something else answers on its port"


def test_a_service_that_fails_says_what_it_lacks(served: Served, database: Path) -> None:
    checks = [
        {"name": "database", "ok": True, "detail": "devflow.sqlite"},
        {"name": "table cost_sums", "ok": False, "detail": "missing"},
    ]
    body = {"service": "costs", "status": "failing", "checks": checks}
    with answering(503, body) as port:
        client = served("status", database, DEVFLOW_PORTS=nobody() | {"costs": port})
        costs = told(client, "costs")
    assert (costs["status"], costs["detail"]) == ("failing", "table cost_sums: missing")


def test_one_that_does_not_answer_in_time_is_down(served: Served, database: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = nobody() | {"costs": silent.getsockname()[1]}
        client = served("status", database, DEVFLOW_PORTS=ports)
        assert told(client, "costs")["detail"] == "gave no answer within 2 s"


def test_sizes_rows_and_migration_are_those_of_the_database(served: Served, database: Path) -> None:
    found = served("status", database, DEVFLOW_PORTS=nobody()).get("/v2/status").json()
    assert found["database"]["path"] == str(database)
    assert found["database"]["bytes"] == database.stat().st_size
    rows = {each["what"]: each["rows"] for each in found["database"]["rows"]}
    assert rows["memory blocks"] > 0
    assert found["migration"]["schema_version"] == "2.0.0"
    counts = {each["what"]: each["rows"] for each in found["migration"]["counts"]}
    assert counts["kept"] > 0
    assert 0 not in counts.values()


def test_costs_and_routing_are_those_of_their_services(
    served: Served, empty_database: Path
) -> None:
    costs, routing = served("costs", empty_database), served("routing", empty_database)
    usage = {"id": "u", "provider": "claude_code", "agent_type": "coder", "duration_ms": 5}
    assert costs.post("/v2/usage", json={**usage, "cost_usd": 4.5}).status_code == 201
    costs.post("/v2/budgets", json={"name": "daily", "period": "day", "limit_usd": 5})
    routing.post("/v2/decisions", json={"id": "d", "task_type": "x", "capability_domain": "y"})
    found = served("status", empty_database, DEVFLOW_PORTS=nobody()).get("/v2/status").json()
    assert found["costs"]["day_usd"] == found["costs"]["month_usd"] == 4.5
    assert [day["cost_usd"] for day in found["costs"]["by_day"]] == [4.5]
    assert [budget["percent"] for budget in found["costs"]["budgets"]] == [90.0]
    assert found["costs"]["alerts_unseen"] == 3
    (decision,) = found["routing"]["latest"]
    assert (decision["id"], decision["success"]) == ("d", None)
    assert sum(one["in_flight"] for one in found["routing"]["platforms"]) == 1
    routing.post("/v2/decisions/d/outcome", json={"success": False})
    again = served("status", empty_database, DEVFLOW_PORTS=nobody()).get("/v2/status").json()
    assert again["routing"]["latest"][0]["success"] is False


# The page ----------------------------------------------------------------------------------------


def test_the_page_says_what_is_not_well(served: Served, database: Path) -> None:
    answer = served("status", database, DEVFLOW_PORTS=nobody()).get("/")
    assert "7 of 8 services are not well: database-manager, " in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Schema 2.0.0" in answer.text


def test_the_page_escapes_what_the_database_says(served: Served, empty_database: Path) -> None:
    costs = served("costs", empty_database)
    costs.post("/v2/budgets", json={"name": "<script>x</script>", "period": "day", "limit_usd": 5})
    page = served("status", empty_database, DEVFLOW_PORTS=nobody()).get("/").text
    assert "&lt;script&gt;x&lt;/script&gt;" in page


def test_the_page_of_a_well_system_and_its_figures(served: Served, empty_database: Path) -> None:
    client = served("status", empty_database, DEVFLOW_PORTS=nobody())
    overview = client.get("/v2/status").json()
    for service in overview["services"]:
        service.update(status="ok", detail="", answered_ms=1.25)
    overview |= {"status": "ok", "providers": [], "at": "2026-01-31T08:15:00.000Z"}
    overview["database"] |= {"bytes": 5 * 2**31, "free_bytes": 512, "wal_bytes": 3 * 2**20}
    overview["costs"] |= {"day_usd": 0.0123, "month_usd": 1234.5}
    page = render(overview)
    assert "<h1>All 8 services are well</h1>" in page
    for shown in ("10.0 GiB", "512 bytes", "3.0 MiB", "$0.0123", "$1,234.50", "1.2 ms"):
        assert shown in page
    assert "The registry knows of none." in page
    assert "No budget is set." in page


def test_a_browser_shows_the_page_and_brings_it_up_to_date(database: Path, tmp_path: Path) -> None:
    """Real services, and a real browser where there is one; else only that the page is served."""
    ports = nobody()
    told = ",".join(f"{name}={port}" for name, port in ports.items())
    environment = {"DEVFLOW_DB_PATH": str(database), "DEVFLOW_PORTS": told}
    chosen = [one for one in Candidate.load().services if one.name in ("status", "routing")]
    with running(chosen, environment=environment, logs=tmp_path) as services:
        url = f"{services['status'].url}/"
        assert httpx.get(url).status_code == 200
        with chromium() as browser:
            if browser is None:
                return
            page = browser.new_page(viewport={"width": 420, "height": 800}, color_scheme="dark")
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text))
            page.goto(url)
            row = page.get_by_role("row").filter(has_text="knowledge ")
            assert row.get_by_text("down", exact=True).count() == 1
            assert page.title() == "DevFlow: 7 services are not well"
            # It never scrolls sideways as a whole, on a telephone's screen either.
            assert page.evaluate("document.documentElement.scrollWidth") <= 420
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
                "rgb(15, 18, 23)"
            )
            page.locator("#platforms-table").focus()
            before = page.locator("time").get_attribute("datetime")
            page.wait_for_function(
                "was => document.querySelector('time').getAttribute('datetime') !== was", arg=before
            )
            assert page.evaluate("document.activeElement.id") == "platforms-table"
            services["status"].kill()
            page.get_by_role("alert").get_by_text("gave no answer").wait_for(timeout=20_000)
            assert not [text for text in said if "Content Security Policy" in text]
