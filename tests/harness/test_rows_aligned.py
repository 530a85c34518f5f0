"""Large tables are compared where they lie, and come to what the digests come to."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.checkers import compare as module
from harness.checkers.aligned import LEFT_OVER_MAX, left_over
from harness.checkers.compare import Comparison, SideError, compare
from harness.checkers.digests import Side
from harness.checkers.plan import stores_no_numbers
from harness.checkers.values import Value

COLUMNS = ["id", "v", "w"]
FROM = "origin AS o JOIN unified AS u ON u.seq = o.seq"
INVERSE = ("u.id", "CASE WHEN o.residue & 1 THEN o.x_v ELSE u.v END", "u.w")


def left_side(folder: Path, rows: list[tuple[Value, ...]], kinds: str = "id TEXT, v, w") -> Side:
    path = folder / "left"
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        with connection:
            connection.execute(f"CREATE TABLE t({kinds})")
            connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    textual = [n for n, kind in enumerate(kinds.split(",")) if stores_no_numbers(kind)]
    return Side.table(path, "t", COLUMNS, key=(0,), rowid="rowid", textual=textual)


def right_side(folder: Path, rows: list[tuple[Value, ...]], change: str = "", **more: str) -> Side:
    path = folder / "right"
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        with connection:
            connection.execute("CREATE TABLE unified(seq INTEGER PRIMARY KEY, id, v, w)")
            connection.execute(
                "CREATE TABLE origin(source_rowid INTEGER PRIMARY KEY, seq, residue, x_v)"
            )
            connection.executemany("INSERT INTO unified(id, v, w) VALUES (?, ?, ?)", rows)
            connection.execute("INSERT INTO origin SELECT seq, seq, 0, NULL FROM unified")
            connection.execute(change or "SELECT 1")
    told = {"source": FROM, "row": "o.source_rowid", **more}
    return Side(path=str(path), expressions=INVERSE, key=(0,), **told)


def counts(found: Comparison) -> tuple[int, ...]:
    return found.left_rows, found.right_rows, found.missing, found.invented, found.changed


ROWS: list[tuple[Value, ...]] = [(f"k{n}", n, "same") for n in range(50)]


@pytest.fixture
def digests_decline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only the aligned way answer."""

    def declined(*_: object, **__: object) -> Comparison:
        raise AssertionError("the digests were asked")

    monkeypatch.setattr(module, "_compare", declined)


@pytest.mark.parametrize("parallel_rows", [1, 1_000])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("", (50, 50, 0, 0, 0)),
        ("UPDATE unified SET v = v + 0.0 WHERE seq = 7", (50, 50, 0, 0, 1)),
        ("UPDATE unified SET v = '' || v WHERE seq = 7", (50, 50, 0, 0, 1)),
        ("UPDATE unified SET w = CAST(w AS BLOB) WHERE seq = 1", (50, 50, 0, 0, 1)),
        ("UPDATE unified SET w = 'Same' WHERE seq = 50", (50, 50, 0, 0, 1)),
        ("UPDATE unified SET w = 'same ' WHERE seq = 50", (50, 50, 0, 0, 1)),
        ("UPDATE origin SET residue = 1, x_v = 9 WHERE seq = 10", (50, 50, 0, 0, 0)),
        ("DELETE FROM origin WHERE seq = 5", (50, 49, 1, 0, 0)),
        ("INSERT INTO origin VALUES (99, 5, 1, 'new')", (50, 51, 0, 1, 0)),
        ("UPDATE origin SET source_rowid = 99 WHERE seq = 5", (50, 50, 0, 0, 0)),
    ],
)
@pytest.mark.usefixtures("digests_decline")
def test_what_differs_is_found_without_the_digests(
    change: str, expected: tuple[int, ...], parallel_rows: int, tmp_path: Path
) -> None:
    rows = [(f"k{n}", n - 1, "same") for n in range(1, 51)]
    left, right = left_side(tmp_path, rows), right_side(tmp_path, rows, change)
    assert counts(compare(left, right, aligned_rows=1, parallel_rows=parallel_rows)) == expected


