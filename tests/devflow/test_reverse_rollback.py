"""A rollback keeps what was written since the cutover, or writes it to a file, as it is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from devflow_tree import REPOSITORY, LegacyTree, add_block, environment, tree_state, values

from devflow import operator
from devflow.migration import phases
from devflow.migration.tree import Tree
from devflow.services.database_manager.legacy import memory as old_memory
from devflow.services.database_manager.legacy import tasks as old_tasks
from devflow.services.database_manager.tasks import work as tasks
from devflow.services.store import Connection, opened

_BUDGET = (
    "INSERT INTO cost_budgets (id, name, period, limit_nanousd, created_at, updated_at)"
    " VALUES ('b1', 'a budget', 'day', 5, 'now', 'now')"
)


@pytest.fixture
def filled(tree: LegacyTree) -> LegacyTree:
    tree.insert("root", "task_contexts", id="r1", title="of root")
    tree.insert("legacy", "task_contexts", id="t1", title="of legacy", status="in_progress")
    add_block(tree, "m1", type="note")
    return tree


def write(tree: LegacyTree, *works: Callable[[Connection], Any]) -> None:
    with closing(opened(tree.root, writable=True)) as connection:
        for work in works:
            connection.execute("BEGIN IMMEDIATE")
            work(connection)
            connection.execute("COMMIT")


def write_some(tree: LegacyTree) -> None:
    """Write as services do: what the old databases can hold, and what they cannot."""
    told = {"title": "new", "description": None, "status": "pending", "priority": "high"}
    memory = {"content": "kept", "type": "note", "timestamp": "then"}
    write(
        tree,
        lambda c: old_tasks.create(c, "t2", told),
        lambda c: old_tasks.change(c, "t1", {"title": "changed"}),
        lambda c: old_memory.create(c, "m2", memory),
        lambda c: old_memory.delete(c, "m1"),
        lambda c: tasks.change(c, "r1", {"branch_name": "main"}),
        lambda c: tasks.change(c, "t1", {"branch_name": "other"}),
        lambda c: c.execute(_BUDGET),
    )


def assert_written(tree: LegacyTree) -> None:
    query = "SELECT id, title, status, priority FROM task_contexts ORDER BY id"
    assert values(tree.path("legacy"), query) == [
        ("t1", "changed", "in_progress", "medium"),
        ("t2", "new", "pending", "high"),
    ]
    assert values(tree.path("legacy"), "SELECT id, content FROM memory_blocks") == [("m2", "kept")]
    query = "SELECT id, branch_name FROM task_contexts"
    assert values(tree.path("root"), query) == [("r1", "main")]


def schemas(state: dict[str, Any]) -> object:
    """Return what a rollback restores beside the rows."""
    return {
        name: {k: v for k, v in part.items() if k != "rows"} if isinstance(part, dict) else part
        for name, part in state.items()
    }


@pytest.mark.parametrize("until", ["cutover", "validate", "cleanup"])
def test_a_rollback_that_keeps_writes_has_them_in_the_old_databases_and_all_else_as_it_was(
    filled: LegacyTree, until: str
) -> None:
    before = filled.state
    filled.apply(until)
    write_some(filled)
    code, events = filled.call("rollback", keep_writes=True)
    assert (code, events[-1]) == (0, {"event": "done", "state": "none"})
    assert_written(filled)
    assert schemas(filled.state) == schemas(before)
    assert filled.call("status") == (0, [{"event": "done", "state": "none"}])
    kept = values(
        filled.directory / ".devflow-migration" / "sidecar.sqlite",
        "SELECT target, extent, name, value FROM kept JOIN kept_values USING (target, key)"
        " WHERE name IN ('branch_name', 'limit_nanousd')",
    )
    assert kept == [
        ("cost_budgets", "whole", "limit_nanousd", 5),
        ("task_contexts", "part", "branch_name", "other"),
    ]


@pytest.mark.parametrize("until", ["backup", "shadow", "cutover", "cleanup"])
def test_keeping_writes_where_none_were_made_is_a_rollback_to_the_backup(
    filled: LegacyTree, until: str
) -> None:
    before = filled.state
    filled.apply(until)
    phases.rollback(Tree.at(filled.directory), lambda _: None, keep_writes=True)
    assert filled.state == before
    assert not (filled.directory / ".devflow-migration").exists()


def test_the_plan_of_a_rollback_that_keeps_writes_names_its_steps(filled: LegacyTree) -> None:
    code, events = filled.call("plan", until="backup", keep_writes=True)
    steps = [event["step"] for event in events if event.get("phase") == "rollback"]
    assert code == 0
    assert steps == [step.name for step in phases.AT_REST.keeping]
    assert {"rollback.set-aside", "rollback.give-back"} <= set(steps)


# Cut off ------------------------------------------------------------------------------------------


def killed_at(tree: LegacyTree, step: str, event: str) -> None:
    """Run the rollback in lockstep, and kill it at one event of one step."""
    child = subprocess.Popen(
        [sys.executable, "-m", "devflow.migration", "rollback"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(tree.request(keep_writes=True, lockstep=True) + "\n")
    child.stdin.flush()
    for line in child.stdout:
        told = json.loads(line)
        if (told.get("event"), told.get("step")) == (event, step):
            break
        if told["event"] in ("step_started", "step_done"):
            child.stdin.write("\n")
            child.stdin.flush()
    child.send_signal(signal.SIGKILL)
    assert child.wait(20) == -signal.SIGKILL
    child.stdin.close()
    child.stdout.close()


@pytest.mark.parametrize("event", ["step_started", "step_done"])
@pytest.mark.parametrize("step", [step.name for step in phases.AT_REST.keeping])
def test_killed_at_any_step_it_goes_on_and_loses_nothing(
    filled: LegacyTree, step: str, event: str
) -> None:
    before = filled.state
    filled.apply()
    write_some(filled)
    killed_at(filled, step, event)
    # Whoever goes on need not know how it was begun.
    assert filled.call("rollback")[0] == 0
    assert_written(filled)
    assert schemas(filled.state) == schemas(before)
    assert (filled.directory / ".devflow-migration" / "sidecar.sqlite").exists()


def test_an_apply_after_it_was_cut_off_first_ends_it_with_the_writes(filled: LegacyTree) -> None:
    filled.apply()
    write_some(filled)
    killed_at(filled, "rollback.set-aside", "step_started")
    filled.apply("shadow")
    assert_written(filled)


def test_one_that_was_begun_without_keeping_writes_cannot_keep_them_any_more(
    filled: LegacyTree,
) -> None:
    filled.apply()
    write_some(filled)
    with pytest.raises(KeyboardInterrupt):
        phases.rollback(Tree.at(filled.directory), _stop_at("rollback.legacy"))
    code, events = filled.call("rollback", keep_writes=True)
    assert (code, events[-1]["code"]) == (1, "rollback-begun")
    assert filled.call("rollback")[0] == 0


def _stop_at(step: str) -> phases.Progress:
    def tell(event: Any) -> None:
        if event.get("step") == step:
            raise KeyboardInterrupt

    return tell


def test_nobody_can_write_to_what_is_being_taken_back(filled: LegacyTree) -> None:
    filled.apply()
    with pytest.raises(KeyboardInterrupt):
        phases.rollback(Tree.at(filled.directory), _stop_at("rollback.root"), keep_writes=True)
    with pytest.raises(apsw.ConstraintError, match="being rolled back"):
        write(filled, lambda c: c.execute(_BUDGET))


def test_without_the_backup_of_the_cutover_nothing_is_changed(filled: LegacyTree) -> None:
    filled.apply()
    moved = filled.directory / "backups" / "mid-unification" / "unified.sqlite"
    moved.rename(moved.with_name("moved"))
    before = tree_state(filled.directory)
    code, events = filled.call("rollback", keep_writes=True)
    assert (code, events[-1]["code"]) == (1, "backup-gone")
    assert tree_state(filled.directory) == before


# By command ---------------------------------------------------------------------------------------


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devflow", "migrate", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, env=environment(), cwd=REPOSITORY,
    )  # fmt: skip


def test_the_operator_keeps_writes_and_puts_the_rest_back_after_the_next_migration(
    filled: LegacyTree,
) -> None:
    filled.apply()
    write_some(filled)
    done = run("rollback", filled.directory, "--keep-writes")
    assert done.returncode == 0, done.stderr
    assert "the old databases have what was written since" in done.stdout
    assert_written(filled)
    sidecar = filled.directory / ".devflow-migration" / "sidecar.sqlite"
    assert str(sidecar) in done.stdout
    filled.apply()
    done = run("replay", sidecar, filled.directory)
    assert (done.returncode, "rows put" in done.stdout) == (0, True), done
    query = "SELECT id, branch_name FROM task_contexts WHERE branch_name IS NOT NULL ORDER BY 1"
    assert values(filled.root, query) == [("r1", "main"), ("t1", "other")]
    assert values(filled.root, "SELECT id, limit_nanousd FROM cost_budgets") == [("b1", 5)]


def test_to_the_backup_is_exact_and_later_writes_are_in_a_file_that_can_be_replayed(
    filled: LegacyTree,
) -> None:
    before = filled.state
    filled.apply()
    write_some(filled)
    query = "SELECT id, title, status, branch_name, legacy_values FROM task_contexts ORDER BY id"
    blocks = "SELECT id, content, block_type, label FROM memory_blocks ORDER BY id"
    written = values(filled.root, query), values(filled.root, blocks)
    file = filled.directory / "backups" / "later-writes.sqlite"
    done = run("rollback", filled.directory, "--to-backup")
    assert done.returncode == 0, done.stderr
    assert f"are in {file}" in done.stdout
    assert filled.state == before
    filled.apply()
    assert (values(filled.root, query), values(filled.root, blocks)) != written
    done = run("replay", file, filled.directory)
    assert done.returncode == 0, done.stderr
    assert (values(filled.root, query), values(filled.root, blocks)) == written
    again = run("replay", file, filled.directory)
    assert again.returncode == 0
    assert (values(filled.root, query), values(filled.root, blocks)) == written


def test_what_an_earlier_rollback_kept_is_never_written_over(filled: LegacyTree) -> None:
    for number in (1, 2):
        filled.apply()
        write(filled, lambda c, n=number: c.execute(_BUDGET.replace("b1", f"b{n}")))  # type: ignore[misc]
        assert run("rollback", filled.directory, "--keep-writes").returncode == 0
    query = "SELECT value FROM kept_values WHERE name = 'id' AND target = 'cost_budgets'"
    work = filled.directory / ".devflow-migration"
    assert values(work / "sidecar.1.sqlite", query) == [("b1",)]
    assert values(work / "sidecar.sqlite", query) == [("b2",)]
    for _ in range(2):
        filled.apply()
        write(filled, lambda c: c.execute(_BUDGET))
        assert run("rollback", filled.directory).returncode == 0
    files = sorted(path.name for path in (filled.directory / "backups").glob("later*"))
    assert files == ["later-writes.1.sqlite", "later-writes.sqlite"]


def test_a_rollback_that_found_nothing_written_leaves_no_file(filled: LegacyTree) -> None:
    filled.apply()
    assert "later-writes" not in run("rollback", filled.directory).stdout
    assert not (filled.directory / "backups" / "later-writes.sqlite").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("rollback", "TREE", "--keep-writes", "--export", "x"), "--export goes with --to-backup"),
        (("replay", "no-such-file", "TREE"), "cannot be opened"),
        (("replay", "TREE/devflow.sqlite", "TREE"), "holds no writes that were kept"),
        (("replay", "TREE/docker-compose.yml", "TREE"), "is no file of writes"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    filled: LegacyTree, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    filled.apply()
    given = [argument.replace("TREE", str(filled.directory)) for argument in arguments]
    assert operator.main(["migrate", *given]) == operator.EXIT_UNCHANGED
    told = capsys.readouterr().err
    assert says in told
    assert len(told.strip().splitlines()) == 1


def test_replaying_into_what_is_not_migrated_is_refused(
    filled: LegacyTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = operator.main(["migrate", "replay", str(tmp_path / "x"), str(filled.directory)])
    assert code == operator.EXIT_UNCHANGED
    assert "apply the migration first" in capsys.readouterr().err
