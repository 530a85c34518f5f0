"""The comparison of rows against a strict SQL join, on every difference of types known to be lost.

Each case is one value that differs in a way that some comparison does not see: other tools find
12 to 15 of the first sixteen.
"""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import counted_rows, differing_keys

from harness.checkers.compare import Comparison, SideError, compare
from harness.checkers.digests import Side
from harness.checkers.values import Value, encode, read_rows, render

# The value as SQL on either side, and the column's declaration.
SIXTEEN = {
    "NULL and an empty string": ("NULL", "''", ""),
    "1 and 1.0": ("1", "1.0", ""),
    "1 and '1'": ("1", "'1'", ""),
    "text and blob": ("'x'", "x'78'", ""),
    "after a NUL": ("CAST(x'610062' AS TEXT)", "CAST(x'610063' AS TEXT)", ""),
    "2^53+1 and 2^53+2": ("9007199254740993", "9007199254740994", ""),
    "2^53+2 as integer and real": ("9007199254740994", "9007199254740994.0", ""),
    "0.1 and its next float": ("0.1", "0.10000000000000002", ""),
    "infinity and the largest real": ("9e999", "1.7976931348623157e308", ""),
    "trailing blank": ("'a'", "'a '", ""),
    "case": ("'Abc'", "'abc'", ""),
    "composed and decomposed": ("'é'", "'e' || char(769)", ""),
    "JSON's blanks": ("""'{"a":1}'""", """'{"a": 1}'""", ""),
    "case in a NOCASE column": ("'Abc'", "'abc'", "TEXT COLLATE NOCASE"),
    "blank in an RTRIM column": ("'a'", "'a '", "TEXT COLLATE RTRIM"),
    "invalid UTF-8": ("CAST(x'61FF' AS TEXT)", "CAST(x'61FE' AS TEXT)", ""),
}
COLUMNS = ["id", "v", "w"]


def table(path: Path, kind: str, rows: list[str], *, key: str = "id TEXT PRIMARY KEY") -> Path:
    connection = apsw.Connection(str(path))
    with connection:
        connection.execute(f"CREATE TABLE t({key}, v {kind}, w)")
        for row in rows:
            connection.execute(f"INSERT INTO t VALUES ({row})")
    connection.close()
    return path


def compared(left: Path, right: Path, **more: int) -> Comparison:
    sides = [Side.table(path, "t", COLUMNS, key=(0,)) for path in (left, right)]
    return compare(sides[0], sides[1], **more)


@pytest.mark.parametrize("name", SIXTEEN)
def test_each_of_sixteen_one_value_differences_is_found_as_by_the_join(
    name: str, tmp_path: Path
) -> None:
    one, other, kind = SIXTEEN[name]
    same = [f"'k{n}', {n}, 'same'" for n in range(20)]
    left = table(tmp_path / "l", kind, [*same, f"'key', {one}, 1"])
    right = table(tmp_path / "r", kind, [f"'key', {other}, 1", *reversed(same)])
    found = compared(left, right)
    assert (found.missing, found.invented, found.changed) == (0, 0, 1)
    assert [d.expected[0] for d in found.differences if d.expected] == ["key"]
    assert differing_keys(left, right, "t", key="id", columns=COLUMNS) == {"'key'"}
    assert compared(left, left).differing == 0


def test_a_negative_zero_is_found_though_sql_says_that_it_is_zero(tmp_path: Path) -> None:
    paths = []
    for name, zero in (("l", -0.0), ("r", 0.0)):
        path = table(tmp_path / name, "", [])
        connection = apsw.Connection(str(path))
        connection.execute("INSERT INTO t VALUES ('k', ?, 1)", (zero,))
        connection.close()
        paths.append(path)
    assert compared(*paths).changed == 1
    assert differing_keys(*paths, "t", key="id", columns=COLUMNS) == set()


def test_a_row_that_stands_twice_instead_of_three_times_is_missing_once(tmp_path: Path) -> None:
    paths = [table(tmp_path / f"{n}", "", ["'a', 1, 2"] * n, key="id") for n in (3, 2)]
    sides = [Side.table(path, "t", COLUMNS) for path in paths]
    found = compare(sides[0], sides[1])
    assert (found.missing, found.invented, found.changed) == (1, 0, 0)
    assert [counted_rows(path, "t", COLUMNS).popitem()[1] for path in paths] == [3, 2]


def test_rows_with_null_keys_are_compared_as_a_multiset(tmp_path: Path) -> None:
    left = table(tmp_path / "l", "", ["NULL, 1, 'a'", "NULL, 2, 'b'", "NULL, 2, 'b'"])
    right = table(tmp_path / "r", "", ["NULL, 2, 'b'", "NULL, 1, 'a'", "NULL, 3, 'zz'"])
    found = compared(left, right)
    assert (found.missing, found.invented, found.changed) == (1, 1, 0)


def test_a_key_that_became_another_is_paired_with_its_row(tmp_path: Path) -> None:
    left = table(tmp_path / "l", "", ["NULL, 1, 'a'", "'Ab', 2, 'b'"])
    right = table(tmp_path / "r", "", ["'', 1, 'a'", "'ab', 2, 'b'"])
    pairs = {
        (d.expected[0], d.actual[0])
        for d in compared(left, right).differences
        if d.expected and d.actual
    }
    assert pairs == {(None, ""), ("Ab", "ab")}


