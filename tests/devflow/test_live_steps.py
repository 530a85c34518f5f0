"""The live way killed in the midst of its steps comes to the same when it is run again."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest
from devflow_tree import LegacyTree, rows, values
from fastapi.testclient import TestClient
from test_live_catching_up import CHANGES, lived_in, rebuilt, written

from devflow.live import capture
from devflow.live.authority import LEGACY, SERVICES, UNIFIED, Authority
from devflow.live.control import GateControl
from devflow.live.cutover import Limits
from devflow.live.steps import live_way
from devflow.migration import phases
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree
from devflow.services.app import create_app
from devflow.services.catalogue import load
from devflow.services.settings import Settings

__all__ = ["lived_in"]

KILLED = 9
LIMITS = Limits(hold_s=0.3, attempts=3, pause_s=0.01)
WRITES_BEFORE = ("insert", "update", "delete", "replace", "usage")
WRITES_AFTER = (
    "UPDATE task_contexts SET title = 'told later' WHERE id = 't2'",
    "UPDATE memory_blocks SET content = 'said later' WHERE content = 'text 2'",
    "DELETE FROM sessions",
    "INSERT INTO sessions (id, name, created_at, updated_at) VALUES ('s', 'late', 'x', 'y')",
)
SAID_OF_VECTORS = "UPDATE vector_memories SET content = 'just said'"
"""A note for the service that is moved first."""


class Gate(GateControl):
    """A gate without a proxy: it is asked in this process, and says on which side it is open."""

    def __init__(self, service: str) -> None:
        super().__init__(service, 0)
        self.side: str | None = LEGACY
        self.opens_by_itself = 0

    def is_gone(self) -> bool:
        return False

    def _ask(
        self, said: dict[str, object], wait_s: float = 0.0, spare_s: float = 0.0
    ) -> dict[str, Any]:
        del wait_s, spare_s
        if said["op"] == "hold":
            self.side = None
        elif said["op"] == "release":
            self.side = str(said["side"])
        elif self.opens_by_itself and self.side is None:
            self.opens_by_itself -= 1
            self.side = LEGACY
        return {"ok": True, "side": self.side, "latency_ms": 1.0}


@dataclass
class Moving:
    """A tree on its live way, with its gates."""

    tree: LegacyTree
    gates: dict[str, Gate]

    @classmethod
    def of(cls, tree: LegacyTree) -> Moving:
        return cls(tree, {name: Gate(name) for name in SERVICES})

    def apply(self, until: str, limits: Limits = LIMITS) -> None:
        way = live_way(self.gates, limits)
        phases.apply(Tree.at(self.tree.directory), until, lambda _: None, way=way)

    def rollback(self, limits: Limits = LIMITS, *, keep_writes: bool = True) -> None:
        way = live_way(self.gates, limits)
        phases.rollback(Tree.at(self.tree.directory), lambda _: None, way, keep_writes=keep_writes)

    def to_backup(self) -> None:
        self.rollback(keep_writes=False)

    def answering(self, service: str) -> str | None:
        source = {"database-manager": "legacy", "vector-memory": "vector"}[service]
        return Authority(service, self.tree.root, self.tree.path(source)).side()


@pytest.fixture(scope="module")
def once_moving(module_path: Path) -> LegacyTree:
    tree = lived_in.__wrapped__(LegacyTree.make(module_path / "moving"))  # type: ignore[attr-defined]
    Moving.of(tree).apply("shadow")
    written(tree.path("legacy"), *(CHANGES[name] for name in WRITES_BEFORE))
    return tree


@pytest.fixture(scope="module")
def once_moved(once_moving: LegacyTree, module_path: Path) -> LegacyTree:
    tree = once_moving.copy(module_path / "moved")
    Moving.of(tree).apply("validate")
    written(tree.root, *WRITES_AFTER)
    return tree


@pytest.fixture(scope="module")
def returned(once_moved: LegacyTree, module_path: Path) -> dict[str, object]:
    """What the databases come back to when nobody disturbs the way back."""
    moved = Moving.of(once_moved.copy(module_path / "returned"))
    moved.rollback()
    return moved.tree.state


@pytest.fixture
def moving(once_moving: LegacyTree, tmp_path: Path) -> Moving:
    """Copied and put in the root's place, and written to since."""
    return Moving.of(once_moving.copy(tmp_path / "moving"))


