"""Phases: idempotent, resumed where they were cut off, and taken back from anywhere."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import apsw
import pytest
from devflow_tree import (
    DATABASES,
    LegacyTree,
    assert_all_kept,
    database_state,
    environment,
    opened,
    tables,
    values,
)

from devflow.migration import database, phases
from devflow.migration.errors import MigrationError

STEPS = tuple(step.name for step in phases.STEPS)
ROLLBACK = tuple(step.name for step in phases.AT_REST.back)


def fill(tree: LegacyTree) -> LegacyTree:
    """Add a row of each kind, so that every step has something to lose."""
    stamps = {"created_at": "2025-09-13 21:42:13", "updated_at": "2025-09-13T21:42:07.223Z"}
    made = {"created_at": "2025-09-18 00:00:00"}
    tree.insert("root", "task_contexts", id="t1", title="root's", **stamps)
    tree.insert(
        "root", "memory_block_embeddings", block_id="gone", embedding=b"1", model="m", dimensions=1,
        **stamps,
    )  # fmt: skip
    tree.insert(
        "legacy", "task_contexts", id="t1", title="legacy's", status="in_progress", **stamps
    )
    tree.insert("legacy", "memory_blocks", id="m1", content="said", type="note", timestamp="now")
    tree.insert(
        "legacy", "memory_block_embeddings", id=None, memory_block_id="m1", model_id="m",
        embedding_vector=b"\0\0\x80?", dimensions=1, **made,
    )  # fmt: skip
    tree.insert(
        "vector", "vector_memories", id="v1", content="c", type="test", model_id="m",
        embedding_vector=b"\0\0\x80?", dimensions=1, **made,
    )  # fmt: skip
    tree.run("vector", "CREATE TABLE extra (a); INSERT INTO extra VALUES (-0.0)")
    tree.log(b'{"message": "Health check completed", "ollama": true, "active": "ollama"}\n')
    (tree.directory / "data" / "notes.txt").write_text("kept")
    return tree


@pytest.fixture
def filled(tree: LegacyTree) -> LegacyTree:
    return fill(tree)


def unified_content(tree: LegacyTree) -> object:
    """Return the unified database's rows and schema, but for the journal of its making."""
    return {
        "schema": values(tree.root, "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"),
        "rows": {
            table: sorted(values(tree.root, f'SELECT * FROM "{table}"'), key=repr)
            for table in tables(tree.root)
        },
    }


