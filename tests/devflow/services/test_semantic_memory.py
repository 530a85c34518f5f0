"""The Semantic Memory by HTTP: contexts of tasks and texts, on databases that services filled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from fastapi.testclient import TestClient

Served = Callable[..., TestClient]


def filled(served: Served, database: Path) -> None:
    manager = served("database-manager", database)

    def task(name: str, title: str, **given: object) -> None:
        answer = manager.post("/v2/tasks", json={"id": name, "title": title, **given})
        assert answer.status_code == 201, answer.text

    def block(name: str, owner: str, content: str, importance: float = 0.5) -> None:
        body = {"id": name, "task_id": owner, "session_id": "s", "block_type": "decision"}
        body |= {"label": name, "content": content, "importance_score": importance}  # type: ignore[dict-item]
        assert manager.post("/v2/memory", json=body).status_code == 201

    task("whole", "The whole of the gate")
    task("before", "Draw the walrus schema")
    task("elsewhere", "Something else altogether")
    task("mine", "Unify the walrus", parent_task_id="whole", depends_on=["before"])
    block("own-1", "mine", "the file is opened once a process", 0.9)
    block("own-2", "mine", "readers never write to it")
    block("above", "whole", "every part lands alone")
    block("needed", "before", "each table has a seq of its own")
    block("worded", "elsewhere", "a walrus was seen at the lake yesterday")
    block("unrelated", "elsewhere", "nothing of this concerns anybody at any time", 1.0)


@pytest.fixture
def client(served: Served, empty_database: Path) -> TestClient:
    filled(served, empty_database)
    with closing(apsw.Connection(str(empty_database))) as connection:
        connection.execute(
            "INSERT INTO knowledge_entities (id, entity_type, name, description, extraction_source,"
            " validation_status) VALUES ('good', 'technology', 'walrus', 'a store of rows', '{}',"
            " 'confirmed'), ('bad', 'pattern', 'walrus twice', 'no', '{}', 'rejected')"
        )
    return served("semantic-memory", empty_database, DEVFLOW_EMBEDDER="lexical")


def context(client: TestClient, **asked: object) -> dict[str, Any]:
    answer = client.post("/context", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [item["id"] for item in found["items"]]


def test_a_tasks_context_has_its_own_first_and_what_belongs_to_it(client: TestClient) -> None:
    found = context(client, task_id="mine", budget_tokens=1_000)
    assert names(found) == ["own-1", "own-2", "needed", "above", "good", "worded"]
    by_name = {item["id"]: item for item in found["items"]}
    assert by_name["own-1"]["ranks"] == {"own": 1}
    assert by_name["own-1"]["reasons"][:2] == [
        "a block of the task itself, number 1 by importance",
        "importance 0.90",
    ]
    assert by_name["needed"]["ranks"] == {"dependencies": 1}
    assert by_name["above"]["ranks"] == {"parents": 1}
    assert by_name["worded"]["ranks"] == {"words": 1}
    assert by_name["good"]["kind"] == "entity"
    assert by_name["good"]["reasons"][0] == "number 1 in knowledge by words"
    assert found["words"] == "Unify walrus"
    assert found["tokens"] == sum(item["tokens"] for item in found["items"])


def test_a_smaller_budget_holds_less_and_is_kept(client: TestClient) -> None:
    sizes = []
    for budget in (1, 20, 40, 80, 1_000):
        found = context(client, task_id="mine", budget_tokens=budget)
        assert found["tokens"] <= budget
        left = found["left_out"]
        assert len(found["items"]) + left["alike"] + left["no_room"] == found["candidates"] == 6
        sizes.append(len(found["items"]))
    assert sizes[0] == 0
    assert sizes == sorted(sizes)
    assert names(context(client, task_id="mine", budget_tokens=20)) in (["own-1"], ["own-2"])


def test_asked_twice_the_answer_is_the_same_by_either_method(client: TestClient) -> None:
    asked = {"task_id": "mine", "text": "the lake", "budget_tokens": 90}
    first = context(client, **asked)
    assert first == context(client, **asked) == client.get("/context", params=asked).json()


def test_a_text_alone_finds_memory_and_knowledge(client: TestClient) -> None:
    found = context(client, text="where was the WALRUS?")
    assert set(names(found)) == {"worded", "good"}
    assert names(context(client, text="walrus", entities=False)) == ["worded"]
    assert names(context(client, text="of the and")) == []


def test_without_task_and_text_the_important_comes(client: TestClient) -> None:
    found = context(client, most=2)
    assert names(found) == ["unrelated", "own-1"]
    assert found["vectors"] == {"model": None, "problem": None}


def test_reading_counts_only_where_that_is_asked(client: TestClient, empty_database: Path) -> None:
    def counts() -> dict[str, int]:
        with closing(apsw.Connection(str(empty_database))) as connection:
            return dict(connection.execute("SELECT id, access_count FROM memory_blocks"))  # type: ignore[arg-type]

    before = counts()
    assert context(client, task_id="mine")["marked"] == 0
    client.get("/context", params={"task_id": "mine"})
    assert counts() == before
    found = context(client, task_id="mine", mark=True)
    blocks = {item["id"] for item in found["items"] if item["kind"] == "block"}
    assert found["marked"] == len(blocks) == 5
    assert counts() == {name: n + (name in blocks) for name, n in before.items()}


def test_vectors_that_are_near_are_found_without_a_common_word(
    served: Served, client: TestClient, empty_database: Path
) -> None:
    vectors = served("vector-memory", empty_database, DEVFLOW_EMBEDDER="lexical")
    body = {"id": "near", "content": "migrations of walruses", "task_id": "elsewhere"}
    assert vectors.post("/v2/memories", json=body).status_code == 201
    found = context(client, text="migrating")
    assert found["vectors"]["model"] == "lexical-hash-768"
    item = next(item for item in found["items"] if item["id"] == "near")
    assert item["ranks"]["nearness"] == 1


def test_without_an_embedder_the_context_says_so_and_does_without(
    client: TestClient, served: Served, empty_database: Path
) -> None:
    alone = served(
        "semantic-memory",
        empty_database,
        DEVFLOW_EMBEDDER="ollama",
        OLLAMA_HOST="http://127.0.0.1:9",
        DEVFLOW_EMBEDDING_DEADLINE_S=0.5,
    )
    found = context(alone, task_id="mine")
    assert found["vectors"]["model"] is None
    assert found["vectors"]["problem"]
    assert names(found)[0] == "own-1"
    assert client.get("/health").json()["status"] == "ok"


def test_an_empty_database_has_an_empty_context(served: Served, empty_database: Path) -> None:
    client = served("semantic-memory", empty_database, DEVFLOW_EMBEDDER="lexical")
    for asked in ({}, {"text": "anything"}, {"mark": True}):
        found = context(client, **asked)
        assert (found["items"], found["tokens"], found["candidates"]) == ([], 0, 0)
    missing = client.post("/context", json={"task_id": "none"})
    assert (missing.status_code, missing.json()["error"]) == (404, "there is no task 'none'")


def test_every_migrated_task_has_a_context_within_its_budget(
    served: Served, database: Path
) -> None:
    client = served("semantic-memory", database, DEVFLOW_EMBEDDER="lexical")
    with closing(apsw.Connection(str(database))) as connection:
        tasks = [name for (name,) in connection.execute("SELECT id FROM task_contexts")]
    assert len(tasks) > 5
    chosen = 0
    for name in tasks:
        found = context(client, task_id=name, budget_tokens=300)
        assert found["tokens"] <= 300
        chosen += len(found["items"])
    assert chosen > len(tasks)


@pytest.mark.parametrize(
    "asked",
    [
        {"budget_tokens": 0},
        {"budget_tokens": True},
        {"most": "2"},
        {"half_life_days": 0},
        {"mine": 1},
    ],
)
def test_malformed_wishes_are_refused(client: TestClient, asked: dict[str, object]) -> None:
    answer = client.post("/context", json=asked)
    assert answer.status_code == 400
    assert answer.json()["error"]
