from __future__ import annotations

from pathlib import Path

import pytest
from handmade import evidence, rules

from harness.checkers import ddl, schema
from harness.model import CheckResult, Severity, Verdict

TARGET = """
CREATE TABLE notes (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL DEFAULT 'a' CHECK (kind IN ('a', 'b')),
    body TEXT,
    score REAL CHECK (score BETWEEN 0.0 AND 1.0),
    parent TEXT REFERENCES notes (id) ON DELETE CASCADE,
    size INTEGER GENERATED ALWAYS AS (length(body)) STORED,
    touched TEXT
);
CREATE INDEX notes_kind ON notes (kind);
CREATE VIEW bodies AS SELECT id, body FROM notes WHERE body IS NOT NULL;
CREATE VIRTUAL TABLE notes_fts USING fts5(body, content='notes', content_rowid='seq');
CREATE TRIGGER notes_ai AFTER INSERT ON notes BEGIN
    INSERT INTO notes_fts (rowid, body) VALUES (NEW.seq, NEW.body);
END;
CREATE TRIGGER notes_ad AFTER DELETE ON notes BEGIN
    INSERT INTO notes_fts (notes_fts, rowid, body) VALUES ('delete', OLD.seq, OLD.body);
END;
CREATE TRIGGER notes_done AFTER UPDATE OF kind ON notes
WHEN NEW.kind = 'b' AND OLD.kind IS NOT 'b' AND NEW.touched IS OLD.touched BEGIN
    UPDATE notes SET touched = CURRENT_TIMESTAMP WHERE seq = NEW.seq;
END;
"""
SOURCE = """
CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT);
CREATE VIEW gone AS SELECT no_such_column FROM notes;
CREATE TRIGGER stamp AFTER UPDATE ON notes BEGIN
    UPDATE notes SET no_such_column = 1 WHERE id = NEW.id;
END;
CREATE TRIGGER lives AFTER INSERT ON notes WHEN NEW.body = 'x' BEGIN SELECT 1; END;
CREATE TABLE extra (a, b, PRIMARY KEY (a)) WITHOUT ROWID;
CREATE INDEX extra_b ON extra (b DESC);
CREATE TRIGGER extra_ai AFTER INSERT ON extra BEGIN DELETE FROM extra WHERE b = 'never'; END;
"""
CARRIED = """
CREATE TABLE "legacy_extra" (a, b, PRIMARY KEY (a)) WITHOUT ROWID;
CREATE INDEX legacy_extra_b ON "legacy_extra" (b DESC);
CREATE TRIGGER extra_ai AFTER INSERT ON legacy_extra
BEGIN DELETE FROM legacy_extra WHERE b = 'never'; END;
"""
NOTES = {
    "legacy.notes": {
        "from": "notes",
        "key": "seq",
        "columns": {"id": "id", "body": "body"},
        "targets": {"notes": "seq"},
    }
}
DECIDED = (
    "SELECT 'legacy', 'view', 'gone', 'dropped', 'dead', NULL"
    " UNION ALL SELECT 'legacy', 'trigger', 'stamp', 'dropped', 'dead', NULL"
)
MERGED = " UNION ALL SELECT 'legacy', 'trigger', 'lives', 'merged', 'same', 'notes_ai'"


def check(
    directory: Path,
    *,
    unified: str = TARGET + CARRIED,
    source: str = SOURCE,
    decisions: str = DECIDED + MERGED,
) -> CheckResult:
    return schema.check(
        evidence(
            directory,
            sources={"legacy": source},
            unified=unified,
            schema=TARGET,
            tables=NOTES,
            carried="SELECT 'legacy', 'extra', 'legacy_extra'",
            decisions=decisions,
        )
    )


