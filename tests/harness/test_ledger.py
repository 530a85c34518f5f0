"""The ledger: each source row accounted for once, each unified row explained, and provably so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest
from handmade import evidence, rules

from harness.checkers.evidence import Evidence
from harness.checkers.ledger import check, entries, store
from harness.errors import BadInputError
from harness.explain import explain
from harness.model import Verdict

SOURCE = """
CREATE TABLE blocks(id TEXT PRIMARY KEY, content TEXT, embedding BLOB);
INSERT INTO blocks VALUES ('m1', 'one', x'00'), (NULL, 'two', NULL), ('m3', 'one', x'01');
CREATE TABLE extra(a, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
INSERT INTO extra VALUES (1, 'x'), ('1', 'x');
CREATE TABLE loose(v);
INSERT INTO loose VALUES ('twin'), ('twin'), (NULL);
"""
UNIFIED = """
CREATE TABLE memory(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, content TEXT);
INSERT INTO memory VALUES (10, 'm1', 'one'), (20, 'made', 'two'), (30, 'parent', 'added');
CREATE TABLE vectors(seq INTEGER PRIMARY KEY, embedding BLOB);
INSERT INTO vectors VALUES (1, x'00'), (2, x'01');
CREATE TABLE origin(source_rowid INTEGER PRIMARY KEY, seq, vector, rule, x_id);
INSERT INTO origin VALUES (1, 10, 1, 'split', 'm1'), (2, 20, NULL, 'keyed', NULL),
    (3, 10, 2, 'merged', 'm3');
CREATE TABLE legacy_extra(a, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
INSERT INTO legacy_extra VALUES (1, 'x'), ('1', 'x');
CREATE TABLE loose(v);
INSERT INTO loose VALUES (NULL), ('twin'), ('twin');
CREATE TABLE carried(source, source_table, unified_table);
INSERT INTO carried VALUES ('legacy', 'extra', 'legacy_extra'), ('legacy', 'loose', 'loose');
CREATE TABLE added(unified_table, unified_key INTEGER, rule);
INSERT INTO added VALUES ('memory', 30, 'parent');
CREATE TABLE log(line_no INTEGER PRIMARY KEY, raw BLOB);
INSERT INTO log VALUES (1, '{"a":1}'), (2, x'FF');
"""
BLOCKS: dict[str, Any] = {
    "from": "origin AS o JOIN memory AS u ON u.seq = o.seq LEFT JOIN vectors v ON v.seq = o.vector",
    "key": "o.source_rowid",
    "columns": {"id": "o.x_id", "content": "u.content", "embedding": "v.embedding"},
    "targets": {"memory": "o.seq", "vectors": "o.vector"},
    "rule": "o.rule",
}
KEYS: dict[str, Any] = {
    "tables": {"legacy.blocks": BLOCKS},
    "carried": "SELECT source, source_table, unified_table FROM carried",
    "added": "SELECT unified_table, unified_key, rule FROM added",
    "registry": {"lines": "SELECT line_no, raw FROM log"},
}


def made(directory: Path, *, unified: str = "", source: str = SOURCE, **keys: Any) -> Evidence:
    log = directory / "before" / "logs" / "model-registry.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b'{"a":1}\n\xff\n')
    return evidence(
        directory, sources={"legacy": source}, unified=UNIFIED + unified, **{**KEYS, **keys}
    )


def test_every_row_is_accounted_for_by_its_rule(tmp_path: Path) -> None:
    result = check(made(tmp_path))
    assert (result.verdict, result.findings) == (Verdict.VALID, ())
    none = {"earlier attempts": 0, "things in two sources": 0}
    assert result.examined == {"source rows": 8, "log lines": 2, "unified rows": 5, **none}
    assert result.details["leaves"] == 10
    assert result.details["dispositions"] == {
        "carried": 5, "keyed": 1, "logged": 2, "merged": 1, "split": 1,
    }  # fmt: skip
    tables = {table["table"]: table for table in result.details["tables"]}
    assert tables["blocks"]["rows"] == 3
    assert tables["loose"]["dispositions"] == {"carried": 3}


def test_the_root_is_the_same_for_the_same_fates_and_another_for_another(tmp_path: Path) -> None:
    first = check(made(tmp_path / "1")).details["root"]
    again = check(made(tmp_path / "2", unified="VACUUM;")).details["root"]
    other = check(made(tmp_path / "3", unified="UPDATE origin SET rule = 'else' WHERE seq = 20;"))
    assert first == again
    assert first != other.details["root"]


@pytest.mark.parametrize(
    ("unified", "rule", "key"),
    [
        ("DELETE FROM origin WHERE seq = 20", "row-unaccounted", "rowid:2"),
        ("DELETE FROM origin WHERE vector = 2", "row-unaccounted", "m3"),
        ("DELETE FROM origin WHERE vector = 1", "row-unexplained", "1"),
        ("INSERT INTO origin VALUES (9, 10, NULL, 'kept', NULL)", "row-invented", "rowid:9"),
        ("INSERT INTO origin VALUES (0, 10, NULL, 'kept', NULL)", "row-invented", "rowid:0"),
        ("DELETE FROM vectors WHERE seq = 2", "target-missing", "m3"),
        ("UPDATE origin SET rule = NULL WHERE seq = 20", "rule-missing", "rowid:2"),
        ("INSERT INTO memory VALUES (99, 'x', 'x')", "row-unexplained", "99"),
        ("DELETE FROM added", "row-unexplained", "30"),
        ("INSERT INTO added VALUES ('memory', 77, 'x')", "added-missing", "77"),
        ("INSERT INTO added VALUES ('nowhere', 1, 'x')", "added-missing", "1"),
        ("INSERT INTO added VALUES ('memory', 10, 'x')", "added-not-added", "10"),
        ("DELETE FROM loose WHERE rowid = 3", "row-unaccounted", "rowid:2"),
        ("INSERT INTO loose VALUES ('twin')", "row-unexplained", "4"),
        ("DELETE FROM legacy_extra WHERE typeof(a) = 'text'", "row-unaccounted", "1,x"),
        ("DELETE FROM carried WHERE source_table = 'extra'", "row-unaccounted", "1,x"),
        ("INSERT INTO carried VALUES ('legacy', 'blocks', 'memory')", "table-twice", None),
        ("DROP TABLE origin", "inverse-fails", None),
        ("UPDATE log SET raw = 'x' WHERE line_no = 2", "row-unaccounted", "2"),
    ],
)
def test_what_does_not_add_up_is_found_by_its_rule(
    unified: str, rule: str, key: str | None, tmp_path: Path
) -> None:
    result = check(made(tmp_path, unified=unified + ";"))
    assert result.verdict is Verdict.INVALID
    assert (f"ledger/{rule}", key) in {(f.rule, f.key) for f in result.findings}


def test_a_row_that_the_mapping_gives_twice_is_accounted_for_twice(tmp_path: Path) -> None:
    twice = {**BLOCKS, "from": BLOCKS["from"] + " JOIN (SELECT 1 UNION ALL SELECT 2)"}
    result = check(made(tmp_path, tables={"legacy.blocks": twice}))
    assert rules(result) == {"ledger/row-accounted-twice"}
    assert len(result.findings) == 3


def test_a_row_that_is_said_to_be_merged_shares_its_unified_row(tmp_path: Path) -> None:
    said = {**BLOCKS, "rule": "'merged'"}
    result = check(made(tmp_path, tables={"legacy.blocks": said}))
    assert rules(result) == {"ledger/merged-alone"}


def test_a_row_that_became_nothing_needs_a_rule_that_drops_it(tmp_path: Path) -> None:
    rule = "replace(o.rule, 'merged', 'kept')"
    nowhere = {**BLOCKS, "targets": {"vectors": "o.vector"}, "rule": rule}
    result = check(made(tmp_path / "1", tables={"legacy.blocks": nowhere}))
    assert rules(result) == {"ledger/row-without-target"}
    named = "UPDATE origin SET rule = 'dropped: no vector' WHERE vector IS NULL;"
    dropped = check(made(tmp_path / "2", tables={"legacy.blocks": nowhere}, unified=named))
    assert dropped.verdict is Verdict.VALID


def test_many_problems_of_a_kind_are_counted_and_some_listed(tmp_path: Path) -> None:
    rows = ", ".join(f"('v{n}')" for n in range(60))
    result = check(made(tmp_path, source=SOURCE + f"INSERT INTO loose VALUES {rows};"))
    assert len(result.findings) == 26
    assert result.findings[-1].cause == "35 more of the same are not listed"


def test_a_planned_table_without_rowids_is_matched_by_content(tmp_path: Path) -> None:
    source = SOURCE.replace(
        "CREATE TABLE blocks(id TEXT PRIMARY KEY, content TEXT, embedding BLOB);",
        "CREATE TABLE blocks(id TEXT PRIMARY KEY, content TEXT, embedding BLOB) WITHOUT ROWID;",
    ).replace("(NULL, 'two', NULL)", "('m2', 'two', NULL)")
    named = "UPDATE origin SET x_id = 'm2' WHERE seq = 20;"
    assert check(made(tmp_path, source=source, unified=named)).verdict is Verdict.VALID


def test_without_a_unified_database_nothing_is_accounted_for(tmp_path: Path) -> None:
    missing = replace(made(tmp_path), after=None)
    assert rules(check(missing)) == {"ledger/no-unified-database"}
    text = tmp_path / "text.sqlite"
    text.write_text("no database at all, but long enough to look at" * 40)
    assert rules(check(replace(missing, after=text))) == {"ledger/inverse-fails"}


def reported(directory: Path) -> Path:
    """Store a ledger and a report that names its root; return the report."""
    directory.mkdir()
    root = store(made(directory), directory / "ledger.sqlite")
    report = directory / "report.json"
    report.write_text(
        json.dumps({"runs": [{"name": "trial", "ledger": {"root": root, "path": None}}]})
    )
    return report


def test_the_stored_ledger_has_the_root_that_the_check_computes(tmp_path: Path) -> None:
    found = made(tmp_path)
    assert store(found, tmp_path / "ledger.sqlite") == check(found).details["root"]
    assert len(list(entries(found))) == 10


@pytest.mark.parametrize(
    ("place", "rule", "targets"),
    [
        ("legacy/blocks/m1", "split", ["memory/10", "vectors/1"]),
        ("legacy/blocks/m3", "merged", ["memory/10", "vectors/2"]),
        ("legacy/blocks/rowid:2", "keyed", ["memory/20"]),
        ("legacy/loose/rowid:1", "carried", ["loose/2"]),
        ("registry/model-registry.log/2", "logged", ["registry.lines/2"]),
    ],
)
def test_what_became_of_a_row_is_explained_and_proven(
    place: str, rule: str, targets: list[str], tmp_path: Path
) -> None:
    report = reported(tmp_path / "out")
    (told,) = explain(place, report)
    assert (told.proven, told.entry.rule) == (True, rule)
    assert [f"{t.table}/{t.key}" for t in told.entry.targets] == targets
    assert "proven: the entry is in the root" in told.text()
    assert told.as_json()["proven"] is True
    assert explain(place, report.parent) == [told]


def test_a_ledger_that_was_changed_proves_nothing(tmp_path: Path) -> None:
    report = reported(tmp_path / "out")
    connection = apsw.Connection(str(tmp_path / "out" / "ledger.sqlite"))
    connection.execute("UPDATE entries SET rule = 'kept' WHERE key = 'm1'")
    connection.close()
    (told,) = explain("legacy/blocks/m1", report)
    assert not told.proven
    assert "NOT PROVEN" in told.text()


def test_an_unknown_row_gets_a_sentence_with_what_is_near(tmp_path: Path) -> None:
    report = reported(tmp_path / "out")
    with pytest.raises(BadInputError, match="near it are legacy/blocks/m"):
        explain("legacy/blocks/m11", report)
    with pytest.raises(BadInputError, match="near it are legacy/blocks/"):
        explain("legacy/block/m1", report)
    with pytest.raises(BadInputError, match="DATABASE/TABLE/KEY"):
        explain("m1", report)


def test_a_report_without_a_ledger_gets_a_sentence(tmp_path: Path) -> None:
    report = reported(tmp_path / "out")
    with pytest.raises(BadInputError, match="cannot be read"):
        explain("legacy/blocks/m1", tmp_path / "none.json")
    (tmp_path / "out" / "ledger.sqlite").write_text("no database, but long enough" * 100)
    with pytest.raises(BadInputError, match="is not a ledger"):
        explain("legacy/blocks/m1", report)
    (tmp_path / "out" / "ledger.sqlite").unlink()
    with pytest.raises(BadInputError, match="no ledger lies beside"):
        explain("legacy/blocks/m1", report)
    report.write_text("[]")
    with pytest.raises(BadInputError, match="is not a report"):
        explain("legacy/blocks/m1", report)
