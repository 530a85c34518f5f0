"""The rows checker on small sources, unified databases and mappings written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from handmade import evidence, rules

from harness.checkers.evidence import Evidence
from harness.checkers.rows import check
from harness.model import Verdict

SOURCE = """
CREATE TABLE blocks(id TEXT PRIMARY KEY, content TEXT, score REAL);
INSERT INTO blocks VALUES ('m1', 'one', 0.5), ('m2', NULL, 1.0), (NULL, 'no key', 2.0),
    (NULL, 'no key', 2.0);
CREATE TABLE extra(a, b, c AS (a || b) STORED, PRIMARY KEY (a, b)) WITHOUT ROWID;
INSERT INTO extra VALUES (1, 'x'), ('1', 'x');
CREATE TABLE bare(x);
"""
UNIFIED = """
CREATE TABLE memory(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, content TEXT, score REAL);
INSERT INTO memory VALUES (1, 'm1', 'one', 0.5), (2, 'm2', NULL, 1.0), (3, 'made', 'no key', 2.0),
    (4, 'made2', 'no key', 2.0);
CREATE TABLE origin(source_rowid INTEGER PRIMARY KEY, seq, residue, x_id);
INSERT INTO origin VALUES (1, 1, 0, NULL), (2, 2, 0, NULL), (3, 3, 1, NULL), (4, 4, 1, NULL);
CREATE TABLE legacy_extra(a, b, c AS (a || b) STORED, PRIMARY KEY (a, b)) WITHOUT ROWID;
INSERT INTO legacy_extra VALUES (1, 'x'), ('1', 'x');
CREATE TABLE bare(x);
CREATE TABLE carried(source, source_table, unified_table);
INSERT INTO carried VALUES ('legacy', 'extra', 'legacy_extra'), ('legacy', 'bare', 'bare');
CREATE TABLE log(line_no INTEGER PRIMARY KEY, raw BLOB, last INTEGER);
INSERT INTO log VALUES (1, '{"a":1}', NULL), (2, x'', NULL), (3, x'FF00', NULL);
"""
BLOCKS: dict[str, Any] = {
    "from": "origin AS o JOIN memory AS u ON u.seq = o.seq",
    "key": "o.source_rowid",
    "columns": {
        "ID": "CASE WHEN o.residue & 1 THEN o.x_id ELSE u.id END",
        "content": "u.content",
        "score": "u.score",
    },
    "residue": "o.residue",
    "targets": {"memory": "o.seq"},
    "rule": "'kept'",
}
KEYS: dict[str, Any] = {
    "tables": {"legacy.blocks": BLOCKS},
    "carried": "SELECT source, source_table, unified_table FROM carried",
    "registry": {
        "lines": "SELECT line_no, raw FROM log ORDER BY line_no",
        "last_newline": "SELECT 1",
    },
}


def made(
    directory: Path, *, unified: str = "", source: str = SOURCE, log: bool = True, **keys: Any
) -> Evidence:
    """Return sound evidence, changed by `unified`'s SQL or by other `keys` of the mapping."""
    if log:
        (directory / "before" / "logs").mkdir(parents=True)
        path = directory / "before" / "logs" / "model-registry.log"
        path.write_bytes(b'{"a":1}\n\n\xff\x00\n')
    return evidence(
        directory, sources={"legacy": source}, unified=UNIFIED + unified, **{**KEYS, **keys}
    )


def test_a_sound_migration_is_valid_and_counts_what_was_compared(tmp_path: Path) -> None:
    result = check(made(tmp_path))
    assert (result.verdict, result.findings) == (Verdict.VALID, ())
    assert result.examined == {
        "root rows": 0, "legacy rows": 6, "vector rows": 0, "log lines": 3,
    }  # fmt: skip
    assert result.details["residue"] == [
        {"source": "legacy", "table": "blocks", "of": 4, "rows": 2, "values": 2,
         "columns": {"ID": 2}}
    ]  # fmt: skip
    figures = {table["table"]: (table["how"], table["rows"]) for table in result.details["tables"]}
    assert figures == {"blocks": ("mapped", 4), "extra": ("carried", 2), "bare": ("carried", 0)}


@pytest.mark.parametrize(
    ("unified", "rule", "cause"),
    [
        ("UPDATE memory SET content = '' WHERE seq = 2", "type-changed", "NULL became an empty"),
        ("UPDATE memory SET content = 'one ' WHERE seq = 1", "value-changed", "added at the end"),
        ("UPDATE memory SET content = x'6f6e65' WHERE seq = 1", "type-changed", "same bytes"),
        ("DELETE FROM memory WHERE seq = 1", "row-missing", "cannot be given back"),
        ("DELETE FROM origin WHERE seq = 4", "row-missing", "NULL"),
        ("UPDATE origin SET residue = 0 WHERE seq = 3", "type-changed", "NULL became a value"),
        (
            "INSERT INTO memory VALUES (9, 'n', 'n', 1); INSERT INTO origin VALUES (9, 9, 0, NULL)",
            "row-invented",
            "never had",
        ),
        ("INSERT INTO bare VALUES (1)", "row-invented", "never had"),
        ("DELETE FROM legacy_extra WHERE typeof(a) = 'text'", "row-missing", "given back"),
        ("DELETE FROM carried WHERE source_table = 'extra'", "table-lost", "holds 2 rows"),
        ("INSERT INTO carried VALUES ('legacy', 'blocks', 'memory')", "table-twice", "twice"),
        ("DROP TABLE memory", "inverse-fails", "no such table: memory"),
        ("DROP TABLE bare", "inverse-fails", "no such table: bare"),
        ("DROP TABLE carried", "inverse-fails", "no such table: carried"),
        ("ALTER TABLE legacy_extra DROP COLUMN c", "inverse-fails", "no such column: t.c"),
        ("DROP TABLE log", "inverse-fails", "no such table: log"),
        ("UPDATE log SET raw = x'FF01' WHERE line_no = 3", "value-changed", "line is another"),
        ("DELETE FROM log WHERE line_no = 3", "row-missing", "line cannot be given back"),
        ("INSERT INTO log VALUES (4, 'x', 1)", "row-invented", "never had this line"),
    ],
)
def test_what_a_migration_lost_is_found_by_its_rule(
    unified: str, rule: str, cause: str, tmp_path: Path
) -> None:
    result = check(made(tmp_path, unified=unified + ";"))
    assert result.verdict is Verdict.INVALID
    assert f"rows/{rule}" in rules(result)
    assert any(cause in finding.cause for finding in result.findings)