def test_a_schema_as_declared_with_all_accounted_for_is_valid(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert result.findings == ()
    assert result.verdict is Verdict.VALID
    assert result.examined == {
        "source objects": 7,
        "declared objects": 7,
        "views selected": 1,
        "triggers fired": 4,
        "virtual tables tried": 1,
    }


def test_nothing_after_is_unknown(tmp_path: Path) -> None:
    result = schema.check(evidence(tmp_path, sources={"legacy": SOURCE}, unified=None))
    assert result.verdict is Verdict.UNKNOWN


def test_case_quotes_blanks_and_comments_are_cosmetic(tmp_path: Path) -> None:
    spelt = TARGET.replace(
        "kind TEXT NOT NULL DEFAULT 'a'", "\"KIND\" text DEFAULT ('a') not  null"
    )
    spelt = spelt.replace(
        "CREATE INDEX notes_kind ON notes (kind)",
        'create index notes_kind on "notes" ([kind] ASC) /* by */',
    )
    spelt = spelt.replace(
        "AFTER INSERT ON notes BEGIN", "after insert on notes\nFOR EACH ROW begin"
    )
    result = check(tmp_path, unified=spelt + CARRIED)
    assert rules(result) == set()
    assert rules(result, Severity.NOTE) == {"schema/spelt-otherwise"}
    assert result.verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("was", "now", "rule"),
    [
        ("kind IN ('a', 'b')", "kind IN ('a', 'b', 'c')", "schema/constraint-missing"),
        ("id TEXT NOT NULL UNIQUE", "id TEXT NOT NULL", "schema/constraint-missing"),
        ("id TEXT NOT NULL UNIQUE", "id TEXT UNIQUE", "schema/constraint-missing"),
        ("body TEXT,", "body TEXT NOT NULL,", "schema/constraint-undeclared"),
        ("ON DELETE CASCADE", "", "schema/constraint-missing"),
        ("body TEXT,", "body INTEGER,", "schema/column-type"),
        ("body TEXT,", "body TEXT COLLATE NOCASE,", "schema/column-collation"),
        ("DEFAULT 'a'", "DEFAULT 'b'", "schema/column-default"),
        ("length(body)", "length(body) + 1", "schema/column-generated"),
        (",\n    touched TEXT", "", "schema/column-missing"),
        ("ON notes (kind)", "ON notes (kind DESC)", "schema/index-changed"),
        ("WHERE body IS NOT NULL", "", "schema/view-changed"),
        ("content_rowid='seq'", "content_rowid='seq', prefix='2'", "schema/virtual-table-changed"),
        ("CREATE INDEX notes_kind ON notes (kind);", "", "schema/index-missing"),
        ("NEW.kind = 'b' AND", "NEW.kind = 'a' AND", "schema/trigger-changed"),
        (
            "seq INTEGER PRIMARY KEY",
            "seq INTEGER PRIMARY KEY AUTOINCREMENT",
            "schema/constraint-undeclared",
        ),
    ],
)
def test_a_change_of_meaning_is_an_error(tmp_path: Path, was: str, now: str, rule: str) -> None:
    assert was in TARGET
    result = check(tmp_path, unified=TARGET.replace(was, now) + CARRIED)
    assert rule in rules(result)


def test_undeclared_additions_are_warnings(tmp_path: Path) -> None:
    result = check(tmp_path, unified=TARGET + CARRIED + "CREATE TABLE more (a);")
    assert rules(result, Severity.WARNING) == {"schema/undeclared"}
    assert result.verdict is Verdict.VALID


def test_a_working_trigger_cannot_be_dropped(tmp_path: Path) -> None:
    dropped = " UNION ALL SELECT 'legacy', 'trigger', 'lives', 'dropped', 'dead', NULL"
    assert "schema/dropped-alive" in rules(check(tmp_path, decisions=DECIDED + dropped))


def test_a_working_view_cannot_be_dropped(tmp_path: Path) -> None:
    source = SOURCE.replace("no_such_column FROM", "body FROM")
    assert "schema/dropped-alive" in rules(check(tmp_path, source=source))


def test_an_object_without_a_word_on_it_is_found(tmp_path: Path) -> None:
    assert "schema/object-unaccounted" in rules(check(tmp_path, decisions=DECIDED))


def test_a_merger_into_nothing_is_found(tmp_path: Path) -> None:
    merged = MERGED.replace("notes_ai", "nothing")
    assert "schema/merged-missing" in rules(check(tmp_path, decisions=DECIDED + merged))


@pytest.mark.parametrize("line", [1, 2, 3])
def test_what_is_carried_comes_with_its_indexes_and_triggers(tmp_path: Path, line: int) -> None:
    kept = [
        part + ";" for part in CARRIED.replace("; END;", "\x00END").split(";\n") if part.strip()
    ]
    lost = "".join(part for n, part in enumerate(kept, 1) if n != line or n == 1)
    unified = TARGET + lost.replace("\x00END;", "; END;").replace("\x00END", "; END;")
    if line == 1:
        unified = unified.replace("b, PRIMARY KEY", "b TEXT, PRIMARY KEY")
    assert "schema/object-unaccounted" in rules(check(tmp_path, unified=unified))


