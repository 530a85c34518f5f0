"""Rows that a listing of the unified database has to show, by what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from handmade import evidence, rules

from harness.checkers import in_use
from harness.model import CheckResult, Verdict

LEGACY = """
CREATE TABLE tasks (id TEXT PRIMARY KEY, status);
INSERT INTO tasks VALUES ('a', 'pending'), ('b', 'done'), ('c', NULL), ('d', x'70656e64696e67'),
    ('e', 'PENDING'), ('f', 'running');
"""
ROOT = "CREATE TABLE jobs (id TEXT PRIMARY KEY); INSERT INTO jobs VALUES ('f');"
UNIFIED = """
CREATE TABLE work (seq INTEGER PRIMARY KEY, status TEXT);
CREATE TABLE from_tasks (source_rowid INTEGER PRIMARY KEY, seq);
CREATE TABLE from_jobs (source_rowid INTEGER PRIMARY KEY, seq);
CREATE VIEW to_do AS SELECT seq FROM work WHERE status = 'to do';
INSERT INTO work VALUES (1, 'to do'), (2, 'over'), (3, 'over'), (4, 'over'), (5, 'to do'),
    (6, 'to do');
INSERT INTO from_tasks SELECT seq, seq FROM work;
"""


def table(origin: str) -> dict[str, Any]:
    return {
        "from": f"{origin} AS o JOIN work AS u ON u.seq = o.seq",
        "key": "o.source_rowid",
        "columns": {"id": "NULL"},
        "targets": {"work": "o.seq"},
    }


USE = {
    "source": "legacy.tasks",
    "column": "status",
    "values": ["pending", "running"],
    "query": "SELECT o.source_rowid FROM to_do AS t JOIN from_tasks AS o ON o.seq = t.seq",
}


def check(
    directory: Path, change: str = "", *, legacy: str = LEGACY, use: dict[str, Any] | None = None
) -> CheckResult:
    return in_use.check(
        evidence(
            directory,
            sources={"legacy": legacy, "root": ROOT},
            unified=UNIFIED + change,
            tables={"legacy.tasks": table("from_tasks"), "root.jobs": table("from_jobs")},
            in_use={"listed": [use or USE]},
        )
    )


def test_rows_of_the_named_values_that_are_all_listed_are_right(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert result.verdict is Verdict.VALID
    assert result.details["listed"] == {"legacy.tasks: status pending, running": {"rows": 2}}


def test_a_row_of_a_named_value_that_is_not_listed_is_told(tmp_path: Path) -> None:
    result = check(tmp_path, "UPDATE work SET status = 'over' WHERE seq = 1;")
    (finding,) = [f for f in result.findings if f.rule == "in-use/not-listed"]
    assert (finding.table, finding.key, finding.column) == ("tasks", "1", "status")


@pytest.mark.parametrize("seq", [2, 3, 4, 5])
def test_of_other_values_nothing_is_asked(tmp_path: Path, seq: int) -> None:
    switched = f"UPDATE work SET status = iif(status = 'over', 'to do', 'over') WHERE seq = {seq};"
    assert check(tmp_path, switched).verdict is Verdict.VALID


@pytest.mark.parametrize(("is_null", "wanted"), [(True, {"3"}), (False, {"1", "2", "4", "5", "6"})])
def test_rows_are_listed_by_whether_there_is_a_value(
    is_null: bool, wanted: set[str], tmp_path: Path
) -> None:
    none = {
        "source": "legacy.tasks",
        "column": "status",
        "is_null": is_null,
        "query": "SELECT source_rowid FROM from_tasks WHERE 0",
    }
    result = check(tmp_path, use=none)
    assert {f.key for f in result.findings if f.rule == "in-use/not-listed"} == wanted


def test_a_row_that_is_one_with_another_sources_may_show_that_ones_value(tmp_path: Path) -> None:
    merged = "UPDATE work SET status = 'over' WHERE seq = 6; INSERT INTO from_jobs VALUES (1, 6);"
    assert check(tmp_path, merged).verdict is Verdict.VALID


def test_what_is_merged_does_not_excuse_the_others(tmp_path: Path) -> None:
    merged = "UPDATE work SET status = 'over'; INSERT INTO from_jobs VALUES (1, 6);"
    result = check(tmp_path, merged)
    assert [f.key for f in result.findings if f.rule == "in-use/not-listed"] == ["1"]


def test_a_row_that_the_source_has_not_is_listed_wrongly(tmp_path: Path) -> None:
    extra = "INSERT INTO work VALUES (77, 'to do'); INSERT INTO from_tasks VALUES (77, 77);"
    assert rules(check(tmp_path, extra)) == {"in-use/listed-wrongly"}


def test_an_older_copy_without_the_column_is_not_asked(tmp_path: Path) -> None:
    older = "CREATE TABLE tasks (id TEXT PRIMARY KEY); INSERT INTO tasks VALUES ('a');"
    result = check(tmp_path, legacy=older)
    assert (rules(result), result.examined["listings"]) == (set(), 0)
