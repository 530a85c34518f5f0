"""Memory blocks and their embeddings by HTTP."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from devflow.services.database_manager.vectors import packed, unpacked

Served = Callable[..., TestClient]
BLOCK = {"task_id": "t", "session_id": "monday", "block_type": "decision", "label": "One file"}


@pytest.fixture
def client(served: Served, empty_database: Path) -> TestClient:
    client = served("database-manager", empty_database)
    assert client.post("/v2/tasks", json={"id": "t", "title": "Task"}).status_code == 201
    return client


def keep(client: TestClient, name: str, **given: object) -> dict[str, Any]:
    answer = client.post("/v2/memory", json={"id": name, "content": "c", **BLOCK, **given})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def error(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"])


def test_a_block_is_read_as_it_was_kept_and_reading_counts(client: TestClient) -> None:
    told = {"metadata": {"file": "a.py"}, "importance_score": 0.75}
    made = keep(client, "b", **told)
    assert {name: made[name] for name in told} == told
    assert {name: made[name] for name in BLOCK} == BLOCK
    assert (made["access_count"], made["relationships"]) == (0, [])
    assert client.get("/v2/memory/b?touch=false").json() == made
    assert [client.get("/v2/memory/b").json()["access_count"] for _ in range(3)] == [1, 2, 3]
    assert client.get("/v2/memory").json()["items"][0]["access_count"] == 3
    assert error(client.get("/v2/memory/none"), 404) == "there is no memory block 'none'"
    named = client.post("/v2/memory", json={"content": "x", **BLOCK}).json()
    assert client.get(f"/v2/memory/{named['id']}?touch=false").json() == named


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"id": "b"}, "a memory block 'b' exists already"),
        ({"task_id": "none"}, "there is no task 'none' for the memory block"),
        ({"session_id": "legacy-import"}, "is what the old APIs keep; take another name"),
        ({"session_id": "vector-import"}, "is what the old APIs keep; take another name"),
        ({"relationships": [{"block_id": "x", "type": "y"}]}, "no memory block 'x' to be related"),
        ({"id": "c", "relationships": [{"block_id": "c", "type": "y"}]}, "related to itself"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    client: TestClient, given: dict[str, object], said: str
) -> None:
    keep(client, "b")
    before = client.get("/v2/memory").json()
    assert said in error(client.post("/v2/memory", json={"content": "c", **BLOCK, **given}), 409)
    assert client.get("/v2/memory").json() == before


def test_a_change_leaves_alone_what_it_does_not_name(client: TestClient) -> None:
    keep(client, "other")
    before = keep(client, "b", metadata={"a": 1})
    told = {"content": "new", "relationships": [{"block_id": "other", "type": "explains"}]}
    after = client.patch("/v2/memory/b", json=told).json()
    assert after == before | told | {"updated_at": after["updated_at"]}
    assert after["updated_at"] is not None
    assert client.patch("/v2/memory/b", json={}).json() == after
    itself = {"relationships": [{"block_id": "b", "type": "x"}]}
    assert "itself" in error(client.patch("/v2/memory/b", json=itself), 409)
    error(client.patch("/v2/memory/none", json={}), 404)


def test_blocks_are_listed_by_what_they_are(client: TestClient) -> None:
    client.post("/v2/tasks", json={"id": "u", "title": "Other"})
    keep(client, "a", importance_score=0.9)
    keep(client, "b", block_type="debugging", importance_score=0.1)
    keep(client, "c", task_id="u", session_id="tuesday")

    def listed(**asked: object) -> set[str]:
        answer = client.get("/v2/memory", params=asked).json()
        assert answer["total"] == len(answer["items"])
        return {item["id"] for item in answer["items"]}

    assert listed() == {"a", "b", "c"}
    assert listed(task_id="t") == {"a", "b"}
    assert listed(session_id="tuesday") == {"c"}
    assert listed(block_type="debugging") == {"b"}
    assert listed(min_importance=0.5) == {"a", "c"}
    assert listed(task_id="none") == set()


def test_a_block_has_several_embeddings_and_takes_them_along(client: TestClient) -> None:
    keep(client, "b")
    path = "/v2/memory/b/embeddings"
    first = client.post(path, json={"id": "e1", "model": "m", "embedding": [0.25, -1, 3.5]})
    assert first.status_code == 201
    assert first.json()["embedding"] == [0.25, -1.0, 3.5]
    assert client.post(path, json={"model": "n", "embedding": [1.0]}).json()["dimensions"] == 1
    taken = client.post(path, json={"id": "e1", "model": "m", "embedding": [1]})
    assert error(taken, 409) == "an embedding 'e1' exists already"
    plain, full = client.get(path).json(), client.get(f"{path}?vectors=true").json()
    assert [item["embedding"] for item in plain["items"]] == [None, None]
    assert [item["embedding"] for item in full["items"]] == [[0.25, -1.0, 3.5], [1.0]]
    assert plain["total"] == full["total"] == 2
    assert client.delete(f"{path}/e1").status_code == 204
    assert error(client.delete(f"{path}/e1"), 404) == "memory block 'b' has no embedding 'e1'"
    assert client.delete("/v2/memory/b").status_code == 204
    for answer in (client.get(path), client.delete("/v2/memory/b"), client.post(path, json={
        "model": "m", "embedding": [1]
    })):  # fmt: skip
        assert error(answer, 404) == "there is no memory block 'b'"


@pytest.mark.parametrize("vector", [[], ["a"], [1e39], None, [[1]]])
def test_what_is_no_vector_is_refused(client: TestClient, vector: object) -> None:
    keep(client, "b")
    body = {"model": "m", "embedding": vector}
    assert client.post("/v2/memory/b/embeddings", json=body).status_code == 400
    assert client.get("/v2/memory/b/embeddings").json()["total"] == 0


def test_odd_migrated_values_are_shown(client: TestClient, empty_database: Path) -> None:
    keep(client, "b")
    with closing(apsw.Connection(str(empty_database))) as connection:
        connection.execute(
            "UPDATE memory_blocks SET content = CAST(X'61ff' AS TEXT), metadata = 'no json',"
            " relationships = NULL, importance_score = NULL, label = CAST(X'fe' AS TEXT)"
        )
        connection.execute(
            "INSERT INTO memory_block_embeddings (id, block_id, model, dimensions, embedding)"
            " VALUES ('bad', 'b', 'm', 1, X'00'), ('nan', 'b', 'm', 1, X'0000c07f')"
        )
    found = client.get("/v2/memory/b?touch=false").json()
    assert (found["content"], found["metadata"]) == ("a\ufffd", "no json")
    assert (found["relationships"], found["importance_score"]) == (None, None)
    vectors = client.get("/v2/memory/b/embeddings?vectors=true").json()["items"]
    assert [item["embedding"] for item in vectors] == [None, [None]]


def test_every_migrated_block_can_be_shown(served: Served, database: Path) -> None:
    client = served("database-manager", database)
    found = client.get("/v2/memory?limit=500").json()
    assert found["total"] == len(found["items"]) > 5
    shown = [client.get("/v2/memory/" + b["id"] + "?touch=false") for b in found["items"]]
    assert [answer.json() for answer in shown] == found["items"]
    embedded = [client.get(f"/v2/memory/{b['id']}/embeddings").json() for b in found["items"]]
    assert sum(page["total"] for page in embedded) > 0


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_vector_is_unpacked_as_it_was_packed(vector: list[float]) -> None:
    assert packed(vector) == struct.pack(f"<{len(vector)}f", *vector)
    assert unpacked(packed(vector)) == vector
    assert unpacked(packed(vector)[:-1]) is None
    assert unpacked("text") is None