def test_a_column_that_the_mapping_forgets_is_found(tmp_path: Path) -> None:
    source = SOURCE.replace("body TEXT)", "body TEXT, later)")
    assert "schema/column-unaccounted" in rules(check(tmp_path, source=source))


def test_dead_objects_of_the_unified_schema_are_found(tmp_path: Path) -> None:
    dead = (
        "CREATE VIEW broken AS SELECT no_such_column FROM notes;"
        "CREATE VIRTUAL TABLE dead_fts USING fts5(nowhere, content='notes');"
        "CREATE TRIGGER dead AFTER DELETE ON notes BEGIN"
        " UPDATE notes SET no_such_column = 1; END;"
        "CREATE TRIGGER waits AFTER UPDATE OF nowhere ON notes BEGIN SELECT 1; END;"
    )
    result = check(tmp_path, unified=TARGET + CARRIED + dead)
    assert {
        "schema/view-dead",
        "schema/virtual-table-dead",
        "schema/trigger-dead",
    } <= rules(result)
    named = {finding.key for finding in result.findings if finding.rule == "schema/trigger-dead"}
    assert {"dead", "waits"} <= named
    assert "schema/rename-fails" in rules(result, Severity.WARNING)


def test_an_index_out_of_step_is_found(tmp_path: Path) -> None:
    stale = (
        "INSERT INTO notes (id, body) VALUES ('1', 'word'); INSERT INTO notes_fts (notes_fts)"
        " VALUES ('delete-all');"
    )
    assert "schema/virtual-table-dead" in rules(check(tmp_path, unified=TARGET + CARRIED + stale))


def test_a_trigger_that_nothing_can_fire_is_said(tmp_path: Path) -> None:
    never = "CREATE TRIGGER never AFTER INSERT ON notes WHEN 1 = 2 BEGIN SELECT 1; END;"
    result = check(tmp_path, unified=TARGET + CARRIED + never)
    assert "schema/trigger-not-fired" in rules(result, Severity.WARNING)
    assert result.details["triggers not fired"] == ["never"]


def test_a_carried_trigger_that_was_dead_before_is_a_warning(tmp_path: Path) -> None:
    dead = "CREATE TRIGGER extra_au AFTER UPDATE ON {} BEGIN UPDATE {} SET nowhere = 1; END;"
    result = check(
        tmp_path,
        source=SOURCE + dead.format("extra", "extra"),
        unified=TARGET + CARRIED + dead.format("legacy_extra", "legacy_extra"),
    )
    assert rules(result) == set()
    assert "schema/trigger-dead" in rules(result, Severity.WARNING)


def test_a_failing_query_of_the_mapping_is_a_finding(tmp_path: Path) -> None:
    assert "schema/query-failed" in rules(check(tmp_path, decisions="SELECT * FROM nowhere"))


def test_a_file_that_is_no_database_is_a_finding(tmp_path: Path) -> None:
    made = evidence(tmp_path, sources={"legacy": SOURCE}, unified="CREATE TABLE t (a)")
    assert made.after is not None
    made.after.write_bytes(b"no database at all " * 400)
    assert rules(schema.check(made)) == {"schema/unreadable"}


def test_options_of_a_virtual_table_are_read_in_any_order() -> None:
    one = ddl.virtual_shape(
        "CREATE VIRTUAL TABLE f USING fts5(a, b UNINDEXED, content='', x=\"1\")"
    )
    two = ddl.virtual_shape(
        "create virtual table [f] using FTS5(x='1',A, b unindexed, content = '')"
    )
    assert one == two


def test_affinities_follow_sqlite() -> None:
    names = ("VARCHAR(10)", "BIGINT", "", "DOUBLE", "DATETIME", "FLOATING POINT", "BLOB")
    expected = ["TEXT", "INTEGER", "BLOB", "REAL", "NUMERIC", "INTEGER", "BLOB"]
    assert [ddl.affinity(name) for name in names] == expected


def test_a_trigger_that_refuses_by_raise_is_alive(tmp_path: Path) -> None:
    refuses = (
        "CREATE TRIGGER fixed BEFORE UPDATE ON legacy_extra"
        " BEGIN SELECT RAISE(ABORT, 'this stays'); END;"
    )
    result = check(tmp_path, unified=TARGET + CARRIED + refuses)
    assert "schema/trigger-dead" not in rules(result)
    assert result.examined["triggers fired"] == 5


