"""References lead in the unified database to what they led to in the sources."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from handmade import evidence

from harness.checkers.leading import Leading, judge_leading

LEGACY = """
CREATE TABLE blocks (id TEXT PRIMARY KEY);
CREATE TABLE vectors (id TEXT, block TEXT REFERENCES blocks (id));
INSERT INTO blocks VALUES ('b1'), ('b2');
INSERT INTO vectors VALUES ('v1', 'b1'), ('v2', 'b2');
"""
UNIFIED = """
CREATE TABLE memory (seq INTEGER PRIMARY KEY, id TEXT UNIQUE);
CREATE TABLE embeddings (seq INTEGER PRIMARY KEY, block TEXT REFERENCES memory (id));
INSERT INTO memory VALUES (11, 'b1'), (12, 'legacy:b2');
"""
SOUND = "INSERT INTO embeddings VALUES (21, 'b1'), (22, 'legacy:b2');"


def table(name: str, offset: int) -> dict[str, Any]:
    return {
        "from": f"{name} AS u",
        "key": f"u.seq - {offset}",
        "columns": {"id": "NULL"},
        "targets": {name: "u.seq"},
    }


TABLES = {"legacy.blocks": table("memory", 10), "legacy.vectors": table("embeddings", 20)}


def judged(
    directory: Path, rows: str, *, legacy: str = LEGACY, unified: str = UNIFIED, **tables: Any
) -> Leading:
    made = evidence(
        directory,
        sources={"legacy": legacy},
        unified=unified + rows,
        tables=tables.get("tables", TABLES),
    )
    with closing(made.open_after()) as connection:
        return judge_leading(made, connection)


def test_references_that_follow_a_renamed_row_are_right(tmp_path: Path) -> None:
    assert judged(tmp_path, SOUND) == Leading((), 2)


def test_a_reference_to_another_row_is_told_with_the_row_it_should_name(tmp_path: Path) -> None:
    leading = judged(tmp_path, "INSERT INTO embeddings VALUES (21, 'b1'), (22, 'b1');")
    assert [(f.rule, f.database, f.table, f.key) for f in leading.findings] == [
        ("integrity/reference-elsewhere", "legacy", "vectors", "rowid:2")
    ]
    assert "leads to row 11 of memory" in leading.findings[0].cause
    assert "became row 12" in leading.findings[0].cause


def test_a_reference_that_leads_nowhere_now_and_led_somewhere_is_told(tmp_path: Path) -> None:
    leading = judged(tmp_path, "INSERT INTO embeddings VALUES (21, NULL), (22, 'legacy:b2');")
    assert [f.key for f in leading.findings] == ["rowid:1"]
    assert "leads to no row" in leading.findings[0].cause


def test_a_reference_that_dangled_in_the_source_is_not_followed(tmp_path: Path) -> None:
    dangling = LEGACY + "INSERT INTO vectors VALUES ('v3', 'nowhere');"
    leading = judged(tmp_path, SOUND + "INSERT INTO embeddings VALUES (23, 'b1');", legacy=dangling)
    assert leading == Leading((), 2)


def test_of_two_references_between_two_tables_the_one_of_the_name_is_followed(
    tmp_path: Path,
) -> None:
    unified = """
    CREATE TABLE memory (seq INTEGER PRIMARY KEY, id TEXT UNIQUE);
    CREATE TABLE embeddings (seq INTEGER PRIMARY KEY,
        copied_from TEXT REFERENCES memory (id), block TEXT REFERENCES memory (id));
    INSERT INTO memory VALUES (11, 'b1'), (12, 'b2');
    """
    right = judged(
        tmp_path / "right",
        "INSERT INTO embeddings VALUES (21, 'b2', 'b1'), (22, 'b1', 'b2');",
        unified=unified,
    )
    wrong = judged(
        tmp_path / "wrong",
        "INSERT INTO embeddings VALUES (21, 'b1', 'b2'), (22, 'b2', 'b1');",
        unified=unified,
    )
    assert right.findings == ()
    assert [f.key for f in wrong.findings] == ["rowid:1", "rowid:2"]


def test_no_more_than_twenty_are_named(tmp_path: Path) -> None:
    many = "".join(f"INSERT INTO vectors VALUES ('w{n}', 'b1');" for n in range(30))
    rows = "".join(f"INSERT INTO embeddings VALUES ({21 + n}, 'legacy:b2');" for n in range(32))
    leading = judged(tmp_path, rows, legacy=LEGACY + many)
    assert (len(leading.findings), leading.followed) == (20, 32)


SPLIT = """
CREATE TABLE memory (seq INTEGER PRIMARY KEY, id TEXT UNIQUE);
CREATE TABLE embeddings (seq INTEGER PRIMARY KEY, block TEXT REFERENCES memory (id));
CREATE TABLE origin (source_rowid, seq, embedding_seq);
INSERT INTO memory VALUES (11, 'b1'), (12, 'b2');
INSERT INTO origin VALUES (1, 11, 21), (2, 12, 22);
"""
SPLIT_TABLES = {
    "legacy.blocks": {
        "from": "origin AS o",
        "key": "o.source_rowid",
        "columns": {"id": "NULL"},
        "targets": {"memory": "o.seq", "embeddings": "o.embedding_seq"},
    }
}


def test_the_parts_of_a_split_row_belong_together(tmp_path: Path) -> None:
    rows = "INSERT INTO embeddings VALUES (21, 'b1'), (22, 'b2');"
    assert judged(tmp_path, rows, unified=SPLIT, tables=SPLIT_TABLES).findings == ()


def test_parts_that_are_swapped_between_two_split_rows_are_told(tmp_path: Path) -> None:
    rows = "INSERT INTO embeddings VALUES (21, 'b2'), (22, 'b1');"
    leading = judged(tmp_path, rows, unified=SPLIT, tables=SPLIT_TABLES)
    assert [(f.table, f.key) for f in leading.findings] == [
        ("blocks", "rowid:1"),
        ("blocks", "rowid:2"),
    ]


def test_an_inverse_that_fails_is_left_to_the_rows_checker(tmp_path: Path) -> None:
    broken = {**TABLES, "legacy.vectors": {**table("embeddings", 20), "key": "u.nothing"}}
    assert judged(tmp_path, SOUND, tables=broken).findings == ()
