"""What two sources hold alike came over once."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from handmade import evidence

from harness.checkers.doubled import judge_doubled
from harness.model import Finding

ROOT = "CREATE TABLE notes (id TEXT PRIMARY KEY, body, rank INTEGER);"
LEGACY = "CREATE TABLE memos (id TEXT PRIMARY KEY, body, stamp TEXT);"
VECTOR = "CREATE TABLE memories (id TEXT PRIMARY KEY, body);"
UNIFIED = """
CREATE TABLE thoughts (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, body);
CREATE TABLE parts (seq INTEGER PRIMARY KEY);
CREATE TABLE origins (source, source_rowid, seq, part);
"""


def table(source: str) -> dict[str, Any]:
    return {
        "from": f"(SELECT * FROM origins WHERE source = '{source}') AS o",
        "key": "o.source_rowid",
        "columns": {"id": "NULL", "body": "NULL"},
        "targets": {"thoughts": "o.seq", "parts": "o.part"},
    }


TABLES = {
    "root.notes": table("root"),
    "legacy.memos": table("legacy"),
    "vector.memories": table("vector"),
}


def judged(
    directory: Path, *, root: str, legacy: str, origins: str, vector: str = "", **keys: Any
) -> tuple[tuple[Finding, ...], int]:
    made = evidence(
        directory,
        sources={"root": ROOT + root, "legacy": LEGACY + legacy, "vector": VECTOR + vector},
        unified=UNIFIED + origins,
        tables=keys.get("tables", TABLES),
    )
    with closing(made.open_after()) as unified:
        return judge_doubled(made, unified)


TWICE = "INSERT INTO origins VALUES ('root', 1, 10, NULL), ('legacy', 1, 20, NULL);"
ONCE = "INSERT INTO origins VALUES ('root', 1, 10, NULL), ('legacy', 1, 10, NULL);"


def test_a_thing_that_came_over_twice_is_found_at_its_second_row(tmp_path: Path) -> None:
    findings, looked = judged(
        tmp_path,
        root="INSERT INTO notes VALUES ('a', 'one', 3);",
        legacy="INSERT INTO memos VALUES ('a', 'one', 'today');",
        origins=TWICE,
    )
    assert looked == 1
    assert [(f.rule, f.database, f.table, f.key) for f in findings] == [
        ("ledger/thing-doubled", "legacy", "memos", "rowid:1")
    ]
    assert "row 20 of thoughts beside row 10" in findings[0].cause


def test_a_thing_that_came_over_once_is_right(tmp_path: Path) -> None:
    findings, looked = judged(
        tmp_path,
        root="INSERT INTO notes VALUES ('a', 'one', 3);",
        legacy="INSERT INTO memos VALUES ('a', 'one', 'today');",
        origins=ONCE,
    )
    assert (findings, looked) == ((), 1)


def test_equal_keys_of_different_things_are_two(tmp_path: Path) -> None:
    findings, looked = judged(
        tmp_path,
        root="INSERT INTO notes VALUES ('a', 'one', 3);",
        legacy="INSERT INTO memos VALUES ('a', 'another', 'today');",
        origins=TWICE,
    )
    assert (findings, looked) == ((), 0)


def test_equal_values_of_another_storage_class_are_two_things(tmp_path: Path) -> None:
    findings, looked = judged(
        tmp_path,
        root="INSERT INTO notes VALUES ('a', 'one', 3);",
        legacy="INSERT INTO memos VALUES ('a', CAST('one' AS BLOB), 'today');",
        origins=TWICE,
    )
    assert (findings, looked) == ((), 0)


def test_keys_that_differ_in_case_or_are_no_text_are_not_taken_for_one(tmp_path: Path) -> None:
    findings, looked = judged(
        tmp_path,
        root="INSERT INTO notes VALUES ('a', 'one', 3), (NULL, 'two', 3), (x'62', '3', 3);",
        legacy="INSERT INTO memos VALUES ('A', 'one', ''), (NULL, 'two', ''), (x'62', '3', '');",
        origins=TWICE,
    )
    assert (findings, looked) == ((), 0)


def test_of_three_that_bear_one_key_none_is_judged(tmp_path: Path) -> None:
    findings, looked = judged(
        tmp_path,
        root="INSERT INTO notes VALUES ('a', 'one', 3);",
        legacy="INSERT INTO memos VALUES ('a', 'one', 'today');",
        vector="INSERT INTO memories VALUES ('a', 'another');",
        origins=TWICE,
    )
    assert (findings, looked) == ((), 0)


def test_one_that_is_one_with_a_third_row_is_not_doubled(tmp_path: Path) -> None:
    findings, looked = judged(
        tmp_path,
        root="INSERT INTO notes VALUES ('a', 'one', 3);",
        legacy="INSERT INTO memos VALUES ('a', 'one', 'today');",
        vector="INSERT INTO memories VALUES ('z', 'one');",
        origins=TWICE + "INSERT INTO origins VALUES ('vector', 1, 20, NULL);",
    )
    assert (findings, looked) == ((), 1)


def test_what_only_shares_a_part_is_no_one_thing(tmp_path: Path) -> None:
    parts = {**table("legacy"), "targets": {"parts": "o.part", "thoughts": "o.seq"}}
    findings, looked = judged(
        tmp_path,
        root="INSERT INTO notes VALUES ('a', 'one', 3);",
        legacy="INSERT INTO memos VALUES ('a', 'one', 'today');",
        origins=TWICE,
        tables={"root.notes": table("root"), "legacy.memos": parts},
    )
    assert (findings, looked) == ((), 0)