def test_triggers_on_views_fire_on_rows_that_are_there(tmp_path: Path) -> None:
    views = (
        "INSERT INTO notes (seq, id, body) VALUES (1, '1', 'x');"
        "CREATE VIEW seen AS SELECT seq, id, body FROM notes;"
        "CREATE TRIGGER seen_insert INSTEAD OF INSERT ON seen BEGIN"
        " INSERT INTO notes (seq, id, body) VALUES (NEW.seq, NEW.id, NEW.body); END;"
        "CREATE TRIGGER seen_update INSTEAD OF UPDATE ON seen BEGIN"
        " UPDATE notes SET body = NEW.body WHERE seq = OLD.seq; END;"
        "CREATE TRIGGER seen_delete INSTEAD OF DELETE ON seen BEGIN"
        " DELETE FROM notes WHERE seq = OLD.seq; END;"
    )
    result = check(tmp_path, unified=TARGET + CARRIED + views)
    assert rules(result) == set()
    assert result.details["triggers not fired"] == []


def test_keys_of_every_kind_can_be_made_up(tmp_path: Path) -> None:
    tables = (
        "CREATE TABLE k1 (a INTEGER, b INT NOT NULL, PRIMARY KEY (a, b)) WITHOUT ROWID;"
        "CREATE TABLE k2 (a INTEGER PRIMARY KEY, b ANY NOT NULL, c INT UNIQUE NOT NULL) STRICT;"
        "CREATE TABLE k3 (a TEXT CHECK (json_valid(a)) NOT NULL, b REAL CHECK (b > 3) NOT NULL,"
        " c BLOB NOT NULL, d TEXT NOT NULL CHECK (d GLOB '20[0-9][0-9]-*'), PRIMARY KEY (a));"
        "INSERT INTO k2 VALUES (1, 1, 1);"
    )
    for name in ("k1", "k2", "k3"):
        for event in ("INSERT", "UPDATE", "DELETE"):
            tables += f"CREATE TRIGGER {name}_{event} AFTER {event} ON {name} BEGIN SELECT 1; END;"
    result = check(tmp_path, unified=TARGET + CARRIED + tables)
    assert rules(result) == set()
    assert result.details["triggers not fired"] == []


def test_what_a_condition_asks_of_other_tables_is_made_up_too(tmp_path: Path) -> None:
    tables = (
        "CREATE TABLE state (seq INTEGER PRIMARY KEY CHECK (seq = 1));"
        "CREATE TABLE pairs (seq INTEGER PRIMARY KEY, low INT NOT NULL, high INT NOT NULL,"
        " UNIQUE (low, high), CHECK (low < high));"
        "CREATE TABLE counted (seq INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT NOT NULL);"
        "INSERT INTO counted (seq, a) VALUES (1, 'there');"
        "CREATE TRIGGER put_in AFTER INSERT ON counted WHEN NEW.seq <="
        " (SELECT seq FROM sqlite_sequence WHERE name = 'counted') BEGIN SELECT 1; END;"
    )
    for event in ("INSERT", "UPDATE", "DELETE"):
        tables += (
            f"CREATE TRIGGER pairs_{event} BEFORE {event} ON pairs"
            " WHEN EXISTS (SELECT 1 FROM state) BEGIN SELECT 1; END;"
        )
    result = check(tmp_path, unified=TARGET + CARRIED + tables)
    assert rules(result) == set()
    assert result.details["triggers not fired"] == []


def test_the_same_work_done_twice_is_a_warning(tmp_path: Path) -> None:
    again = (
        "CREATE INDEX notes_kind_again ON notes (kind ASC);"
        "CREATE TRIGGER notes_ai_again AFTER INSERT ON notes FOR EACH ROW BEGIN"
        " INSERT INTO notes_fts (rowid, body) VALUES (NEW.seq, NEW.body); END;"
        "CREATE INDEX extra_b_again ON legacy_extra (b DESC);"
    )
    result = check(tmp_path, unified=TARGET + CARRIED + again)
    twice = {finding.key for finding in result.findings if finding.rule == "schema/twice"}
    assert len(twice) == 2
    assert "extra_b_again" not in twice
