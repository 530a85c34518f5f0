"""A value that stands in two places is the same in both, whichever of them the inverse reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade import evidence

from harness.checkers.rows import check
from harness.model import CheckResult

NOTES = (
    "CREATE TABLE notes (id TEXT, at);"
    "INSERT INTO notes VALUES ('a', '2025-01-01 10:00'), ('b', NULL), ('c', 7),"
    " ('d', CAST(x'61ff' AS TEXT)), ('e', 'Noon');"
)
UNIFIED = (
    "CREATE TABLE kept (n INTEGER PRIMARY KEY, id TEXT, at);"
    "CREATE TABLE read_by_services (n INTEGER PRIMARY KEY, at COLLATE NOCASE);"
    "INSERT INTO kept (id, at) VALUES ('a', '2025-01-01 10:00'), ('b', NULL), ('c', 7),"
    " ('d', CAST(x'61ff' AS TEXT)), ('e', 'Noon');"
    "INSERT INTO read_by_services SELECT n, at FROM kept;"
)
TABLE = {
    "from": "kept AS k JOIN read_by_services AS r USING (n)",
    "key": "n",
    "columns": {"id": "k.id", "at": "k.at"},
    "shown": {"at": "r.at"},
}


def judged(directory: Path, change: str = "") -> CheckResult:
    return check(
        evidence(
            directory,
            sources={"legacy": NOTES},
            unified=UNIFIED + change,
            tables={"legacy.notes": TABLE},
        )
    )


def test_equal_values_are_right_whatever_they_are(tmp_path: Path) -> None:
    assert judged(tmp_path).findings == ()


@pytest.mark.parametrize(
    ("n", "value", "expected", "actual"),
    [
        (1, "'2025-01-01'", "'2025-01-01 10:00'", "'2025-01-01'"),
        (2, "''", "NULL", "''"),
        (3, "7.0", "7", "7.0"),
        (3, "'7'", "7", "'7'"),
        (4, "'a'", None, "'a'"),
        (5, "'noon'", "'Noon'", "'noon'"),
    ],
)
def test_another_value_is_told_with_both(
    n: int, value: str, expected: str | None, actual: str, tmp_path: Path
) -> None:
    result = judged(tmp_path, f"UPDATE read_by_services SET at = {value} WHERE n = {n};")
    (finding,) = result.findings
    assert (finding.rule, finding.column, finding.key) == (
        "rows/shown-otherwise",
        "at",
        f"rowid {n}",
    )
    assert expected in (None, finding.expected)
    assert finding.actual == actual


def test_many_are_counted_and_some_listed(tmp_path: Path) -> None:
    more = (
        "WITH RECURSIVE m (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM m LIMIT 40)"
        " INSERT INTO kept (id, at) SELECT 'x' || n, n FROM m;"
        "INSERT INTO read_by_services SELECT n, 'x' FROM kept WHERE n > 5;"
    )
    result = judged(tmp_path, more)
    shown = [f for f in result.findings if f.rule == "rows/shown-otherwise"]
    assert len(shown) == 25
    assert "rows/not-listed" in {f.rule for f in result.findings}


def test_sql_that_fails_is_a_finding(tmp_path: Path) -> None:
    result = judged(tmp_path, "DROP TABLE read_by_services;")
    assert "rows/inverse-fails" in {f.rule for f in result.findings}
