"""Rows are read alike in every way, in this process or another, whatever their text holds."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import apsw
import pytest

from harness.checkers import worker
from harness.checkers.digests import Side, digest, encoded_rows
from harness.checkers.values import RowReader, read_ordered, read_rows
from harness.checkers.worker import Worker, WorkerError
from harness.errors import InvariantError

COLUMNS = ["id", "v"]


@pytest.fixture
def side(tmp_path: Path) -> Side:
    path = tmp_path / "db"
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        for number in range(1, 6):
            value = "CAST(x'61FF' AS TEXT)" if number == 3 else f"'v{number}'"
            connection.execute(f"INSERT INTO t VALUES ({number}, {value})")
    return Side.table(path, "t", COLUMNS, key=(0,), rowid="rowid")


def given_back(side: Side) -> Side:
    return Side(
        path=side.path, source="t AS u", expressions=("u.id", "u.v"), key=(0,), row="u.rowid"
    )


def test_ordered_reading_goes_on_behind_bad_text(side: Side) -> None:
    ordered = f"{side.source} ORDER BY 1"
    with closing(side.connect()) as connection:
        expected = [(1, "v1"), (2, "v2"), (3, "a\udcff"), (4, "v4"), (5, "v5")]
        assert list(read_rows(connection, side.expressions, side.source)) == expected
        assert list(read_ordered(connection, side.expressions, ordered)) == expected


def test_single_rows_are_read_with_bad_text_too(side: Side) -> None:
    with closing(side.connect()) as connection:
        reader = RowReader(connection, side.expressions, f"{side.source} WHERE {side.row} = ?")
        assert [reader.read(n) for n in (1, 3, 9)] == [(1, "v1"), (3, "a\udcff"), None]


def test_a_worker_answers_what_is_read_here(side: Side) -> None:
    wanted = frozenset({0, 1})
    with closing(side.connect()) as connection, Worker() as other:
        other.ask_digest(side, buckets=4)
        here, there = digest(connection, side, buckets=4), other.digest()
        assert (here.sums == there.sums).all()
        assert (here.rows, here.size) == (there.rows, there.size) == (5, here.size)
        other.ask_rows(side, buckets=4, wanted=wanted)
        rows = list(encoded_rows(connection, side, buckets=4, wanted=wanted))
        assert list(other.rows()) == rows
        assert len(rows) == 3
        other.ask_left_over(side, given_back(side), (1, 5))
        assert other.left_over() == []


def test_the_worker_s_own_side_of_the_protocol(side: Side) -> None:
    told = {"side": asdict(side), "buckets": 4}
    head, body = worker._answer({**told, "wanted": None})
    assert (head["rows"], len(body)) == (5, 2 * 4 * 8)
    assert len(worker._answer({**told, "wanted": [0]})[1]) > 0
    left = {"side": asdict(given_back(side)), "left": asdict(side), "span": [1, 5]}
    assert worker._answer(left) == ({"left_over": []}, b"")
    broken = {**told, "side": {**asdict(side), "source": "nowhere"}, "wanted": None}
    assert worker._answer(broken) == ({"error": "no such table: nowhere"}, b"")


def test_a_worker_tells_sqlite_s_words_and_ends_quietly(side: Side) -> None:
    lost = Side(path=side.path, source="nowhere", expressions=("1",))
    with Worker() as other:
        other.ask_digest(lost, buckets=1)
        with pytest.raises(WorkerError, match="no such table: nowhere"):
            other.digest()
    with Worker() as unasked, pytest.raises(InvariantError, match="nobody had asked"):
        unasked.digest()


def test_a_worker_that_died_is_the_harness_s_own_fault(side: Side) -> None:
    with Worker() as other:
        other.ask_digest(side, buckets=1)
        other.digest()
        assert other._process is not None
        other._process.kill()
        other._process.wait()
        with pytest.raises(InvariantError, match="ended with -9"):
            other._answer()