@pytest.fixture
def moved(once_moved: LegacyTree, tmp_path: Path) -> Moving:
    """Moved, and written to since."""
    return Moving.of(once_moved.copy(tmp_path / "moved"))


FOLLOWED = {
    ("legacy", "task_contexts"): ["id", "title", "status"],
    ("legacy", "memory_blocks"): ["id", "content", "type"],
    ("legacy", "synthetic_usage"): ["id", "provider"],
    ("vector", "vector_memories"): ["id", "content", "embedding_vector"],
}


def assert_moved(tree: LegacyTree) -> None:
    """Everything that was written to the legacy databases is rebuilt from the unified one."""
    for (source, table), columns in FOLLOWED.items():
        there = rows(tree.path(source), f"SELECT {', '.join(columns)} FROM {table}")
        assert there
        assert rebuilt(tree.root, source, table, columns) == sorted(there, key=repr), table
    assert values(tree.root, "PRAGMA integrity_check") == [("ok",)]


def killed_at(point: str, run: Callable[[], None]) -> bool:
    """Run in a process that dies `before` or `after` a function; False where it never came there.

    Nothing is cleaned up: what the process had in hand is gone, and its locks are free.
    """
    when, place = point.split(" ")
    module, name = place.split(":")
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            at = importlib.import_module(f"devflow.{module}")
            whole = getattr(at, name)

            def dying(*given: Any, **named: Any) -> None:
                if when == "after":
                    whole(*given, **named)
                os._exit(KILLED)

            setattr(at, name, dying)
            run()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


@pytest.mark.parametrize(
    "point",
    [
        f"{when} {place}"
        for place in ("live.capture:install", "live.steps:put_when_near", "live.reverse:install")
        for when in ("before", "after")
    ],
)
def test_a_shadow_killed_in_its_midst_is_made_and_put_all_the_same(
    point: str, lived_in: LegacyTree
) -> None:
    moving = Moving.of(lived_in)
    assert killed_at(point, lambda: moving.apply("shadow"))
    written(lived_in.path("legacy"), *(CHANGES[name] for name in WRITES_BEFORE))
    moving.apply("validate")
    assert_moved(lived_in)


@pytest.mark.parametrize(
    "point",
    [
        f"{when} live.{place}"
        for place in ("cutover:catch_up", "capture:fence", "cutover:give_authority")
        for when in ("before", "after")
    ],
)
def test_a_cutover_killed_in_its_midst_comes_through_when_it_is_run_again(
    point: str, moving: Moving
) -> None:
    written(moving.tree.path("vector"), SAID_OF_VECTORS)
    assert killed_at(point, lambda: moving.apply("cutover"))
    # A fence is set only where the lock on the other side was had: nobody answers in between.
    fenced = values(moving.tree.path("vector"), f"SELECT count(*) FROM {capture.FENCE}") == [(1,)]
    assert moving.answering("vector-memory") == (None if fenced else LEGACY)
    moving.apply("validate")
    assert_moved(moving.tree)
    assert {gate.side for gate in moving.gates.values()} == {UNIFIED}


@pytest.mark.parametrize(
    "point",
    [
        f"{when} live.{place}"
        for place in (
            "reverse:drain_all", "capture:open_fence", "returning:give_authority",
            "returning:_let_go", "returning:put_when_near", "reverse:forget", "capture:remove",
        )
        for when in ("before", "after")
    ],
)  # fmt: skip
def test_a_way_back_killed_in_its_midst_comes_through_when_it_is_run_again(
    point: str, moved: Moving, returned: dict[str, object]
) -> None:
    assert killed_at(point, moved.rollback)
    moved.rollback()
    assert moved.tree.state == returned
    assert {gate.side for gate in moved.gates.values()} == {LEGACY}
    assert not values(
        moved.tree.path("legacy"), "SELECT name FROM sqlite_master WHERE name GLOB 'devflow_*'"
    )


def test_the_way_back_brings_what_was_written_before_and_after(
    returned: dict[str, object],
) -> None:
    tables = returned["data/devflow.sqlite"]["rows"]  # type: ignore[index]
    said = repr(tables)
    assert "told later" in said
    assert "fresh words" in said
    assert "said later" in said


