"""A database that is written to without a pause is replaced all the same, with every write."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from devflow_tree import LegacyTree, values
from test_live_catching_up import copied

from devflow.live import cutover, returning, reverse
from devflow.live.authority import SERVICES
from devflow.live.catching_up import CaughtUp, behind
from devflow.live.control import GateControl
from devflow.live.following import following
from devflow.live.steps import live_way
from devflow.migration import validation
from devflow.migration.database import open_source

GATES = {name: GateControl(name, 1) for name in SERVICES}
_WRITER = """
import itertools, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for number in itertools.count(1):
    key = f"{sys.argv[2]}-{number}"
    connection.execute("INSERT INTO task_contexts (id, title) VALUES (?, 'x')", (key,))
    print(key, flush=True)
"""


@contextlib.contextmanager
def restless(path: Path, name: str) -> Iterator[Path]:
    """Write tasks to a database, one after another without a pause; yields a file of the keys."""
    accepted = path.parent / f"{name}.txt"
    with accepted.open("wb") as file:
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name], stdout=file)
        try:
            while not keys(accepted):
                time.sleep(0.001)
            yield accepted
            assert writer.poll() is None
        finally:
            writer.kill()
            writer.wait()


def keys(accepted: Path) -> list[str]:
    """Return the keys of what was accepted."""
    return accepted.read_text().split("\n")[:-1]


def assert_kept(path: Path, accepted: Path) -> None:
    """Each write that was accepted is there; the last may be there without having been told."""
    query = "SELECT id FROM task_contexts WHERE id GLOB ? ORDER BY rowid"
    stored = [str(row[0]) for row in values(path, query, (f"{accepted.stem}-*",))]
    told = keys(accepted)
    assert stored[: len(told)] == told
    assert len(stored) <= len(told) + 1


def test_a_root_that_is_written_to_without_a_pause_is_replaced_and_comes_back(
    tree: LegacyTree,
) -> None:
    at = copied(tree)
    way = live_way(GATES)
    forward = {step.name: step.run for step in way.forward}
    forward["shadow.follow"](at)
    with restless(tree.root, "there") as there:
        forward["shadow.put"](at)
        before = len(keys(there))
        while len(keys(there)) < before + 50:  # whoever has it open goes on in the unified one
            time.sleep(0.001)
    assert validation.is_unified(at)
    assert_kept(tree.root, there)
    with restless(tree.root, "back") as back:
        returning.put_root_back(at)
    assert not validation.is_unified(at)
    assert_kept(tree.root, there)
    assert_kept(tree.root, back)


def test_following_ends_where_more_is_written_than_can_be_followed(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = copied(tree)
    rounds = 0

    def never_nearer(*_: object) -> CaughtUp:
        nonlocal rounds
        rounds += 1
        return CaughtUp(1, 1, 0)

    monkeypatch.setattr(cutover, "behind", lambda *_: 500)
    monkeypatch.setattr(cutover, "catch_up", never_nearer)
    with following(at, at.shadow) as shadow:
        assert cutover.follow(shadow, "legacy", near=200) == rounds
        assert 0 < rounds < 100
        assert behind(shadow, "legacy") == 0


def test_draining_ends_where_more_is_written_than_can_be_drained(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = copied(tree)
    forward = {step.name: step.run for step in live_way(GATES).forward}
    for step in ("shadow.follow", "shadow.put"):
        forward[step](at)
    rounds = 0

    def never_nearer(*_: object, **__: object) -> reverse.Drained:
        nonlocal rounds
        rounds += 1
        return reverse.Drained(behind=500)

    monkeypatch.setattr(reverse, "drain", never_nearer)
    returning.drain_live(at, returning.Databases())
    assert 0 < rounds < 20
    with closing(open_source(at.path("root"))) as unified:
        returning._Near(at, unified).bring()
    assert rounds < 40