def test_composite_keys_are_not_run_together(tmp_path: Path) -> None:
    left = table(tmp_path / "l", "", ["1, 11, 'x'", "11, 1, 'y'"], key="id")
    right = table(tmp_path / "r", "", ["11, 1, 'x'", "1, 11, 'y'"], key="id")
    sides = [Side.table(path, "t", COLUMNS, key=(0, 1)) for path in (left, right)]
    assert compare(sides[0], sides[1]).changed == 2


def test_a_table_wider_than_one_mask_keeps_its_types(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(130)]
    paths = []
    for name, last in (("l", "x'61FF'"), ("r", "CAST(x'61FF' AS TEXT)")):
        path = tmp_path / name
        connection = apsw.Connection(str(path))
        connection.execute(f"CREATE TABLE t({', '.join(names)})")
        connection.execute(f"INSERT INTO t VALUES ({', '.join(['1'] * 129)}, {last})")
        paths.append(path)
        connection.close()
    sides = [Side.table(path, "t", names, key=(0,)) for path in paths]
    assert compare(sides[0], sides[1]).changed == 1


def test_databases_of_other_text_encodings_hold_equal_rows(tmp_path: Path) -> None:
    left = table(tmp_path / "l", "", ["'ключ', 'é', x'00'"])
    connection = apsw.Connection(str(tmp_path / "r"))
    connection.execute("PRAGMA encoding = 'UTF-16le'")
    connection.close()
    other = apsw.Connection(str(tmp_path / "r"))
    other.execute("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(id TEXT PRIMARY KEY, v, w)")
    other.execute("INSERT INTO t VALUES ('ключ', 'é', x'00')")
    other.close()
    assert compared(left, tmp_path / "r").differing == 0
    connection = apsw.Connection(str(tmp_path / "r"))
    connection.execute("UPDATE t SET v = 'è'")
    connection.close()
    assert compared(left, tmp_path / "r").changed == 1


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    rows = [f"'k{n}', {n}, 'text {n}'" for n in range(3000)]
    left = table(tmp_path / "l", "", rows)
    changed = ["'k5', 5, 'other'", *rows[:5], *rows[6:2990], "'new', 1, 1", "NULL, 1, 1"]
    right = table(tmp_path / "r", "", changed)
    alone = compared(left, right)
    both = compared(left, right, parallel_rows=1)
    assert (alone.missing, alone.invented, alone.changed) == (10, 2, 1)
    assert (both.missing, both.invented, both.changed) == (10, 2, 1)
    assert set(map(repr, alone.differences)) == set(map(repr, both.differences))


@pytest.mark.parametrize("parallel_rows", [1, 1_000])
def test_sql_that_fails_says_whose_it_was(parallel_rows: int, tmp_path: Path) -> None:
    path = table(tmp_path / "l", "", ["'k', 1, 1"])
    good = Side.table(path, "t", COLUMNS, key=(0,))
    bad = Side.table(path, "t", ["id", "v", "missing"], key=(0,))
    with pytest.raises(SideError, match=r"no such column: \w+\.missing") as right:
        compare(good, bad, parallel_rows=parallel_rows)
    assert right.value.right
    with pytest.raises(SideError, match="no such column") as left:
        compare(bad, good, parallel_rows=parallel_rows)
    assert not left.value.right


def test_when_everything_differs_all_is_counted_and_little_is_listed(tmp_path: Path) -> None:
    left = table(tmp_path / "l", "", [f"'k{n}', {n}, 1" for n in range(500)])
    right = table(tmp_path / "r", "", [f"'k{n}', {n}, 2" for n in range(500)])
    found = compared(left, right, listed_max=7)
    assert (found.changed, len(found.differences)) == (500, 7)


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=6),
    st.binary(max_size=6),
    st.sampled_from(["", "a", "A", "a ", b"a", b"", 1, 1.0, "1", 0.0, -0.0]),
)
ROWS = st.lists(st.tuples(VALUES, VALUES), max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(left=ROWS, right=ROWS, key=st.sampled_from([(), (0,), (0, 1)]))
def test_counts_agree_with_multisets_of_typed_rows(
    left: list[tuple[Value, Value]],
    right: list[tuple[Value, Value]],
    key: tuple[int, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    sides = []
    for name, rows in (("l", left), ("r", right)):
        connection = apsw.Connection(str(folder / name))
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE t(a, b)")
        with connection:
            connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        connection.close()
        sides.append(Side.table(folder / name, "t", ["a", "b"], key=key))
    found = compare(sides[0], sides[1])
    ours, theirs = ([encode(row) for row in rows] for rows in (left, right))
    only_left = sum(max(0, ours.count(r) - theirs.count(r)) for r in set(ours))
    only_right = sum(max(0, theirs.count(r) - ours.count(r)) for r in set(theirs))
    assert found.missing + found.changed == only_left
    assert found.invented + found.changed == only_right


def test_text_that_is_no_utf8_is_read_whole_and_shown(tmp_path: Path) -> None:
    path = table(tmp_path / "l", "", ["'k', CAST(x'61FF00' AS TEXT), x'61FF00'"])
    connection = apsw.Connection(str(path))
    ((_, text, blob),) = read_rows(connection, COLUMNS, "t")
    connection.close()
    assert (text, blob) == ("a\udcff\x00", b"a\xff\x00")
    assert [render(v) for v in (text, blob, None, 1, 1.0, -0.0, "x" * 200)] == [
        "'a\\udcff\\x00'", "x'61ff00'", "NULL", "1", "1.0", "-0.0",
        f"'{'x' * 100}…' (200 characters)",
    ]  # fmt: skip