def test_two_swapped_values_are_told_as_such(tmp_path: Path) -> None:
    swap = "UPDATE memory SET content = iif(seq = 1, 'no key', 'one') WHERE seq IN (1, 3);"
    fixed = SOURCE.replace("(NULL, 'no key', 2.0),\n", "('m3', 'no key', 2.0),\n")
    named = (
        "UPDATE origin SET residue = 0 WHERE seq = 3; UPDATE memory SET id = 'm3' WHERE seq = 3;"
    )
    result = check(made(tmp_path, unified=swap + named, source=fixed))
    assert {(f.key, f.column, f.cause) for f in result.findings} == {
        ("'m1'", "content", "swapped with the value of row 'm3'"),
        ("'m3'", "content", "swapped with the value of row 'm1'"),
    }


def test_of_many_differences_some_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    rows = ", ".join(f"({n}, {n})" for n in range(100))
    source = f"CREATE TABLE many(id INTEGER PRIMARY KEY, v); INSERT INTO many VALUES {rows};"
    unified = (
        f"{source} INSERT INTO carried VALUES ('legacy', 'many', 'many');UPDATE many SET v = v + 1;"
    )
    result = check(made(tmp_path, unified=unified, source=SOURCE + source))
    assert len(result.findings) == 26
    assert result.findings[-1].cause.startswith("75 more rows of this table differ")


def test_a_column_without_an_inverse_is_lost_and_the_others_are_compared(tmp_path: Path) -> None:
    source = SOURCE + "ALTER TABLE blocks ADD COLUMN more DEFAULT 7;"
    result = check(made(tmp_path, source=source))
    assert [(f.rule, f.column) for f in result.findings] == [("rows/column-lost", "more")]
    unified = "ALTER TABLE origin ADD COLUMN x_more DEFAULT 7;"
    tables = {"legacy.blocks": {**BLOCKS, "other_columns": 'o."x_{column}"'}}
    kept = check(made(tmp_path / "2", source=source, unified=unified, tables=tables))
    assert kept.verdict is Verdict.VALID
    assert kept.details["residue"][0]["columns"] == {"ID": 2, "more": 4}


def test_a_planned_table_that_the_source_lacks_may_give_nothing_back(tmp_path: Path) -> None:
    other = {"legacy.sessions": {**BLOCKS, "from": "sessions AS o JOIN memory AS u USING (seq)"}}
    tables = {**KEYS["tables"], **other}
    assert check(made(tmp_path / "1", tables=tables)).verdict is Verdict.VALID
    ghost = "CREATE TABLE sessions(source_rowid, seq); INSERT INTO sessions VALUES (1, 1);"
    result = check(made(tmp_path / "2", tables=tables, unified=ghost))
    assert rules(result) == {"rows/row-invented"}


def test_a_log_that_nobody_mapped_is_lost(tmp_path: Path) -> None:
    assert rules(check(made(tmp_path, registry=None))) == {"rows/table-lost"}


def test_a_lost_last_newline_is_found(tmp_path: Path) -> None:
    registry = {**KEYS["registry"], "last_newline": "SELECT 0"}
    assert rules(check(made(tmp_path, registry=registry))) == {"rows/value-changed"}


def test_a_mapping_cannot_read_the_answer_off_the_source(tmp_path: Path) -> None:
    stolen = {"legacy.blocks": {**BLOCKS, "from": "legacy.blocks AS o JOIN memory AS u"}}
    assert rules(check(made(tmp_path, tables=stolen))) == {"rows/inverse-fails"}


def test_without_a_unified_database_nothing_is_proven(tmp_path: Path) -> None:
    missing = replace(made(tmp_path), after=None)
    assert rules(check(missing)) == {"rows/no-unified-database"}
    text = tmp_path / "text.sqlite"
    text.write_text("no database at all, but long enough to look at" * 40)
    assert rules(check(replace(missing, after=text))) == {"rows/inverse-fails"}


def test_sources_without_rows_are_unknown_never_valid(tmp_path: Path) -> None:
    empty = evidence(tmp_path, sources={"legacy": "CREATE TABLE x(y)"}, unified="CREATE TABLE x(y)",
                     carried="SELECT 'legacy', 'x', 'x'")  # fmt: skip
    assert check(empty).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("change", ["DELETE FROM origin;", "DROP TABLE origin;"])
def test_a_table_that_only_has_a_planned_name_may_be_carried(change: str, tmp_path: Path) -> None:
    copied = "CREATE TABLE legacy_blocks(id TEXT PRIMARY KEY, content TEXT, score REAL);"
    rows = "('m1', 'one', 0.5), ('m2', NULL, 1.0), (NULL, 'no key', 2.0), (NULL, 'no key', 2.0)"
    unified = (
        f"{change}{copied}INSERT INTO legacy_blocks VALUES {rows};"
        "INSERT INTO carried VALUES ('legacy', 'blocks', 'legacy_blocks');"
    )
    assert check(made(tmp_path, unified=unified)).verdict is Verdict.VALID
