"""How databases are waited for: until they are free, and no longer than was said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from devflow_tree import LegacyTree

from devflow.migration import database, validation
from devflow.migration.database import open_writable, transaction, wait_eagerly
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Yield a connection that keeps all others from writing."""
    with closing(open_writable(tmp_path / "held.sqlite")) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def test_a_lock_that_is_let_go_in_time_is_had(holder: apsw.Connection, tmp_path: Path) -> None:
    letting_go = threading.Timer(0.1, holder.execute, ("COMMIT",))
    with closing(open_writable(tmp_path / "held.sqlite")) as other:
        wait_eagerly(other, 30.0)
        letting_go.start()
        with transaction(other):
            other.execute("INSERT INTO t VALUES (1)")
    letting_go.join()
    assert holder.execute("SELECT a FROM t").fetchall() == [(1,)]


def test_a_lock_that_stays_is_given_up_each_time(holder: apsw.Connection, tmp_path: Path) -> None:
    with closing(open_writable(tmp_path / "held.sqlite")) as other:
        wait_eagerly(other, 0.2)
        for _ in range(2):  # the second wait has time of its own
            began = time.monotonic()
            with pytest.raises(apsw.BusyError), transaction(other):
                pass
            assert time.monotonic() - began >= 0.2
        holder.execute("ROLLBACK")
        with transaction(other):
            other.execute("INSERT INTO t VALUES (2)")


@pytest.mark.parametrize("check", [validation.check_integrity, validation.fill_indexes])
def test_a_lock_that_is_held_elsewhere_is_no_damage(
    check: Callable[[Tree], Mapping[str, int]], tree: LegacyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.apply("cutover")
    monkeypatch.setattr(database, "_BUSY_MS", 50)
    at = Tree.at(tree.directory)
    with closing(open_writable(tree.root)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(MigrationError, match="is locked by another process") as caught:
            check(at)
        other.execute("ROLLBACK")
    assert (caught.value.code, caught.value.definite) == ("locked", False)
    check(at)
    tree.apply()
