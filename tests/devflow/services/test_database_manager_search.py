"""Search by words: the new one by rank, the old one by what stands there, both page by page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from fastapi.testclient import TestClient

from devflow.services.database_manager.search.words import any_of, matching
from devflow.services.database_manager.search.work import RANKED_MAX

Served = Callable[..., TestClient]
MANY = RANKED_MAX + 150


@pytest.fixture
def client(served: Served, empty_database: Path) -> TestClient:
    return served("database-manager", empty_database)


def task(client: TestClient, name: str, title: str, description: str | None = None) -> None:
    body = {"id": name, "title": title, "description": description}
    assert client.post("/v2/tasks", json=body).status_code == 201


def block(client: TestClient, name: str, content: str, **given: object) -> None:
    body = {"id": name, "task_id": "t", "session_id": "s", "block_type": "decision"}
    answer = client.post("/v2/memory", json=body | {"label": name, "content": content} | given)
    assert answer.status_code == 201, answer.text


def search(client: TestClient, words: str, **asked: object) -> dict[str, Any]:
    answer = client.get("/v2/search", params={"q": words, **asked})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [item["id"] for item in found["items"]]


def filled(database: Path, rows: list[tuple[str, str, str]]) -> None:
    """Put blocks of a task into the database, as (id, content, time)."""
    with closing(apsw.Connection(str(database))) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO task_contexts (id, title) VALUES ('t', 'walrus')")
        connection.executemany(
            "INSERT INTO memory_blocks (id, content, created_at, task_id, session_id, block_type,"
            " label) VALUES (?, ?, ?, 't', 'legacy-import', 'context', 'note')",
            rows,
        )


def test_words_are_found_in_any_form_and_shown_in_brackets(client: TestClient) -> None:
    task(client, "t", "Migrate the databases", "one by one")
    block(client, "b", "It was migrated on a Monday")
    found = search(client, "MIGRATING")
    assert (found["total"], set(names(found))) == (2, {"t", "b"})
    by_kind = {item["kind"]: item for item in found["items"]}
    assert by_kind["task"]["title"] == "Migrate the databases"
    assert by_kind["task"]["state"] == "planning"
    assert by_kind["memory"]["snippet"] == "It was [migrated] on a Monday"
    assert (by_kind["memory"]["task_id"], by_kind["memory"]["state"]) == ("t", "decision")
    assert names(search(client, "migrated", **{"in": "tasks"})) == ["t"]
    assert names(search(client, "migrated", **{"in": "memory"})) == ["b"]


def test_all_the_words_are_wanted_and_the_last_may_be_begun(client: TestClient) -> None:
    task(client, "t", "first second")
    assert names(search(client, "second first")) == ["t"]
    assert names(search(client, "first third")) == []
    assert names(search(client, "first sec")) == []
    assert names(search(client, "first sec", prefix=True)) == ["t"]


def test_the_more_often_a_word_stands_in_a_text_the_better_it_is(client: TestClient) -> None:
    task(client, "t", "of the sea")
    block(client, "once", "a walrus among the many other animals of the sea")
    block(client, "thrice", "walrus walrus walrus among animals of the sea")
    block(client, "never", "animals")
    found = search(client, "walrus")
    assert names(found) == ["thrice", "once"]
    assert found["items"][0]["score"] > found["items"][1]["score"] > 0


@pytest.mark.parametrize("words", ['"', "a AND", "NEAR(", "x:y", "-", "*", "^a", "é漢", "'; DROP"])
def test_words_have_no_syntax_of_their_own(client: TestClient, words: str) -> None:
    task(client, "t", f"before {words} after")
    found = search(client, words)
    assert found["total"] in (0, 1)
    assert (found["total"] == 0) == (matching(words) is None)


def test_a_query_for_any_word_names_each_once() -> None:
    assert any_of('A b "a" - c', most=2) == '"a" OR "b"'
    assert any_of("- !") is None


def test_what_is_frequent_is_found_whole_the_newest_of_it_ranked_first(
    served: Served, empty_database: Path
) -> None:
    filled(empty_database, [(f"b{n:05}", f"the walrus {n}", str(n)) for n in range(MANY)])
    client = served("database-manager", empty_database)
    pages = [search(client, "walrus", limit=400, offset=offset) for offset in range(0, 1_300, 400)]
    assert {page["total"] for page in pages} == {MANY + 1}
    items = [item for page in pages for item in page["items"]]
    everything = {f"b{n:05}" for n in range(MANY)} | {"t"}
    assert {item["id"] for item in items} == everything
    assert len(items) == len(everything)
    ranked, others = items[: RANKED_MAX + 1], items[RANKED_MAX + 1 :]
    scores = [item["score"] for item in ranked]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0
    assert [item["id"] for item in others] == [f"b{n:05}" for n in range(149, -1, -1)]
    assert {item["score"] for item in others} == {0.0}
    across = search(client, "walrus", limit=10, offset=RANKED_MAX - 4)["items"]
    assert across == items[RANKED_MAX - 4 : RANKED_MAX + 6]


@pytest.mark.parametrize("words", ["walrus", "needle", "NEEDLE", "e 3", "o", "nothing", "%", "_"])
@pytest.mark.parametrize("limit", [1, 20, 500])
def test_the_old_search_finds_the_newest_whatever_is_rare(
    served: Served, empty_database: Path, words: str, limit: int
) -> None:
    contents = [
        f"the walrus {n}" + (" needle_100%" if n % 700 == 3 else " o" if n > 4_000 else "")
        for n in range(4_500)
    ]
    rows = [
        (f"b{n * 7919 % 4_500:05}", content, f"2026-01-01T00:{n // 3:06}")
        for n, content in enumerate(contents)
    ]
    filled(empty_database, rows)
    client = served("database-manager", empty_database)
    answer = client.get("/memory/search", params={"q": words, "limit": limit})
    fitting = [row for row in rows if words.lower() in row[1].lower()]
    fitting.sort(key=lambda row: row[0])
    fitting.sort(key=lambda row: row[2], reverse=True)
    assert [found["id"] for found in answer.json()["results"]] == [r[0] for r in fitting[:limit]]
