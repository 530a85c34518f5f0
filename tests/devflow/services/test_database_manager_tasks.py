"""Tasks by HTTP: their tree, what they wait for, their states, and what hangs from them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devflow.services.database_manager.tasks.lifecycle import CLOSED, FREE, MOVES

Served = Callable[..., TestClient]


@pytest.fixture
def client(served: Served, empty_database: Path) -> TestClient:
    return served("database-manager", empty_database)


def make(client: TestClient, name: str, **given: object) -> dict[str, Any]:
    answer = client.post("/v2/tasks", json={"id": name, "title": f"Task {name}", **given})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"])


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_a_task_is_read_as_it_was_made(client: TestClient) -> None:
    told = {
        "description": "one by one",
        "priority": "h-",
        "complexity_score": 0.5,
        "estimated_duration_minutes": 90,
        "required_capabilities": ["python", "sqlite"],
        "primary_platform": "claude_code",
        "platform_routing": {"first": ["claude_code"]},
        "architectural_context": {"database": "SQLite"},
        "implementation_context": [1, 2],
        "debugging_context": "text",
        "maintenance_context": 7,
        "cc_session_id": "s",
        "cc_task_file": "a.md",
        "branch_name": "unify",
    }
    made = make(client, "t", **told)
    assert made == client.get("/v2/tasks/t").json()
    assert {name: made[name] for name in told} == told
    assert made["status"] == "planning"
    assert made["created_at"] == made["updated_at"] is not None
    assert refused(client.post("/v2/tasks", json={"id": "t", "title": "x"}), 409).endswith(
        "already"
    )
    named = client.post("/v2/tasks", json={"title": "without a name"}).json()
    assert client.get(f"/v2/tasks/{named['id']}").json() == named


def test_a_change_leaves_alone_what_it_does_not_name(client: TestClient) -> None:
    before = make(client, "t", description="d", priority="l-", depends_on=[])
    body = {"title": "Another", "branch_name": "b", "architectural_context": {"a": 1}}
    after = client.patch("/v2/tasks/t", json=body).json()
    times = {"updated_at": after["updated_at"]}
    assert after == before | body | times
    cleared = client.patch("/v2/tasks/t", json={"description": None}).json()
    assert cleared["description"] is None
    assert refused(client.patch("/v2/tasks/none", json={}), 404) == "there is no task 'none'"
    assert refused(client.get("/v2/tasks/none"), 404) == "there is no task 'none'"


def test_tasks_are_listed_by_what_they_are(client: TestClient) -> None:
    make(client, "a", priority="h-", primary_platform="cursor")
    make(client, "b", parent_task_id="a", status="active")
    make(client, "c", parent_task_id="a")
    assert set(ids(client.get("/v2/tasks"))) == {"a", "b", "c"}
    assert ids(client.get("/v2/tasks?status=active")) == ["b"]
    assert ids(client.get("/v2/tasks?priority=h-&platform=cursor")) == ["a"]
    assert set(ids(client.get("/v2/tasks?parent_task_id=a"))) == {"b", "c"}
    page = client.get("/v2/tasks?limit=1&offset=1").json()
    assert (len(page["items"]), page["total"]) == (1, 3)
    assert client.get("/v2/tasks?limit=0").status_code == 400


def test_a_tree_is_walked_up_and_down(client: TestClient) -> None:
    for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "b"), ("e", "a")):
        make(client, name, parent_task_id=parent)
    assert ids(client.get("/v2/tasks/c/ancestors")) == ["b", "a"]
    assert set(ids(client.get("/v2/tasks/a/children"))) == {"b", "e"}
    found = client.get("/v2/tasks/a/subtree").json()
    assert [(item["id"], item["depth"]) for item in found["items"]] == [
        *(("a", 0), ("b", 1), ("e", 1), ("c", 2), ("d", 2)),
    ]
    assert ids(client.get("/v2/tasks/a/subtree?limit=2&offset=2")) == ["e", "c"]
    for path in ("children", "subtree", "ancestors", "dependencies", "dependants"):
        refused(client.get(f"/v2/tasks/none/{path}"), 404)


def test_no_task_becomes_a_part_of_itself(client: TestClient) -> None:
    for name, parent in (("a", None), ("b", "a"), ("c", "b")):
        make(client, name, parent_task_id=parent)
    for parent in ("a", "b", "c"):
        said = refused(client.patch("/v2/tasks/a", json={"parent_task_id": parent}), 409)
        assert said == (f"task '{parent}' is task 'a' or a part of it, and cannot be its parent")
    said = refused(client.patch("/v2/tasks/a", json={"parent_task_id": "none"}), 409)
    assert said == "there is no task 'none' to be the parent"
    assert client.patch("/v2/tasks/c", json={"parent_task_id": "a"}).status_code == 200
    assert client.patch("/v2/tasks/b", json={"parent_task_id": None}).status_code == 200
    assert client.patch("/v2/tasks/a", json={"parent_task_id": "b"}).status_code == 200


def test_what_waits_for_a_task_cannot_be_waited_for_by_it(client: TestClient) -> None:
    make(client, "a")
    make(client, "b", depends_on=["a", "a"])
    make(client, "c", depends_on=["b"])
    assert client.get("/v2/tasks/b").json()["depends_on"] == ["a"]
    assert ids(client.get("/v2/tasks/c/dependencies")) == ["b"]
    assert ids(client.get("/v2/tasks/a/dependants")) == ["b"]
    put = "/v2/tasks/a/dependencies"
    for name in ("b", "c"):
        said = refused(client.put(put, json={"depends_on": [name]}), 409)
        assert said.startswith("task 'a' cannot depend on what waits for it")
    assert "itself" in refused(client.put(put, json={"depends_on": ["a"]}), 409)
    assert "no task 'x'" in refused(client.put(put, json={"depends_on": ["x"]}), 409)
    assert (
        client.put("/v2/tasks/c/dependencies", json={"depends_on": []}).json()["depends_on"] == []
    )
    assert client.put(put, json={"depends_on": ["c"]}).status_code == 200


def test_every_declared_move_and_no_other_is_made(client: TestClient) -> None:
    declared = client.get("/v2/lifecycle").json()
    assert declared == {
        "moves": {state: list(after) for state, after in MOVES.items()},
        "free": list(FREE),
        "closed": list(CLOSED),
    }
    for before in MOVES:
        for after in MOVES:
            name = f"{before}-{after}"
            made = make(client, name, status=before)
            answer = client.put(f"/v2/tasks/{name}/status", json={"status": after})
            if before == after:
                assert answer.json() == made
            elif after in MOVES[before]:
                assert answer.json()["status"] == after
            else:
                assert refused(answer, 409).startswith(f"task '{name}' is {before}, which")
                assert client.get(f"/v2/tasks/{name}").json() == made


def test_when_a_task_was_completed_is_known_until_it_is_taken_up_again(client: TestClient) -> None:
    make(client, "t", status="active")

    def moved(status: str) -> Any:
        return client.put("/v2/tasks/t/status", json={"status": status}).json()["completed_at"]

    assert moved("completed") is not None
    assert moved("archived") is not None
    assert moved("planning") is None
    assert make(client, "done", status="completed")["completed_at"] is not None


def test_open_dependencies_hold_a_task_back(client: TestClient) -> None:
    for name in "abcdefg":
        make(client, name)
    make(client, "t", depends_on=list("abcdefg"))
    said = refused(client.put("/v2/tasks/t/status", json={"status": "active"}), 409)
    assert "it depends on 'a', 'b', 'c', 'd', 'e' and 2 more" in said
    for name in "abcdefg":
        client.put(f"/v2/tasks/{name}/status", json={"status": "archived"})
    assert client.put("/v2/tasks/t/status", json={"status": "active"}).status_code == 200
    body = {"title": "x", "status": "active", "depends_on": ["t"]}
    assert "cannot become active" in refused(client.post("/v2/tasks", json=body), 409)


def test_a_task_that_others_need_is_not_deleted(client: TestClient, empty_database: Path) -> None:
    make(client, "a")
    make(client, "part", parent_task_id="a")
    make(client, "waits", depends_on=["part"])
    assert "'part' is a part of it" in refused(client.delete("/v2/tasks/a"), 409)
    assert "'waits' depends on it" in refused(client.delete("/v2/tasks/part"), 409)
    with closing(apsw.Connection(str(empty_database))) as connection:
        connection.execute(
            "INSERT INTO knowledge_entities (entity_type, name, extraction_source,"
            " learned_from_task_id) VALUES ('rule', 'r', '{}', 'waits')"
        )
    assert "knowledge was learned" in refused(client.delete("/v2/tasks/waits"), 409)
    refused(client.delete("/v2/tasks/none"), 404)


def test_a_deleted_task_takes_its_memory_and_sessions_along(client: TestClient) -> None:
    make(client, "t")
    block = {"id": "b", "task_id": "t", "session_id": "s", "block_type": "decision"}
    client.post("/v2/memory", json=block | {"label": "l", "content": "c"})
    session = {"id": "s", "task_id": "t", "platform": "cursor"}
    client.post("/v2/coordination-sessions", json=session)
    assert client.delete("/v2/tasks/t").status_code == 204
    for path in ("tasks/t", "memory/b", "coordination-sessions/s"):
        assert client.get(f"/v2/{path}").status_code == 404


def test_a_task_whose_session_another_ones_goes_on_from_stays(
    client: TestClient, empty_database: Path
) -> None:
    make(client, "a")
    make(client, "b")
    for name, task in (("s1", "a"), ("s2", "b")):
        body = {"id": name, "task_id": task, "platform": "cursor"}
        client.post("/v2/coordination-sessions", json=body)
    with closing(apsw.Connection(str(empty_database))) as connection:
        connection.execute(
            "UPDATE coordination_sessions SET handoff_from_session = 's1' WHERE id = 's2'"
        )
    assert "something else refers to it" in refused(client.delete("/v2/tasks/a"), 409)
    assert client.get("/v2/coordination-sessions/s1").status_code == 200


def test_the_task_of_imported_memory_stays(client: TestClient) -> None:
    client.post("/memory", json={"id": "m", "content": "c", "type": "note"})
    (task,) = (t for t in client.get("/v2/tasks").json()["items"] if "imported" in t["title"])
    said = refused(client.delete(f"/v2/tasks/{task['id']}"), 409)
    assert "holds the memory that the old APIs keep" in said


def test_circles_that_were_migrated_end_every_walk(
    client: TestClient, empty_database: Path
) -> None:
    for name in "abc":
        make(client, name)
    with closing(apsw.Connection(str(empty_database))) as connection:
        connection.execute(
            "UPDATE task_contexts SET parent_task_id = CASE id WHEN 'a' THEN 'b' WHEN 'b' THEN 'a'"
            " ELSE 'c' END, depends_on = CASE id WHEN 'a' THEN '[\"b\", 7, \"gone\"]' WHEN 'b'"
            " THEN '[\"a\"]' ELSE 'no list' END"
        )
    assert ids(client.get("/v2/tasks/a/ancestors")) == ["b"]
    assert ids(client.get("/v2/tasks/c/ancestors")) == []
    assert ids(client.get("/v2/tasks/a/subtree")) == ["a", "b"]
    assert ids(client.get("/v2/tasks/a/dependencies")) == ["b"]
    assert ids(client.get("/v2/tasks/a/dependants")) == ["b"]
    assert client.get("/v2/tasks/c").json()["depends_on"] == []
    assert client.put("/v2/tasks/c/dependencies", json={"depends_on": ["a"]}).status_code == 200


def test_every_migrated_task_can_be_shown(served: Served, database: Path) -> None:
    client = served("database-manager", database)
    found = client.get("/v2/tasks?limit=500").json()
    assert found["total"] == len(found["items"]) > 5
    for task in found["items"]:
        assert client.get(f"/v2/tasks/{task['id']}").json() == task


@given(
    edges=st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef"), st.booleans()), max_size=25
    )
)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_order_of_requests_makes_a_circle(
    client: TestClient, edges: list[tuple[str, str, bool]]
) -> None:
    for name in "abcdef":
        client.post("/v2/tasks", json={"id": name, "title": name})
        client.patch(f"/v2/tasks/{name}", json={"parent_task_id": None, "depends_on": []})
    parents: dict[str, str] = {}
    needs: dict[str, set[str]] = {name: set() for name in "abcdef"}

    def reached(start: str, of: Callable[[str], set[str]]) -> set[str]:
        seen, left = set[str](), [start]
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                left += of(name)
        return seen

    for one, other, parent in edges:
        if parent:
            above = reached(other, lambda n: {parents[n]} if n in parents else set())
            answer = client.patch(f"/v2/tasks/{one}", json={"parent_task_id": other})
            assert answer.status_code == (409 if one in above else 200)
            if answer.status_code == 200:
                parents[one] = other
        else:
            wanted = needs[one] | {other}
            circle = one in reached(other, lambda n: needs[n])
            body = {"depends_on": sorted(wanted)}
            answer = client.put(f"/v2/tasks/{one}/dependencies", json=body)
            assert answer.status_code == (409 if circle else 200)
            if answer.status_code == 200:
                needs[one] = wanted


@pytest.mark.parametrize(
    "given", [{"complexity_score": False}, {"estimated_duration_minutes": "5"}, {"title": 1}]
)
def test_a_number_is_no_text_and_no_truth_value(
    client: TestClient, given: dict[str, object]
) -> None:
    assert client.post("/v2/tasks", json={"title": "t", **given}).status_code == 400
    assert client.get("/v2/tasks").json()["total"] == 0
    whole = {"title": "t", "estimated_duration_minutes": 3.0}
    assert client.post("/v2/tasks", json=whole).json()["estimated_duration_minutes"] == 3