@pytest.fixture(scope="module")
def expected(module_path: Path) -> object:
    """The unified database that an undisturbed migration of the filled tree yields."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        tree = fill(LegacyTree.make(module_path / "devflow"))
        tree.apply()
    return unified_content(tree)


# Forth and back ----------------------------------------------------------------------------


def test_every_phase_can_be_the_last_and_be_taken_back(filled: LegacyTree, tmp_path: Path) -> None:
    before = filled.copy(tmp_path / "before")
    for phase in phases.PHASES:
        events = filled.apply(phase)
        assert filled.status == phase
        assert events[-1] == {"event": "phase_done", "phase": phase}
        if phase in ("backup", "shadow"):
            assert filled.state == before.state
        filled.rollback()
        assert filled.status == "none"
        assert filled.state == before.state
        assert not (filled.directory / ".devflow-migration").exists()


def test_phases_run_one_by_one_yield_what_they_yield_together(
    filled: LegacyTree, expected: object
) -> None:
    ran: list[object] = []
    for phase in phases.PHASES:
        events = filled.apply(phase)
        ran += [e["step"] for e in events if e["event"] == "step_done" and not e.get("skipped")]
    assert tuple(ran) == STEPS
    assert unified_content(filled) == expected


def test_a_second_apply_changes_nothing(filled: LegacyTree) -> None:
    filled.apply()
    state = filled.state
    stamps = {path: path.stat().st_mtime_ns for path in filled.directory.rglob("*.sqlite")}
    events = filled.apply()
    assert all(e.get("skipped") for e in events if e["event"] == "step_done")
    assert filled.state == state
    assert {p: p.stat().st_mtime_ns for p in filled.directory.rglob("*.sqlite")} == stamps


def test_apply_after_a_rollback_yields_the_same_again(
    filled: LegacyTree, tmp_path: Path, expected: object
) -> None:
    before = filled.copy(tmp_path / "before")
    filled.apply()
    filled.rollback()
    filled.apply()
    assert unified_content(filled) == expected
    filled.rollback()
    assert filled.state == before.state


def test_a_rollback_of_nothing_says_none(tree: LegacyTree) -> None:
    assert tree.rollback() == []
    assert tree.status == "none"


def test_a_unified_tree_without_its_journal_is_done_and_not_taken_back(
    filled: LegacyTree,
) -> None:
    filled.apply()
    for path in sorted((filled.directory / ".devflow-migration").iterdir()):
        path.unlink()
    assert filled.status == "cleanup"
    assert filled.apply() == []
    with pytest.raises(MigrationError, match="has no journal") as caught:
        filled.rollback()
    assert caught.value.definite


# Plan and status ----------------------------------------------------------------------------


def planned(tree: LegacyTree, until: str = "cleanup") -> tuple[list[str], list[str]]:
    _, events = tree.call("plan", until=until)
    forth = [e["step"] for e in events[:-1] if e["phase"] != "rollback"]
    back = [e["step"] for e in events[:-1] if e["phase"] == "rollback"]
    assert {e["event"] for e in events[:-1]} == {"planned"}
    return forth, back


def test_the_plan_names_every_step_and_shrinks_as_they_are_done(filled: LegacyTree) -> None:
    assert planned(filled) == (list(STEPS), list(ROLLBACK))
    assert planned(filled, "backup")[0] == ["backup.before"]
    assert not (filled.directory / ".devflow-migration").exists()
    filled.apply("shadow")
    assert planned(filled)[0] == [s for s in STEPS if not s.startswith(("backup", "shadow"))]
    filled.apply()
    assert planned(filled) == ([], list(ROLLBACK))
    for path in sorted((filled.directory / ".devflow-migration").iterdir()):
        path.unlink()
    assert planned(filled)[0] == []


def test_status_is_told_by_a_process(filled: LegacyTree) -> None:
    assert filled.call("status") == (0, [{"event": "done", "state": "none"}])
    filled.apply("cutover")
    assert filled.call("status") == (0, [{"event": "done", "state": "cutover"}])


# Writers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("source", list(DATABASES))
def test_a_write_after_the_backup_is_refused_at_the_cutover_and_kept(
    filled: LegacyTree, tmp_path: Path, source: str
) -> None:
    filled.apply("shadow")
    filled.run(source, "CREATE TABLE written_late (a); INSERT INTO written_late VALUES (1)")
    late = database_state(filled.path(source))
    with pytest.raises(MigrationError, match="was written to after its backup") as caught:
        filled.apply()
    assert caught.value.code == "written-since-backup"
    assert str(filled.path(source)) in caught.value.text
    assert database_state(filled.path(source)) == late


def test_a_database_that_came_after_the_backup_is_refused_at_the_cutover(tmp_path: Path) -> None:
    tree = LegacyTree.make(tmp_path / "devflow", without=["vector"])
    tree.apply("shadow")
    tree.run("vector", "CREATE TABLE t (a)")
    with pytest.raises(MigrationError, match="was written to after its backup"):
        tree.apply()


def test_a_root_locked_by_a_writer_at_the_cutover_can_be_resumed(
    filled: LegacyTree, monkeypatch: pytest.MonkeyPatch, expected: object
) -> None:
    filled.apply("shadow")
    defaults = database.back_up.__kwdefaults__
    monkeypatch.setitem(defaults, "deadline_s", 0.1)
    with contextlib.closing(apsw.Connection(str(filled.root))) as writer:
        writer.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("devflow.migration.database._BUSY_MS", 20)
        with pytest.raises(MigrationError, match="is locked by another process") as caught:
            filled.apply()
        assert not caught.value.definite
        writer.execute("ROLLBACK")
    assert filled.status == "shadow"
    filled.apply()
    assert unified_content(filled) == expected


def test_a_reader_at_the_cutover_sees_the_old_database_or_the_new_one(
    filled: LegacyTree, expected: object
) -> None:
    with contextlib.closing(apsw.Connection(str(filled.root))) as reader:
        reader.execute("BEGIN")
        old = reader.execute("SELECT title FROM task_contexts").fetchall()
        filled.apply("cutover")
        assert reader.execute("SELECT title FROM task_contexts").fetchall() == old
        reader.execute("COMMIT")
        assert len(reader.execute("SELECT title FROM task_contexts").fetchall()) > len(old)
    filled.apply()
    assert unified_content(filled) == expected


@pytest.mark.parametrize(("opened_before", "mode"), [(False, "delete"), (True, "wal")])
def test_the_root_is_written_without_a_log_unless_another_process_has_it_open(
    filled: LegacyTree, monkeypatch: pytest.MonkeyPatch, opened_before: bool, mode: str
) -> None:
    modes = []

    def spy(source: apsw.Connection, target: apsw.Connection, *, name: str) -> None:
        modes.append(target.execute("PRAGMA journal_mode").fetchall()[0][0])
        database.back_up(source, target, name=name)

    with contextlib.closing(apsw.Connection(str(filled.root))) as other:
        other.execute("PRAGMA journal_mode = WAL").fetchall()
        if opened_before:
            other.execute("SELECT count(*) FROM task_contexts").fetchall()
        else:
            other.close()
        monkeypatch.setattr(phases, "back_up", spy)
        filled.apply()
    assert modes == [mode]
    assert values(filled.root, "PRAGMA journal_mode") == [("wal",)]


def test_two_migrations_of_one_tree_do_not_run_at_once(
    filled: LegacyTree, expected: object
) -> None:
    running = Lockstep(filled, "apply")
    told = running.events()
    while next(told).get("step") != "shadow.create":
        pass
    for operation in (filled.apply, filled.rollback):
        with pytest.raises(MigrationError, match="is being migrated by another process") as caught:
            operation()
        assert caught.value.code == "running"
        assert caught.value.definite
    assert filled.status == "backup"
    for _ in told:
        pass
    running.close()
    assert unified_content(filled) == expected


# Validation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("DELETE FROM origin_legacy_task_contexts", "1 rows of legacy.task_contexts cannot be"),
        ("UPDATE task_contexts SET completed_at = 7", "rows of root.task_contexts cannot be"),
        ("INSERT INTO memory_fts (memory_fts) VALUES ('delete-all')", "memory_fts is out of step"),
    ],
)
def test_a_unified_database_that_lost_something_fails_its_validation(
    filled: LegacyTree, tmp_path: Path, damage: str, problem: str
) -> None:
    before = filled.copy(tmp_path / "before")
    filled.apply("cutover")
    with opened(filled.root) as connection:
        connection.execute(damage)
    with pytest.raises(MigrationError, match="failed its validation") as caught:
        filled.apply()
    assert problem in caught.value.text
    assert not caught.value.definite
    assert (filled.directory / "data").exists()
    filled.rollback()
    assert filled.state == before.state


# Killed ----------------------------------------------------------------------------------------


class Lockstep:
    """A migration in a process of its own that is let go step by step."""

    def __init__(self, tree: LegacyTree, operation: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "devflow.migration", operation],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self._say(tree.request(lockstep=True))

    def _say(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def events(self) -> Iterator[Mapping[str, object]]:
        assert self.process.stdout
        for line in self.process.stdout:
            event = json.loads(line)
            yield event
            if event["event"] in ("step_started", "step_done"):
                self._say("")

    def kill_at(self, event: str, step: str) -> None:
        """Go on to the event, and kill the process while it waits there."""
        for told in self.events():
            if (told["event"], told.get("step")) == (event, step):
                self.process.kill()
                break
        assert self.process.wait(10) == -9
        self.close()

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


KILLED_AT = (
    ("step_started", "backup.before"),
    ("step_done", "backup.before"),
    ("step_done", "shadow.create"),
    ("step_done", "shadow.import-tasks"),
    ("step_started", "shadow.copy.vector.vector_memories"),
    ("step_done", "shadow.settle"),
    ("step_done", "cutover.backup-during"),
    ("step_done", "cutover.switch"),
    ("step_done", "cutover.configuration"),
    ("step_started", "cleanup.data"),
    ("step_done", "cleanup.shadow"),
)


@pytest.mark.parametrize(("event", "step"), KILLED_AT)
def test_a_migration_killed_at_a_step_goes_on_to_the_same_end(
    filled: LegacyTree, expected: object, event: str, step: str
) -> None:
    Lockstep(filled, "apply").kill_at(event, step)
    filled.apply()
    assert unified_content(filled) == expected
    assert not (filled.directory / "data").exists()


@pytest.mark.parametrize(("event", "step"), KILLED_AT[::2])
def test_a_migration_killed_at_a_step_can_be_taken_back(
    filled: LegacyTree, tmp_path: Path, event: str, step: str
) -> None:
    before = filled.copy(tmp_path / "before")
    Lockstep(filled, "apply").kill_at(event, step)
    filled.rollback()
    assert filled.status == "none"
    assert filled.state == before.state


@pytest.mark.parametrize("step", ROLLBACK)
def test_a_rollback_killed_at_a_step_can_be_finished(
    filled: LegacyTree, tmp_path: Path, step: str
) -> None:
    before = filled.copy(tmp_path / "before")
    filled.apply()
    Lockstep(filled, "rollback").kill_at("step_done", step)
    filled.rollback()
    assert filled.status == "none"
    assert filled.state == before.state


def test_apply_after_a_rollback_that_was_killed_first_finishes_it(
    filled: LegacyTree, expected: object
) -> None:
    filled.apply()
    Lockstep(filled, "rollback").kill_at("step_done", "rollback.root")
    code, events = filled.call("apply")
    assert code == 0
    started = [e["phase"] for e in events if e["event"] == "phase_started"]
    assert started == ["rollback", *phases.PHASES]
    assert unified_content(filled) == expected


def test_a_cutover_that_was_done_but_not_entered_is_done_again(
    filled: LegacyTree, expected: object
) -> None:
    filled.apply("cutover")
    journal = filled.directory / ".devflow-migration" / "journal.sqlite"
    with opened(journal) as connection:
        connection.execute(
            "DELETE FROM steps WHERE step IN ('cutover.switch', 'cutover.configuration');"
            "DELETE FROM phases WHERE phase = 'cutover'"
        )
    filled.apply()
    assert unified_content(filled) == expected


def test_every_step_can_be_entered_late(filled: LegacyTree, expected: object) -> None:
    """A crash between a step's effect and its entry in the journal costs nothing."""
    for number, step in enumerate(STEPS):
        filled.apply(phases.STEPS[number].phase)
        journal = filled.directory / ".devflow-migration" / "journal.sqlite"
        with opened(journal) as connection:
            last = connection.execute(
                "SELECT step FROM steps ORDER BY number DESC LIMIT 1"
            ).fetchall()[0][0]
            if last == step:
                connection.execute("DELETE FROM steps WHERE step = ?", (step,))
    filled.apply()
    assert unified_content(filled) == expected


def test_what_was_kept_is_kept_through_a_kill_in_the_middle(
    filled: LegacyTree, tmp_path: Path
) -> None:
    before = filled.copy(tmp_path / "before")
    Lockstep(filled, "apply").kill_at("step_started", "cutover.switch")
    filled.apply()
    assert assert_all_kept(before, filled.root) == 7
