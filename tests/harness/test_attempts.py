"""What an earlier attempt brought into the root is known again and mended."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from handmade import evidence

from harness.checkers.attempts import judge_attempts
from harness.model import Finding

CLAIM = '{"source": "migration", "original_id": "b1"}'
ROOT = "CREATE TABLE memory_blocks (id TEXT PRIMARY KEY, content TEXT, metadata TEXT);"
LEGACY = """
CREATE TABLE memory_blocks (id TEXT PRIMARY KEY, content TEXT, type TEXT, embedding BLOB);
INSERT INTO memory_blocks VALUES ('b1', 'one', 'deployment', x'00'), ('b2', 'two', 'note', NULL),
    ('7', 'one', 'note', NULL);
"""
UNIFIED = """
CREATE TABLE memory (seq INTEGER PRIMARY KEY, id TEXT);
CREATE TABLE from_root (source_rowid INTEGER PRIMARY KEY, seq);
CREATE TABLE from_legacy (source_rowid INTEGER PRIMARY KEY, seq, residue INTEGER);
INSERT INTO memory VALUES (1, 'new-1'), (2, 'b2'), (3, 'b1');
INSERT INTO from_root VALUES (1, 1), (2, 9);
"""
TABLES = {
    "root.memory_blocks": {
        "from": "from_root AS o",
        "key": "o.source_rowid",
        "columns": {"id": "NULL"},
        "targets": {"memory": "o.seq"},
    },
    "legacy.memory_blocks": {
        "from": "from_legacy AS o",
        "key": "o.source_rowid",
        "columns": {"id": "NULL", "content": "NULL", "type": "NULL", "embedding": "NULL"},
        "residue": "o.residue",
        "targets": {"memory": "o.seq"},
    },
}
KNOWN = "INSERT INTO from_legacy VALUES (1, 1, 0), (2, 2, 0);"
DOUBLED = "INSERT INTO from_legacy VALUES (1, 3, 0), (2, 2, 0);"


def block(key: str, *, content: str = "'one'", metadata: str = f"'{CLAIM}'") -> str:
    return f"INSERT INTO memory_blocks VALUES ('{key}', {content}, {metadata});"


def judged(
    directory: Path, became: str, *, root: str, legacy: str | None = LEGACY
) -> tuple[tuple[Finding, ...], int]:
    sources = {"root": ROOT + root} | ({} if legacy is None else {"legacy": legacy})
    made = evidence(directory, sources=sources, unified=UNIFIED + became, tables=TABLES)
    with closing(made.open_after()) as unified:
        return judge_attempts(made, unified)


def test_a_block_that_was_known_again_is_right(tmp_path: Path) -> None:
    assert judged(tmp_path, KNOWN, root=block("new-1")) == ((), 1)


def test_a_block_that_came_once_more_is_told_with_both_rows(tmp_path: Path) -> None:
    (finding,), looked = judged(tmp_path, DOUBLED, root=block("new-1"))
    assert (finding.rule, finding.database, finding.key) == (
        "ledger/attempt-doubled",
        "legacy",
        "rowid:1",
    )
    assert "(row 1)" in finding.cause
    assert "as row 3 of memory" in finding.cause
    assert looked == 1


@pytest.mark.parametrize(
    "metadata",
    [
        "NULL",
        "'no JSON'",
        "'[\"migration\"]'",
        '\'{"source": "import", "original_id": "b1"}\'',
        '\'{"source": "migration"}\'',
        '\'{"source": "migration", "original_id": 7}\'',
        '\'{"source": "migration", "original_id": "gone"}\'',
        f"CAST('{CLAIM}' AS BLOB)",
    ],
)
def test_a_block_that_does_not_say_so_is_no_earlier_attempts(tmp_path: Path, metadata: str) -> None:
    assert judged(tmp_path, DOUBLED, root=block("new-1", metadata=metadata)) == ((), 0)


@pytest.mark.parametrize("content", ["'changed'", "''", "NULL", "CAST('one' AS BLOB)"])
def test_a_claim_whose_content_is_another_is_not_believed(tmp_path: Path, content: str) -> None:
    assert judged(tmp_path, DOUBLED, root=block("new-1", content=content)) == ((), 0)


def test_of_two_that_claim_one_original_either_may_be_it(tmp_path: Path) -> None:
    assert judged(tmp_path, DOUBLED, root=block("new-1") + block("new-2")) == ((), 0)


def test_a_legacy_text_that_was_not_given_back_is_told_by_its_column(tmp_path: Path) -> None:
    became = "INSERT INTO from_legacy VALUES (1, 1, 4), (2, 2, 0);"
    (finding,), _ = judged(tmp_path, became, root=block("new-1"))
    assert (finding.rule, finding.key, finding.column) == (
        "ledger/attempt-unmended",
        "rowid:1",
        "type",
    )


def test_the_identifier_and_what_is_no_text_may_stay_beside_the_row(tmp_path: Path) -> None:
    became = "INSERT INTO from_legacy VALUES (1, 1, 1 | 8), (2, 2, 0);"
    assert judged(tmp_path, became, root=block("new-1")) == ((), 1)


def test_residue_of_blocks_that_no_attempt_brought_is_not_its_business(tmp_path: Path) -> None:
    became = "INSERT INTO from_legacy VALUES (1, 1, 0), (2, 2, 4);"
    assert judged(tmp_path, became, root=block("new-1")) == ((), 1)


def test_without_a_legacy_database_there_is_nothing_to_know_again(tmp_path: Path) -> None:
    assert judged(tmp_path, KNOWN, root=block("new-1"), legacy=None) == ((), 0)


def test_blocks_of_another_shape_are_left_alone(tmp_path: Path) -> None:
    shape = "CREATE TABLE memory_blocks (id TEXT PRIMARY KEY, body TEXT);"
    assert judged(tmp_path, KNOWN, root=block("new-1"), legacy=shape) == ((), 0)