def test_a_negative_zero_is_seen(tmp_path: Path) -> None:
    left = left_side(tmp_path, [("a", -0.0, 0.0), ("b", 0.0, 1)])
    right = right_side(tmp_path, [("a", 0.0, 0.0), ("b", 0.0, 1)])
    assert left_over(left, right, (1, 2)) == [1]
    assert counts(compare(left, right, aligned_rows=1)) == (2, 2, 0, 0, 1)


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ("", {"source": FROM + " JOIN (SELECT 1 UNION ALL SELECT 2)"}),
        ("", {"source": FROM + " WHERE 1"}),
        ("", {"row": "o.source_rowid + 0"}),
        ("UPDATE unified SET w = 'other'", {}),
        ("UPDATE origin SET source_rowid = source_rowid + 100000", {}),
        ("", {"row": "NULL"}),
    ],
)
def test_what_does_not_line_up_is_left_to_the_digests(
    change: str, more: dict[str, str], tmp_path: Path
) -> None:
    rows: list[tuple[Value, ...]] = [(f"k{n}", n, "x") for n in range(LEFT_OVER_MAX + 10)]
    left, right = left_side(tmp_path, rows), right_side(tmp_path, rows, change, **more)
    assert counts(compare(left, right, aligned_rows=1)) == counts(
        compare(left, right, aligned_rows=10**9)
    )


def test_a_row_given_twice_in_another_ones_place_is_seen(tmp_path: Path) -> None:
    rows = [("a", 1, 1), ("b", 2, 2), ("c", 3, 3)]
    twice = "(SELECT * FROM origin WHERE seq < 3 UNION ALL SELECT * FROM origin WHERE seq = 1)"
    left = left_side(tmp_path, rows)
    right = right_side(tmp_path, rows, source=f"{twice} AS o JOIN unified AS u ON u.seq = o.seq")
    found = compare(left, right, aligned_rows=1)
    assert counts(found) == (3, 3, 1, 1, 0)


def test_a_missing_table_is_not_found_in_the_source_instead(tmp_path: Path) -> None:
    left = left_side(tmp_path, ROWS)
    empty = tmp_path / "empty"
    with closing(apsw.Connection(str(empty))) as connection:
        connection.execute("CREATE TABLE elsewhere(x)")
    for source in ("t", "t AS u", "main.t AS u"):
        stolen = Side(
            path=str(empty), source=source, expressions=tuple(COLUMNS), key=(0,), row="rowid"
        )
        with pytest.raises(SideError, match="no such table") as told:
            compare(left, stolen, aligned_rows=1)
        assert told.value.right


KINDS_TRIED = "TEXT varchar(9) CLOB nchar INT charint ANY REAL BLOB DATETIME TEXTINT"


@pytest.mark.parametrize("kind", ["", *KINDS_TRIED.split()])
def test_only_where_sqlite_stores_no_number_is_the_class_not_asked_for(kind: str) -> None:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t(v {kind}); INSERT INTO t VALUES (1), (1.5), (-0.0)")
        classes = {row[0] for row in connection.execute("SELECT typeof(v) FROM t")}
    assert stores_no_numbers(kind) is (classes == {"text"})


VALUES = st.one_of(
    st.none(),
    st.sampled_from(["", "a", "A", "a ", b"a", b"", 1, 1.0, "1", "1.0", 0, 0.0, -0.0, 2**53 + 1]),
    st.sampled_from([float(2**53), "007", 7, "a\x00b", "a\x00c", 9e999, "é", "e\u0301"]),
)
KINDS = ["id TEXT, v, w", "id, v INTEGER, w REAL", "id TEXT, v NUMERIC, w TEXT COLLATE NOCASE"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=8),
    kinds=st.sampled_from(KINDS),
    place=st.integers(0, 7),
    column=st.sampled_from(["id", "v", "w"]),
    value=VALUES,
)
def test_both_ways_agree_on_every_type(
    rows: list[tuple[Value, ...]],
    kinds: str,
    place: int,
    column: str,
    value: Value,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("aligned")
    left = left_side(folder, rows, kinds)
    with closing(left.connect()) as connection:
        stored = connection.execute("SELECT * FROM t").fetchall()
    right = right_side(folder, [tuple(row) for row in stored])
    with closing(apsw.Connection(right.path)) as connection:
        connection.execute(f"UPDATE unified SET {column} = ? WHERE seq = ?", (value, place + 1))
    quick = compare(left, right, aligned_rows=1)
    assert counts(quick) == counts(compare(left, right, aligned_rows=10**9))
