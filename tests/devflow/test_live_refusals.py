"""A live cutover does not begin where it could not be taken back, or where notes are missing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest
from devflow_tree import LegacyTree, values

from devflow.live.authority import SERVICES
from devflow.live.control import GateControl
from devflow.live.steps import live_way
from devflow.migration import phases
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree

NOBODY = live_way({name: GateControl(name, 1) for name in SERVICES})
"""Gates that do not answer: whoever asks one has begun too early."""


def applied(tree: LegacyTree, until: str) -> list[Mapping[str, object]]:
    events: list[Mapping[str, object]] = []
    phases.apply(Tree.at(tree.directory), until, events.append, way=NOBODY)
    return events


@pytest.fixture
def shadowed(tree: LegacyTree) -> LegacyTree:
    tree.insert("legacy", "task_contexts", id="t", title="x")
    applied(tree, "shadow")
    for n in range(3):
        tree.run(
            "legacy",
            "INSERT INTO devflow_changes (table_name, key) VALUES ('task_contexts', ?)",
            (n,),
        )
    return tree


def refusal(tree: LegacyTree) -> MigrationError:
    with pytest.raises(MigrationError) as caught:
        applied(tree, "cutover")
    return caught.value


def test_a_cutover_gets_as_far_as_the_first_gate(shadowed: LegacyTree) -> None:
    assert refusal(shadowed).code == "no-gate"


def test_notes_with_a_gap_are_refused(shadowed: LegacyTree) -> None:
    shadowed.run("legacy", "DELETE FROM devflow_changes WHERE n = 2")
    refused = refusal(shadowed)
    assert refused.code == "log-broken"
    assert "have a gap" in refused.text


def test_a_root_that_could_not_be_put_back_is_refused(shadowed: LegacyTree) -> None:
    kept = shadowed.directory / ".devflow-migration" / "root.sqlite"
    kept.unlink()
    assert refusal(shadowed).code == "no-way-back"


def test_a_damaged_root_is_refused(shadowed: LegacyTree) -> None:
    kept = shadowed.directory / ".devflow-migration" / "root.sqlite"
    content = bytearray(kept.read_bytes())
    content[4096:8192] = bytes(4096)
    kept.write_bytes(content)
    assert refusal(shadowed).code in ("no-way-back", "validation-failed")


def test_a_unified_database_that_nobody_notes_is_refused(shadowed: LegacyTree) -> None:
    shadowed.run("root", "DROP TABLE reverse_log")
    assert refusal(shadowed).code == "no-way-back"


def test_a_virtual_table_that_nothing_can_follow_is_refused_untouched(
    tree: LegacyTree, tmp_path: Path
) -> None:
    tree.run("legacy", "CREATE VIRTUAL TABLE words USING fts5(text)")
    before = tree.copy(tmp_path / "before")
    with pytest.raises(MigrationError, match="cannot be followed"):
        applied(tree, "shadow")
    assert tree.state == before.state


@pytest.mark.parametrize("begun", ["live", "at rest"])
def test_a_migration_goes_on_as_it_was_begun(tree: LegacyTree, begun: str) -> None:
    other = phases.AT_REST if begun == "live" else NOBODY
    phases.apply(
        Tree.at(tree.directory),
        "shadow",
        lambda _: None,
        way=NOBODY if begun == "live" else phases.AT_REST,
    )
    for action in (phases.apply, phases.rollback):
        with pytest.raises(MigrationError, match=f"was begun {begun}"):
            if action is phases.apply:
                phases.apply(Tree.at(tree.directory), "cutover", lambda _: None, way=other)
            else:
                phases.rollback(Tree.at(tree.directory), lambda _: None, other)


@pytest.mark.parametrize("keep_writes", [True, False])
@pytest.mark.parametrize("until", ["backup", "shadow"])
def test_before_a_cutover_the_way_back_leaves_no_trace_and_needs_no_gate(
    tree: LegacyTree, until: str, keep_writes: bool
) -> None:
    tree.insert("vector", "vector_memories", id="v", content="c", type="t",
                embedding_vector=b"\0" * 4, dimensions=1, model_id="m")  # fmt: skip
    before = tree.state
    applied(tree, until)
    phases.rollback(Tree.at(tree.directory), lambda _: None, NOBODY, keep_writes=keep_writes)
    assert tree.state == before


def test_later_writes_of_each_way_back_to_the_backup_stay(tree: LegacyTree) -> None:
    tree.insert("legacy", "task_contexts", id="t", title="x")
    for n in range(2):
        applied(tree, "shadow")
        with contextlib.closing(sqlite3.connect(tree.root)) as service, service:
            insert = "INSERT INTO task_contexts (id, title) VALUES (?, 'later')"
            service.execute(insert, (f"later{n}",))
        phases.rollback(Tree.at(tree.directory), lambda _: None, NOBODY)
    files = sorted((tree.directory / "backups" / "later-writes").glob("*.sqlite"))
    kept = [values(file, "SELECT value FROM kept_values WHERE name = 'id'") for file in files]
    assert sorted(kept) == [[("later0",)], [("later1",)]]