def test_a_way_back_taken_up_again_writes_nothing_over_what_legacy_services_have_since(
    moved: Moving,
) -> None:
    assert killed_at("after live.returning:_drain_and_pass", moved.rollback)
    written(moved.tree.root, "UPDATE task_contexts SET title = 'behind' WHERE id = 't2'")
    written(moved.tree.path("legacy"), "UPDATE task_contexts SET title = 'own' WHERE id = 't2'")
    moved.rollback()
    query = "SELECT title FROM task_contexts WHERE id = 't2'"
    assert values(moved.tree.path("legacy"), query) == [("own",)]
    beside = moved.tree.directory / ".devflow-migration" / "sidecar.sqlite"
    assert ("task_contexts",) in values(beside, "SELECT target FROM kept")


def test_a_way_back_amid_the_cutovers_leaves_the_services_alone_that_did_not_move(
    moving: Moving,
) -> None:
    assert killed_at("before live.steps:cut_over", lambda: moving.apply("cutover"))
    moving.gates["database-manager"].opens_by_itself = LIMITS.attempts
    with pytest.raises(MigrationError, match="database-manager could not be moved"):
        moving.apply("cutover")
    assert moving.answering("vector-memory") == UNIFIED
    written(moving.tree.root, "UPDATE memory_blocks SET content = 'told later' WHERE id = 'v1'")
    written(moving.tree.path("legacy"), "UPDATE task_contexts SET title = 'own words'")
    moving.rollback()
    contents = "SELECT content FROM vector_memories WHERE id = 'v1'"
    assert values(moving.tree.path("vector"), contents) == [("told later",)]
    titles = "SELECT DISTINCT title FROM task_contexts"
    assert values(moving.tree.path("legacy"), titles) == [("own words",)]
    assert {gate.side for gate in moving.gates.values()} == {LEGACY}


@pytest.mark.parametrize("until", ["shadow", "validate", "cleanup"])
def test_nobody_answers_or_writes_while_a_backup_is_restored_however_long_it_takes(
    until: str, lived_in: LegacyTree
) -> None:
    before = lived_in.state
    moving = Moving.of(lived_in)
    moving.apply(until)
    assert killed_at("after live.returning:export_writes", moving.to_backup)
    for service in ("database-manager", "vector-memory"):
        assert moving.answering(service) is None
    with pytest.raises(Exception, match="is being rolled back and takes no more writes"):
        written(lived_in.root, WRITES_AFTER[0])
    assert killed_at("before live.steps:_end_capture", moving.to_backup)
    moving.to_backup()
    assert lived_in.state == before
    assert {gate.side for gate in moving.gates.values()} == {LEGACY}


@pytest.mark.parametrize("until", ["validate", "cleanup"])
def test_later_writes_are_in_a_file_when_the_backup_is_restored_even_after_the_cleanup(
    until: str, moved: Moving
) -> None:
    moved.apply(until)
    written(moved.tree.root, "UPDATE task_contexts SET title = 'last of all' WHERE id = 't1'")
    moved.to_backup()
    exported = moved.tree.directory / "backups" / "later-writes" / "later-writes.sqlite"
    kept = {value for (value,) in values(exported, "SELECT value FROM kept_values")}
    assert {"last of all", "told later"} <= kept
    before = values(moved.tree.path("legacy"), "SELECT title FROM task_contexts ORDER BY id")
    assert before == [("task 0",), ("task 1",), ("task 2",)]


# Gates that open, and databases that are locked --------------------------------------------------


def test_no_fence_is_set_behind_a_gate_that_opened_meanwhile(moving: Moving) -> None:
    moving.gates["database-manager"].opens_by_itself = LIMITS.attempts
    with pytest.raises(MigrationError, match="could not be moved"):
        moving.apply("cutover")
    assert moving.answering("database-manager") == LEGACY
    written(moving.tree.path("legacy"), CHANGES["another-id"])  # as nobody has fenced it
    moving.apply("validate")
    assert_moved(moving.tree)


