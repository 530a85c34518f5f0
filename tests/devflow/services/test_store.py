"""The store: what is acknowledged is committed, and one failure takes no other along."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from devflow.services.errors import ConflictError, UnavailableError
from devflow.services.store import Connection, Store, opened, rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "store.sqlite"
    connection = apsw.Connection(str(file))
    connection.execute("CREATE TABLE t (a INTEGER UNIQUE, b TEXT)")
    connection.close()
    return file


def _insert(a: int) -> object:
    return lambda c: c.execute("INSERT INTO t (a) VALUES (?)", (a,)).fetchall()


def _count(path: Path) -> int:
    connection = opened(path, writable=False)
    found = connection.execute("SELECT count(*) FROM t").fetchall()[0][0]
    connection.close()
    return int(found)


def test_what_write_answered_is_read_by_others(path: Path) -> None:
    with Store(path) as store:
        store.write_now(_insert(1))
        assert _count(path) == 1


def test_one_failure_in_a_group_takes_no_other_along(path: Path) -> None:
    with Store(path) as store:
        gate = threading.Event()
        held = store._submit(lambda _: gate.wait(5))
        together = [store._submit(_insert(number)) for number in (1, 2, 2, 3)]
        gate.set()
        held.result(5)
        failures = [waiting.exception(5) for waiting in together]
    assert [type(failure) for failure in failures] == [
        type(None),
        type(None),
        ConflictError,
        type(None),
    ]
    assert _count(path) == 3


def test_half_of_a_failed_write_is_gone(path: Path) -> None:
    def half(connection: Connection) -> None:
        connection.execute("INSERT INTO t (a) VALUES (1)")
        raise ValueError("midway")

    with Store(path) as store, pytest.raises(ValueError, match="midway"):
        store.write_now(half)
    assert _count(path) == 0


def test_a_reader_cannot_write(path: Path) -> None:
    with Store(path) as store, pytest.raises(apsw.ReadOnlyError):
        store.read_now(lambda c: c.execute("INSERT INTO t (a) VALUES (1)").fetchall())


def test_readers_are_open_before_anybody_asks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(path, readers=2) as store:
        store.open_readers()

        def refused(*_: object, **__: object) -> None:
            raise AssertionError("a query opened a database")

        monkeypatch.setattr("devflow.services.store.opened", refused)
        both = threading.Barrier(2)

        def read(connection: Connection) -> int:
            both.wait(5)  # so that it is not one thread that answers twice
            return len(connection.execute("SELECT * FROM t").fetchall())

        async def twice() -> list[int]:
            return await asyncio.gather(store.read(read), store.read(read))

        assert asyncio.run(twice()) == [0, 0]


def test_more_threads_read_than_were_thought_of(path: Path) -> None:
    with Store(path, readers=1) as store:
        store.open_readers()
        assert store.read_now(lambda c: rows(c, "SELECT * FROM t")) == []
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(store.read_now, lambda c: rows(c, "SELECT * FROM t"))
            assert asked.result(5) == []


def test_a_lock_held_elsewhere_is_told_as_such(path: Path) -> None:
    other = opened(path, writable=True)
    other.execute("BEGIN IMMEDIATE")
    with Store(path) as store:
        store._writer.set_busy_timeout(10)
        with pytest.raises(UnavailableError, match="locked by another process"):
            store.write_now(_insert(1))
        other.execute("ROLLBACK")
        store.write_now(_insert(1))
    other.close()


def test_close_finishes_what_waits_and_refuses_what_comes(path: Path) -> None:
    store = Store(path)
    waiting = [store._submit(_insert(number)) for number in range(20)]
    store.close()
    assert all(w.done() and w.exception() is None for w in waiting)
    with pytest.raises(UnavailableError, match="stopping"):
        store.write_now(_insert(99))
    assert _count(path) == 20


def test_text_that_is_no_utf8_is_shown_with_replacements(path: Path) -> None:
    with Store(path) as store:
        store.write_now(
            lambda c: c.execute(
                "INSERT INTO t VALUES (1, 'plain'), (2, CAST(x'61ff62' AS TEXT)), (3, x'00ff')"
            ).fetchall()
        )
        found = store.read_now(lambda c: rows(c, "SELECT a, b FROM t WHERE a < ? ORDER BY a", (9,)))
    assert found == [
        {"a": 1, "b": "plain"},
        {"a": 2, "b": "a\N{REPLACEMENT CHARACTER}b"},
        {"a": 3, "b": b"\x00\xff"},
    ]


def test_a_database_that_is_not_the_unified_one_is_named_and_a_fault_of_ours_stays_one(
    path: Path,
) -> None:
    def wrong(connection: Connection) -> object:
        return connection.execute("SELECT * FROM model_providers").fetchall()

    with Store(path) as store:
        for ask in (store.read_now, store.write_now):
            with pytest.raises(UnavailableError, match="is not the unified database"):
                ask(wrong)
        store.write_now(lambda c: c.execute("CREATE TABLE migration_facts (name, value)"))
        for ask in (store.read_now, store.write_now):
            with pytest.raises(apsw.SQLError, match="no such table"):
                ask(wrong)
