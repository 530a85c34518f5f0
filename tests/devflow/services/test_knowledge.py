"""The knowledge service by HTTP: learning, evidence, relationships, feedback, what is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from fastapi.testclient import TestClient

Served = Callable[..., TestClient]
_HELD = 86_400


@pytest.fixture
def client(served: Served, empty_database: Path) -> TestClient:
    return served("knowledge", empty_database, DEVFLOW_LEARN_INTERVAL_S=_HELD)


def changed(database: Path, sql: str, *bindings: object) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(sql, bindings)


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(apsw.Connection(str(database))) as connection:
        return connection.execute(sql).fetchall()


def remember(database: Path, **blocks: str) -> None:
    """Put in memory blocks by id."""
    changed(
        database,
        "INSERT INTO task_contexts (id, title) SELECT 't', 'A task'"
        " WHERE NOT EXISTS (SELECT 1 FROM task_contexts WHERE id = 't')",
    )
    for identifier, content in blocks.items():
        changed(
            database,
            "INSERT INTO memory_blocks (id, task_id, session_id, block_type, label, content)"
            " VALUES (?, 't', 's', 'decision', 'label', ?)",
            identifier,
            content,
        )


def learned(client: TestClient, **body: object) -> dict[str, int]:
    answer = client.post("/v2/learn", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def entities(client: TestClient, **asked: object) -> dict[str, dict[str, Any]]:
    answer = client.get("/v2/entities", params={"limit": 500, **asked})
    assert answer.status_code == 200, answer.text
    return {one["name"]: one for one in answer.json()["items"]}


def said(client: TestClient, entity: str, kind: str, **more: object) -> dict[str, Any]:
    answer = client.post(f"/v2/entities/{entity}/feedback", json={"kind": kind, **more})
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


TOLD = "We keep it in SQLite. Always back up before a migration."


def test_blocks_are_learned_once_with_their_evidence(
    client: TestClient, empty_database: Path
) -> None:
    remember(empty_database, a=TOLD, b="SQLite and Redis in Docker.")
    assert learned(client) == {"blocks": 2, "mentions": 5, "remaining": 0}
    assert learned(client) == {"blocks": 0, "mentions": 0, "remaining": 0}
    known = entities(client)
    assert set(known) == {"SQLite", "Redis", "Docker", "always back up before a migration"}
    assert known["SQLite"]["blocks"] == 2
    assert known["SQLite"]["confidence"] == 0.8
    evidence = client.get(f"/v2/entities/{known['SQLite']['id']}/mentions").json()
    assert [one["block_id"] for one in evidence["items"]] == ["b", "a"]
    assert evidence["items"][1]["snippet"] == "We keep it in SQLite."
    assert evidence["items"][1]["task_id"] == "t"


def test_a_limit_leaves_the_rest_for_later(client: TestClient, empty_database: Path) -> None:
    remember(empty_database, a="SQLite", b="Redis", c="Docker")
    assert learned(client, limit=2)["remaining"] == 1
    assert set(entities(client)) == {"SQLite", "Redis"}
    assert learned(client, limit=2)["remaining"] == 0


def test_a_changed_block_is_learned_anew_and_a_deleted_one_forgotten(
    client: TestClient, empty_database: Path
) -> None:
    remember(empty_database, a=TOLD, b="Redis")
    learned(client)
    changed(empty_database, "UPDATE memory_blocks SET content = 'Docker' WHERE id = 'a'")
    assert rows(empty_database, "SELECT count(*) FROM knowledge_mentions") == [(1,)]
    assert learned(client)["blocks"] == 1
    assert set(entities(client)) == {"Docker", "Redis"}
    changed(empty_database, "DELETE FROM memory_blocks WHERE id = 'b'")
    learned(client)
    assert set(entities(client)) == {"Docker"}


def test_what_somebody_spoke_of_stays_when_no_block_mentions_it(
    client: TestClient, empty_database: Path
) -> None:
    remember(empty_database, a="SQLite")
    learned(client)
    said(client, entities(client)["SQLite"]["id"], "confirm")
    changed(empty_database, "DELETE FROM memory_blocks")
    learned(client)
    assert entities(client)["SQLite"]["blocks"] == 0


def test_feedback_moves_confidence_and_counts_once(
    client: TestClient, empty_database: Path
) -> None:
    remember(empty_database, a="SQLite")
    learned(client)
    entity = entities(client)["SQLite"]["id"]
    first = said(client, entity, "confirm", id="f")
    assert said(client, entity, "confirm", id="f") == first
    assert first["entity"]["confidence"] == pytest.approx((4 * 0.8 + 1) / 5)
    assert first["entity"]["status"] == "confirmed"
    assert first["entity"]["last_confirmed"] == first["given_at"]
    assert said(client, entity, "use")["entity"]["usage_count"] == 1
    other = client.post(f"/v2/entities/{entity}/feedback", json={"id": "f", "kind": "reject"})
    assert other.status_code == 409
    assert other.json()["error"] == "feedback 'f' says something else already"


def test_a_rejected_entity_is_not_brought_back(client: TestClient, empty_database: Path) -> None:
    remember(empty_database, a="SQLite", b="Redis with SQLite", c="SQLite, Redis")
    learned(client)
    entity = entities(client)["SQLite"]["id"]
    assert client.get(f"/v2/entities/{entity}/relationships").json()["total"] == 1
    assert said(client, entity, "reject")["entity"]["status"] == "rejected"
    assert client.get(f"/v2/entities/{entity}/relationships").json()["total"] == 0
    remember(empty_database, d="SQLite again, with Redis")
    learned(client)
    assert set(entities(client)) == {"Redis"}
    assert entities(client, status="rejected")["SQLite"]["blocks"] == 4
    assert set(entities(client, status="any")) == {"SQLite", "Redis"}
    said(client, entity, "confirm")
    said(client, entity, "confirm")
    (relation,) = client.get(f"/v2/entities/{entity}/relationships").json()["items"]
    assert (relation["name"], relation["blocks"], relation["type"]) == ("Redis", 3, "co_occurs")


def test_an_entity_that_is_told_counts_once(client: TestClient) -> None:
    body = {"id": "e", "entity_type": "person", "name": "Ada", "confidence": 0.9, "tags": ["x"]}
    first = client.post("/v2/entities", json=body)
    again = client.post("/v2/entities", json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == client.get("/v2/entities/e").json()
    said(client, "e", "confirm")
    assert client.post("/v2/entities", json=body).status_code == 200
    for other in ({"description": "y"}, {"id": "f"}, {"name": "Eda"}, {"confidence": 0.8}):
        answer = client.post("/v2/entities", json=body | other)
        assert answer.status_code == 409, other
    assert answer.json()["error"].endswith("'e'")


def test_what_was_migrated_stands_until_somebody_speaks_of_it(
    client: TestClient, empty_database: Path
) -> None:
    changed(
        empty_database,
        "INSERT INTO knowledge_entities (id, entity_type, name, confidence_score,"
        " extraction_source, usage_count, tags) VALUES ('old', 'technology', 'SQLite', 0.3, 'odd',"
        " 7, 'no list')",
    )
    before = rows(empty_database, "SELECT * FROM knowledge_entities")
    remember(empty_database, a="SQLite")
    learned(client)
    assert rows(empty_database, "SELECT * FROM knowledge_entities") == before
    shown = entities(client)["SQLite"]
    assert (shown["blocks"], shown["source"], shown["tags"]) == (1, "odd", [])
    assert said(client, "old", "use")["entity"]["usage_count"] == 8
    changed(empty_database, "DELETE FROM memory_blocks")
    learned(client)
    assert "SQLite" in entities(client)


def test_entities_are_found_by_words_and_filtered(client: TestClient, empty_database: Path) -> None:
    remember(empty_database, a=TOLD, b="Redis")
    learned(client)
    assert set(entities(client, q="backing migrations")) == {"always back up before a migration"}
    assert entities(client, q="!?") == {}
    assert set(entities(client, entity_type="technology")) == {"SQLite", "Redis"}
    assert set(entities(client, confidence_min=0.7)) == {"SQLite", "Redis"}
    assert entities(client, status="confirmed") == {}


def test_a_text_is_shown_what_would_be_learned_of_it(
    client: TestClient, empty_database: Path
) -> None:
    found = client.post("/v2/extract", json={"text": TOLD}).json()["items"]
    assert [(one["entity_type"], one["name"]) for one in found] == [
        ("technology", "SQLite"),
        ("rule", "always back up before a migration"),
    ]
    assert rows(empty_database, "SELECT count(*) FROM knowledge_entities") == [(0,)]


def test_it_tells_how_much_is_known(client: TestClient, empty_database: Path) -> None:
    remember(empty_database, a=TOLD, b=TOLD, c="Redis")
    learned(client, limit=2)
    told = client.get("/v2/stats").json()
    assert told["entities"] == {"rule": 1, "technology": 1}
    assert told["statuses"] == {"pending": 2}
    assert (told["mentions"], told["relationships"], told["feedback"]) == (4, 1, 0)
    assert (told["blocks_learned"], told["blocks_remaining"]) == (2, 1)


def test_what_is_not_there_is_said(client: TestClient) -> None:
    for path in ("", "/mentions", "/relationships"):
        answer = client.get(f"/v2/entities/none{path}")
        assert (answer.status_code, answer.json()["error"]) == (404, "there is no entity 'none'")
    assert client.post("/v2/entities/none/feedback", json={"kind": "use"}).status_code == 404


def test_what_a_migrated_database_holds_is_learned(served: Served, database: Path) -> None:
    client = served("knowledge", database, DEVFLOW_LEARN_INTERVAL_S=_HELD)
    before = client.get("/v2/stats").json()["blocks_remaining"]
    assert before > 0
    told = learned(client)
    assert (told["blocks"], told["remaining"]) == (before, 0)