def test_nothing_is_given_back_behind_a_gate_that_opened_meanwhile(
    moved: Moving, returned: dict[str, object]
) -> None:
    moved.gates["vector-memory"].opens_by_itself = LIMITS.attempts
    with pytest.raises(MigrationError, match="could not be given back"):
        moved.rollback()
    assert moved.answering("vector-memory") == UNIFIED
    assert {gate.side for gate in moved.gates.values()} == {UNIFIED}
    moved.rollback()
    assert moved.tree.state == returned


@contextlib.contextmanager
def locked(path: Path) -> Iterator[apsw.Connection]:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@pytest.mark.parametrize("source", ["root", "vector"])
def test_a_cutover_waits_for_no_lock_behind_its_fence(source: str, moving: Moving) -> None:
    with locked(moving.tree.path(source)), pytest.raises(MigrationError, match="could not be move"):
        moving.apply("cutover")
    assert moving.answering("vector-memory") == LEGACY
    assert {gate.side for gate in moving.gates.values()} == {LEGACY}
    moving.apply("validate")
    assert_moved(moving.tree)


@pytest.mark.parametrize("source", ["root", "legacy", "vector"])
def test_a_way_back_that_finds_a_database_locked_leaves_the_services_where_they_are(
    source: str, moved: Moving, returned: dict[str, object]
) -> None:
    for gate in moved.gates.values():
        gate.side = UNIFIED
    drained = threading.Event()
    way = live_way(moved.gates, LIMITS)

    def tell(event: Any) -> None:
        if event.get("step") == "rollback.services" and event["event"] == "step_started":
            drained.set()
            lock.acquire()

    lock = threading.Semaphore(0)

    def hold() -> None:
        drained.wait(30)
        with locked(moved.tree.path(source)):
            lock.release()
            done.wait(30)

    done = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    try:
        with pytest.raises(MigrationError, match="could not be given back"):
            phases.rollback(Tree.at(moved.tree.directory), tell, way, keep_writes=True)
        assert moved.answering("database-manager") == UNIFIED
        assert {gate.side for gate in moved.gates.values()} == {UNIFIED}
    finally:
        done.set()
        holder.join()
    moved.rollback()
    assert moved.tree.state == returned


def test_a_lock_that_ends_is_waited_out(moved: Moving, returned: dict[str, object]) -> None:
    with locked(moved.tree.path("legacy")) as connection:
        threading.Thread(target=_free_soon, args=(connection,), daemon=True).start()
        moved.rollback(Limits(hold_s=0.1, attempts=200, pause_s=0.02))
    assert moved.tree.state == returned


def _free_soon(connection: apsw.Connection) -> None:
    time.sleep(0.5)
    connection.execute("ROLLBACK")


# The unified service asks whose a write is -------------------------------------------------------


@contextlib.contextmanager
def service(database: Path) -> Iterator[TestClient]:
    settings = Settings(DEVFLOW_DB_PATH=database, DEVFLOW_BESIDE_LEGACY=True)  # type: ignore[call-arg]
    with TestClient(create_app(load("database-manager"), settings)) as client:
        yield client


MEMORY = {"id": "one-more", "content": "words", "type": "note"}


def test_a_unified_service_writes_only_while_it_is_its_turn(moving: Moving) -> None:
    with service(moving.tree.root) as client:
        refused = client.post("/memory", json=MEMORY)
        assert refused.status_code == 503
        assert "answered for by its legacy service" in refused.text
        assert client.get("/memory").status_code == 200
        moving.apply("cutover")
        assert client.post("/memory", json=MEMORY).status_code == 201


def test_a_unified_service_writes_nothing_once_its_turn_is_over(moved: Moving) -> None:
    with service(moved.tree.root) as client:
        assert client.post("/memory", json=MEMORY).status_code == 201
        assert killed_at("after live.returning:_drain_and_pass", moved.rollback)
        assert client.post("/memory", json={**MEMORY, "id": "late"}).status_code == 503
        moved.rollback()
        assert client.post("/memory", json={**MEMORY, "id": "later"}).status_code == 503
    kept = values(moved.tree.path("legacy"), "SELECT id FROM memory_blocks WHERE type = 'note'")
    assert ("one-more",) in kept
    assert not {("late",), ("later",)} & set(kept)
