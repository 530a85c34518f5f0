"""The old API answers as the old Database Manager did: both get the same requests."""

from __future__ import annotations

import importlib
import itertools
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devflow.migration import phases
from devflow.migration.tree import Tree
from devflow.services.app import create_app
from devflow.services.catalogue import load
from devflow.services.costs.consistency import inconsistencies
from devflow.services.settings import Settings
from harness.fixture.build import build
from harness.fixture.recipe import Recipe

TIMES = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
MADE_UP = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NEW = ("created_at", "updated_at", "timestamp")
COMMON = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass
class Both:
    """The stand-in of the old service and its successor, on the same data, asked side by side."""

    old: TestClient
    new: TestClient
    database: Path
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(99_999, -1))

    def name(self) -> str:
        """Return an identifier that sorts before all earlier ones, as lists show it."""
        return f"thing-{next(self.numbers):05}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to both; return the answer, which must be the same."""
        first, second = (each.request(method, path, json=body) for each in (self.old, self.new))
        asked = f"{method} {path} {body}"
        assert first.status_code == second.status_code, f"{asked}: {first.text} {second.text}"
        if first.status_code == 400:
            assert second.json()["error"]
        else:
            assert plain(first.json()) == plain(second.json()), asked
        return second.json()


def plain(value: Any, name: str = "") -> Any:
    """Return a body with what each side makes up by itself replaced by its kind."""
    if isinstance(value, dict):
        return {key: plain(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each, name) for each in value]
    if isinstance(value, str) and name in NEW and TIMES.fullmatch(value) and value >= "2026-06":
        return re.sub(r"\d", "9", value)
    if isinstance(value, str) and name == "id" and MADE_UP.fullmatch(value):
        return "made up"
    return value


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Trees by profile, as they were before the migration and after it."""
    found = {}
    for profile in ("empty", "as-planned", "real-like"):
        folder = tmp_path_factory.mktemp(profile)
        build(Recipe(profile=profile, seed=7), folder / "before")
        shutil.copytree(folder / "before", folder / "after")
        phases.apply(Tree.at(folder / "after"), "cleanup", lambda _: None)
        found[profile] = (folder / "before" / "data" / "devflow.sqlite", folder / "after")
    return found


@pytest.fixture
def both_on(
    trees: dict[str, tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Both]]:
    with ExitStack() as stack:

        def start(profile: str) -> Both:
            before, after = trees[profile]
            for end in ("", "-wal"):
                if (file := before.with_name(before.name + end)).exists():
                    shutil.copyfile(file, tmp_path / f"old.sqlite{end}")
            shutil.copyfile(after / "devflow.sqlite", tmp_path / "new.sqlite")
            # The schema that the old service makes at its start, where a copy is older.
            with closing(sqlite3.connect(tmp_path / "old.sqlite")) as old:
                old.executescript(
                    "CREATE TABLE IF NOT EXISTS synthetic_usage (id TEXT PRIMARY KEY, provider TEXT"
                    " NOT NULL, agent_type TEXT NOT NULL, model TEXT, duration_ms INTEGER NOT NULL,"
                    " tokens_in INTEGER, tokens_out INTEGER, cost_usd REAL, created_at TEXT NOT"
                    " NULL); CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, name TEXT"
                    " NOT NULL, context TEXT, metadata TEXT, created_at TEXT NOT NULL, updated_at"
                    " TEXT NOT NULL);"
                )
            monkeypatch.setenv("DATABASE_PATH", str(tmp_path / "old.sqlite"))
            standing_in = importlib.import_module("fixtures.services.database_manager").app
            path = tmp_path / "new.sqlite"
            app = create_app(load("database-manager"), Settings(DEVFLOW_DB_PATH=path))
            clients = (
                stack.enter_context(TestClient(each, raise_server_exceptions=False))
                for each in (standing_in, app)
            )
            return Both(*clients, database=path)

        yield start


@pytest.fixture
def empty(both_on: Callable[[str], Both]) -> Both:
    return both_on("empty")


@pytest.fixture(params=["as-planned", "real-like"])
def migrated(both_on: Callable[[str], Both], request: pytest.FixtureRequest) -> Both:
    return both_on(request.param)


# What was migrated -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/tasks", "/memory", "/usage", "/sessions"])
def test_lists_of_migrated_rows_are_what_they_were(migrated: Both, path: str) -> None:
    whole = migrated.ask("GET", f"{path}?limit=500")
    assert whole["total"] >= 0
    for query in ("", "?limit=1", "?limit=3&offset=2", "?offset=100000", "?limit=0", "?offset=-1"):
        migrated.ask("GET", path + query)


def test_every_migrated_row_is_read_as_it_was(migrated: Both) -> None:
    tasks = migrated.ask("GET", "/tasks?limit=500")["tasks"]
    memories = migrated.ask("GET", "/memory?limit=500")["memories"]
    assert tasks
    assert len(memories) > 3
    for task in tasks:
        migrated.ask("GET", f"/tasks/{task['id']}")
        migrated.ask("GET", f"/tasks?status={task['status']}")
    for memory in memories:
        if memory["id"] is not None:
            migrated.ask("GET", f"/memory/{memory['id']}")
            migrated.ask("GET", f"/memory?type={memory['type']}")
            migrated.ask("GET", f"/memory/{memory['id']}/embeddings")


def test_migrated_memory_is_found_by_what_it_holds(migrated: Both) -> None:
    memories = migrated.ask("GET", "/memory?limit=500")["memories"]
    for memory in memories[:10]:
        for word in memory["content"].split()[:3]:
            migrated.ask("GET", f"/memory/search?q={word.strip('&#?+%')}&limit=500")
    for words in ("%25", "_", "a%20b", ""):
        migrated.ask("GET", f"/memory/search?q={words}")


def test_migrated_rows_are_changed_and_deleted_alike(migrated: Both) -> None:
    tasks = migrated.ask("GET", "/tasks?limit=500")["tasks"]
    for number, task in enumerate(tasks[:6]):
        status = ("done", "in_progress", "pending", "cancelled", "odd", "active")[number]
        migrated.ask("PUT", f"/tasks/{task['id']}", {"status": status})
        migrated.ask("GET", f"/tasks?status={status}")
        migrated.ask("PUT", f"/tasks/{task['id']}", {"priority": "urgent", "title": "Other"})
    migrated.ask("DELETE", f"/tasks/{tasks[0]['id']}")
    migrated.ask("GET", f"/tasks/{tasks[0]['id']}")
    named = [m for m in migrated.ask("GET", "/memory?limit=500")["memories"] if m["id"]]
    migrated.ask("DELETE", f"/memory/{named[0]['id']}")
    migrated.ask("GET", f"/memory/{named[0]['id']}/embeddings")
    migrated.ask("GET", "/memory?limit=500")
    migrated.ask("GET", "/tasks?limit=500")


# What comes new ----------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["pending", "in_progress", "done", "active", "high", "urgent", "h-", "ä", ""]
)
TEXTS = st.none() | st.text(st.sampled_from("aB %_\\'é漢"), max_size=8)
TASK = st.fixed_dictionaries(
    {"title": TEXTS}, optional={"description": TEXTS, "status": WORDS, "priority": WORDS}
)


@given(st.lists(st.tuples(TASK, TASK), min_size=1, max_size=4))
@settings(COMMON, max_examples=25)
def test_tasks_live_alike(empty: Both, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    for made, changed in pairs:
        name = empty.name()
        empty.ask("POST", "/tasks", {"id": name, **made})
        empty.ask("POST", "/tasks", {"id": name, **made})
        empty.ask("PUT", f"/tasks/{name}", changed)
        empty.ask("GET", f"/tasks/{name}")
        for word in (made.get("status"), changed.get("status")):
            empty.ask("GET", f"/tasks?status={word}&limit=500")
    empty.ask("GET", "/tasks?limit=500")
    empty.ask("DELETE", f"/tasks/{name}")
    empty.ask("DELETE", f"/tasks/{name}")
    empty.ask("GET", "/tasks?limit=2&offset=1")


@given(
    st.lists(
        st.fixed_dictionaries(
            {"content": TEXTS, "type": st.sampled_from(["note", "decision", "", "test", "漢"])},
            optional={"timestamp": st.none() | st.sampled_from(["2025-01-01T00:00:00Z", "", "x"])},
        ),
        min_size=1,
        max_size=5,
    ),
    st.text(st.sampled_from("aB%_\\é"), min_size=1, max_size=2),
)
@settings(COMMON, max_examples=25)
def test_memory_lives_alike(empty: Both, memories: list[dict[str, Any]], words: str) -> None:
    for memory in memories:
        name = empty.name()
        empty.ask("POST", "/memory", {"id": name, **memory})
        empty.ask("POST", "/memory", {"id": name, **memory})
        empty.ask("GET", f"/memory/{name}")
        empty.ask("GET", f"/memory?type={memory['type']}&limit=500")
    for each in (empty.old, empty.new):
        each.params = {"q": words}
    empty.ask("GET", "/memory/search")
    for each in (empty.old, empty.new):
        each.params = {}
    empty.ask("GET", "/memory?limit=500")
    empty.ask("POST", f"/memory/{name}/embeddings", {"model_id": "m", "embedding": [1, 0.5]})
    empty.ask("GET", f"/memory/{name}/embeddings")
    empty.ask("DELETE", f"/memory/{name}")
    empty.ask("GET", f"/memory/{name}/embeddings")


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "provider": st.sampled_from(["openai", "ollama", "synthetic", ""]),
                "agent_type": st.just("coder"),
                "duration_ms": st.integers(-5, 10**6),
            },
            optional={
                "model": st.sampled_from([None, "gpt-4o", "qwen3-coder"]),
                "tokens_in": st.none() | st.integers(0, 10**6),
                "tokens_out": st.none() | st.integers(0, 10**6),
                "cost_usd": st.none() | st.floats(0, 100),
            },
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(COMMON, max_examples=25)
def test_usage_is_recorded_alike_and_summed(empty: Both, usages: list[dict[str, Any]]) -> None:
    for usage in usages:
        body = {"id": empty.name(), **usage}
        empty.ask("POST", "/usage", body)
        empty.ask("POST", "/usage", body)
    old, new = (
        sorted(each.get("/usage?limit=500").json()["usage"], key=lambda one: str(one["id"]))
        for each in (empty.old, empty.new)
    )
    assert plain(old) == plain(new)
    with closing(apsw.Connection(str(empty.database))) as connection:
        assert not inconsistencies(connection)


def test_a_price_that_was_looked_up_counts_and_is_not_shown(empty: Both) -> None:
    told = {"provider": "openai", "agent_type": "coder", "model": "gpt-4o", "duration_ms": 1}
    tokens = {"tokens_in": 1_000_000, "tokens_out": 0}
    assert empty.ask("POST", "/usage", {"id": "u", **told, **tokens})["cost_usd"] is None
    empty.ask("POST", "/usage", {"id": "told", **told, "cost_usd": 0.25})
    shown = {one["id"]: one["cost_usd"] for one in empty.ask("GET", "/usage")["usage"]}
    assert shown == {"u": None, "told": 0.25}
    with closing(apsw.Connection(str(empty.database))) as connection:
        ((kept,),) = connection.execute("SELECT cost_usd FROM synthetic_usage WHERE id = 'u'")
        ((total,),) = connection.execute("SELECT total_cost_usd FROM cost_analytics")
        assert not inconsistencies(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM synthetic_usage WHERE id = 'u'")
        assert not list(connection.execute("SELECT * FROM looked_up_prices"))
    assert kept > 0
    assert total == pytest.approx(kept + 0.25)


@given(st.lists(st.fixed_dictionaries({"name": TEXTS}, optional={"context": TEXTS}), max_size=4))
@settings(COMMON, max_examples=15)
def test_sessions_are_kept_alike(empty: Both, sessions: list[dict[str, Any]]) -> None:
    for session in sessions:
        name = empty.name()
        for _ in range(2):
            empty.ask("POST", "/sessions", {"id": name, "metadata": "{}", **session})
        empty.ask("GET", f"/sessions/{name}")
    old, new = (
        sorted(each.get("/sessions?limit=500").json()["sessions"], key=lambda one: str(one["id"]))
        for each in (empty.old, empty.new)
    )
    assert plain(old) == plain(new)


@pytest.mark.parametrize("thing", ["tasks", "memory", "sessions"])
def test_what_is_not_there_is_missed_in_the_same_words(empty: Both, thing: str) -> None:
    empty.ask("GET", f"/{thing}/none")
    if thing != "sessions":
        empty.ask("DELETE", f"/{thing}/none")


def test_what_is_made_without_a_name_gets_one_of_the_old_kind(empty: Both) -> None:
    for path, body in (
        ("/tasks", {"title": "t"}),
        ("/memory", {"content": "c", "type": "note"}),
        ("/sessions", {"name": "n"}),
        ("/usage", {"provider": "p", "agent_type": "a", "duration_ms": 1}),
    ):
        assert MADE_UP.fullmatch(empty.ask("POST", path, body)["id"])


# The old beside the new --------------------------------------------------------------------------


def test_a_task_that_others_need_leaves_the_old_api_only(empty: Both) -> None:
    empty.ask("POST", "/tasks", {"id": "t", "title": "needed"})
    session = {"id": "s", "task_id": "t", "platform": "cursor"}
    assert empty.new.post("/v2/coordination-sessions", json=session).status_code == 201
    empty.ask("DELETE", "/tasks/t")
    empty.ask("GET", "/tasks/t")
    empty.ask("GET", "/tasks")
    assert empty.new.get("/v2/tasks/t").json()["title"] == "needed"


def test_a_word_of_an_old_client_lasts_until_the_state_means_something_else(empty: Both) -> None:
    empty.ask("POST", "/tasks", {"id": "t", "title": "x", "status": "in_progress"})
    assert empty.new.get("/v2/tasks/t").json()["status"] == "active"
    empty.new.put("/v2/tasks/t/status", json={"status": "blocked"})
    assert empty.new.get("/tasks/t").json()["status"] == "blocked"
    empty.new.put("/v2/tasks/t/status", json={"status": "active"})
    assert empty.new.get("/tasks/t").json()["status"] == "in_progress"


def test_what_the_new_api_makes_is_none_of_the_old_ones(empty: Both) -> None:
    empty.new.post("/v2/tasks", json={"id": "t", "title": "new"})
    block = {"id": "b", "task_id": "t", "session_id": "s", "block_type": "decision"}
    empty.new.post("/v2/memory", json=block | {"label": "l", "content": "c"})
    for path in ("/tasks", "/memory", "/tasks/t", "/memory/b", "/memory/search?q=c"):
        empty.ask("GET", path)
    for path, body in (("tasks", {"title": "x"}), ("memory", {"content": "c", "type": "note"})):
        name = {"tasks": "t", "memory": "b"}[path]
        taken = empty.new.post(f"/{path}", json={"id": name, **body})
        assert taken.status_code == 409
