"""Unplanned tables: carried whole, under a free name, with all that hangs from them."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from devflow_tree import (
    LegacyTree,
    RawText,
    assert_all_kept,
    carried,
    opened,
    rows,
    values,
)

UNPLANNED = """
CREATE TABLE plain (a, b TEXT, c INTEGER DEFAULT 7);
INSERT INTO plain (rowid, a, b) VALUES (5, 1.5, 'x'), (-9, NULL, ''), (900, x'00ff', '007');
CREATE TABLE keyed (id INTEGER PRIMARY KEY, name TEXT UNIQUE COLLATE NOCASE);
INSERT INTO keyed VALUES (-1, 'a'), (40, 'B'), (9223372036854775807, NULL);
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);
INSERT INTO counted VALUES (1, 'a'), (99, 'gone'); DELETE FROM counted WHERE id = 99;
CREATE TABLE emptied (id INTEGER PRIMARY KEY AUTOINCREMENT);
INSERT INTO emptied VALUES (1234); DELETE FROM emptied;
CREATE TABLE without_rowid (a TEXT, b INTEGER, c, PRIMARY KEY (b, a DESC)) WITHOUT ROWID;
INSERT INTO without_rowid VALUES ('a', 1, -0.0), ('b', 1, NULL);
CREATE TABLE strict_one (a INT, b ANY, c TEXT) STRICT;
INSERT INTO strict_one VALUES (1, '1', 'x'), (2, 1, 'y'), (3, x'01', NULL);
CREATE TABLE generated (a INTEGER, twice INTEGER AS (a * 2) STORED, thrice AS (a * 3), b);
INSERT INTO generated (a, b) VALUES (1, 'x'), (NULL, 'y');
CREATE TABLE composite (a TEXT, b TEXT, c, PRIMARY KEY (a, b));
INSERT INTO composite VALUES ('1', '2', 3), (NULL, '2', 4), (NULL, '2', 5);
CREATE TABLE child (id INTEGER PRIMARY KEY, of INTEGER REFERENCES keyed (id) ON DELETE CASCADE);
INSERT INTO child VALUES (1, 40), (2, 77);
CREATE TABLE checked (a INTEGER CHECK (a > 0));
PRAGMA ignore_check_constraints = ON;
INSERT INTO checked VALUES (-1);
CREATE TABLE "we""ird na'me" ("col ""one"" x", [select], `from`);
INSERT INTO "we""ird na'me" VALUES (1, 2, 3);
CREATE TABLE rowid_taken (rowid TEXT, x);
INSERT INTO rowid_taken (oid, rowid, x) VALUES (44, 'r', 1);
CREATE TABLE all_taken (rowid, oid, _rowid_);
INSERT INTO all_taken VALUES (1, 2, 3), (1, 2, 3);
CREATE TABLE kw (id INT PRIMARY KEY, x);
INSERT INTO kw (rowid, id, x) VALUES (17, 3, 'not an alias');
CREATE TABLE descending (id INTEGER PRIMARY KEY DESC, x);
INSERT INTO descending (rowid, id, x) VALUES (18, 3, 'no alias either');
CREATE TABLE IF NOT EXISTS spoken (word TEXT);
INSERT INTO spoken VALUES ('migrating birds'), ('bird');
CREATE VIRTUAL TABLE spoken_fts USING fts5(word, content='spoken', tokenize='porter');
INSERT INTO spoken_fts (spoken_fts) VALUES ('rebuild');
CREATE VIRTUAL TABLE own_fts USING fts5(title, body);
INSERT INTO own_fts VALUES ('one', 'hello world');
CREATE VIRTUAL TABLE bare_fts USING fts5(body, content='');
INSERT INTO bare_fts (rowid, body) VALUES (12, 'contentless words');
CREATE INDEX partial ON plain (b) WHERE b IS NOT NULL;
CREATE UNIQUE INDEX by_expression ON plain (lower(b), c DESC);
CREATE VIEW plain_view AS SELECT a, b FROM plain WHERE c = 7;
CREATE VIEW joined_view AS SELECT k.name FROM child AS c JOIN keyed AS k ON k.id = c.of;
CREATE VIEW outer_view AS SELECT plain_view.a, 'plain_view' AS x FROM "plain_view" JOIN plain;
CREATE VIEW dead_view AS SELECT no_such_column FROM plain;
CREATE TRIGGER plain_log AFTER INSERT ON plain BEGIN INSERT INTO counted (name) VALUES (NEW.b); END;
CREATE TRIGGER plain_dead AFTER UPDATE ON plain BEGIN UPDATE plain SET nowhere = 1; END;
CREATE TRIGGER view_write INSTEAD OF INSERT ON plain_view BEGIN
    INSERT INTO plain (a, b) VALUES (NEW.a, NEW.b);
END;
"""


@pytest.fixture(scope="module")
def unplanned(module_path: Path) -> tuple[LegacyTree, LegacyTree]:
    """A tree with every kind of unplanned table in every source, before and after."""
    before = LegacyTree.make(module_path / "before")
    for source in ("root", "legacy", "vector"):
        before.run(source, UNPLANNED)
        before.insert(source, "plain", a=source, b=RawText(b"\xff\0\xfe"))
    after = before.copy(module_path / "after")
    after.apply()
    return before, after


def test_every_kind_of_table_keeps_every_row(unplanned: tuple[LegacyTree, LegacyTree]) -> None:
    before, after = unplanned
    assert assert_all_kept(before, after.root) > 3 * 27
    assert len(carried(after.root)) == 3 * 16 + 1  # and the Database Manager's migration_log


def test_tables_get_their_name_or_one_with_the_source_before_it(
    unplanned: tuple[LegacyTree, LegacyTree],
) -> None:
    names = carried(unplanned[1].root)
    assert names["root", "plain"] == "plain"
    assert names["legacy", "plain"] == "legacy_plain"
    assert names["vector", "we\"ird na'me"] == "vector_we\"ird na'me"


def test_a_rollback_brings_unplanned_tables_back(
    unplanned: tuple[LegacyTree, LegacyTree], tmp_path: Path
) -> None:
    before, after = unplanned
    again = after.copy(tmp_path / "again")
    again.rollback()
    assert again.state == before.state


def test_declarations_survive_the_renaming(unplanned: tuple[LegacyTree, LegacyTree]) -> None:
    before, after = unplanned
    query = 'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)'
    for (source, table), name in carried(after.root).items():
        expected = values(before.path(source), query, (table,))
        assert values(after.root, query, (name,)) == expected, (source, table)
        kind = "SELECT wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ?"
        assert values(after.root, kind, (name,)) == values(before.path(source), kind, (table,))


def test_foreign_keys_follow_the_renamed_table(unplanned: tuple[LegacyTree, LegacyTree]) -> None:
    found = values(
        unplanned[1].root,
        'SELECT "table", on_delete FROM pragma_foreign_key_list(?)',
        ("legacy_child",),
    )
    assert found == [("legacy_keyed", "CASCADE")]


def test_a_sequence_never_gives_a_deleted_number_again(
    unplanned: tuple[LegacyTree, LegacyTree],
) -> None:
    _, after = unplanned
    found = dict(values(after.root, "SELECT name, seq FROM sqlite_sequence"))
    for prefix in ("", "legacy_", "vector_"):
        assert found[f"{prefix}counted"] == 99
        assert found[f"{prefix}emptied"] == 1234
    mapped = values(
        after.root, "SELECT unified_table FROM carried_sequences WHERE source = 'legacy' ORDER BY 1"
    )
    assert mapped == [("legacy_counted",), ("legacy_emptied",)]


@pytest.mark.parametrize("prefix", ["", "legacy_", "vector_"])
def test_full_text_tables_answer_under_every_name(
    unplanned: tuple[LegacyTree, LegacyTree], prefix: str
) -> None:
    _, after = unplanned
    query = "SELECT rowid FROM {0} WHERE {0} MATCH ? ORDER BY rowid"
    assert values(after.root, query.format(f"{prefix}spoken_fts"), ("migrates",)) == [(1,)]
    assert values(after.root, query.format(f"{prefix}own_fts"), ("hello",)) == [(1,)]
    assert values(after.root, query.format(f"{prefix}bare_fts"), ("contentless",)) == [(12,)]
    found = values(after.root, f"SELECT word FROM {prefix}spoken_fts ORDER BY rowid")
    assert found == [("migrating birds",), ("bird",)]


@pytest.mark.parametrize("prefix", ["", "legacy_", "vector_"])
def test_triggers_indexes_and_views_work_under_every_name(
    unplanned: tuple[LegacyTree, LegacyTree], tmp_path: Path, prefix: str
) -> None:
    path = unplanned[1].copy(tmp_path / "fired").root
    with apsw.Connection(str(path)) as connection:
        connection.execute(f"INSERT INTO {prefix}plain (a, b) VALUES (1, 'fired')")
        connection.execute(f"INSERT INTO {prefix}plain_view VALUES (2, 'through the view')")
        found = connection.execute(
            f"SELECT id, name FROM {prefix}counted WHERE id > 1 ORDER BY id"
        ).fetchall()
        views = connection.execute(
            f"SELECT a FROM {prefix}plain_view WHERE b = 'through the view'"
        ).fetchall()
        joined = connection.execute(f"SELECT name FROM {prefix}joined_view").fetchall()
        outer = connection.execute(f"SELECT DISTINCT a FROM {prefix}outer_view").fetchall()
    assert found == [(100, "fired"), (101, "through the view")]
    assert views == [(2,)]
    assert joined == [("B",)]
    source = prefix.removesuffix("_") or "root"
    assert {a for (a,) in outer} == {1.5, None, b"\0\xff", source, 1, 2}
    indexes = values(
        path,
        "SELECT name FROM sqlite_master WHERE type = 'index' AND sql NOT NULL AND tbl_name = ?"
        " ORDER BY name",
        (f"{prefix}plain",),
    )
    assert indexes == [(f"{prefix}by_expression",), (f"{prefix}partial",)]


def test_what_never_worked_is_dropped_with_its_reason(
    unplanned: tuple[LegacyTree, LegacyTree],
) -> None:
    found = values(
        unplanned[1].root,
        "SELECT type, name, rule, unified_name, reason FROM schema_decisions"
        " WHERE decision = 'dropped' AND source = 'root' ORDER BY name",
    )
    assert found == [
        ("view", "dead_view", "does-not-compile", None, "no such column: no_such_column"),
        ("trigger", "plain_dead", "does-not-compile", None, "no such column: nowhere"),
    ]


def test_every_object_of_every_source_has_a_decision(
    unplanned: tuple[LegacyTree, LegacyTree],
) -> None:
    before, after = unplanned
    for source in ("root", "legacy", "vector"):
        made = values(
            before.path(source),
            "SELECT m.name FROM sqlite_master AS m LEFT JOIN pragma_table_list AS l"
            " ON l.schema = 'main' AND l.name = m.name AND m.type = 'table'"
            " WHERE m.sql NOT NULL AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            " AND COALESCE(l.type, '') <> 'shadow' ORDER BY 1",
        )
        query = "SELECT name FROM schema_decisions WHERE source = ? AND type <> 'column' ORDER BY 1"
        assert values(after.root, query, (source,)) == made


# Names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["added_rows", "Migration_Facts", "idx_task_status", "memory_fts"])
def test_a_table_with_a_name_of_the_unified_schema_is_renamed(
    tree: LegacyTree, tmp_path: Path, name: str
) -> None:
    tree.run(
        "vector",
        f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, up REFERENCES {name} (id), t);"
        f"INSERT INTO {name} VALUES (1, NULL, 'x'), (2, 1, 'y');"
        f"CREATE TRIGGER stamp AFTER UPDATE ON {name} BEGIN"
        f" UPDATE {name} SET t = 'stamped' WHERE id = NEW.id; END",
    )
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert carried(tree.root)["vector", name] == f"vector_{name}"
    with apsw.Connection(str(tree.root)) as connection:
        connection.execute(f"UPDATE vector_{name} SET up = 1 WHERE id = 2")
        found = connection.execute(f"SELECT t FROM vector_{name} ORDER BY id").fetchall()
        keys = connection.execute(f"PRAGMA foreign_key_list(vector_{name})").fetchall()
    assert found == [("x",), ("stamped",)]
    assert [row[2] for row in keys] == [f"vector_{name}"]
    tree.rollback()
    assert tree.state == before.state


def test_a_name_is_found_even_where_the_prefixed_one_is_taken(
    tree: LegacyTree, tmp_path: Path
) -> None:
    tree.run("root", "CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    tree.run("root", "CREATE TABLE legacy_t (a); INSERT INTO legacy_t VALUES (2)")
    tree.run("legacy", "CREATE TABLE T (a); INSERT INTO T VALUES (3)")
    before = tree.copy(tmp_path / "before")
    tree.apply()
    assert_all_kept(before, tree.root)
    assert carried(tree.root)["legacy", "T"] == "legacy_T_2"


def test_an_unplanned_trigger_on_a_planned_table_lives_on(tree: LegacyTree) -> None:
    tree.run(
        "root",
        "CREATE TABLE notes (said TEXT);"
        "CREATE TRIGGER tell AFTER INSERT ON task_contexts BEGIN"
        " INSERT INTO notes VALUES (NEW.title); END;"
        "CREATE INDEX by_title ON task_contexts (title);"
        "CREATE VIEW titles AS SELECT title FROM task_contexts",
    )
    tree.insert("root", "task_contexts", id="t", title="old")
    tree.apply()
    assert rows(tree.root, "SELECT said FROM notes") == []
    with apsw.Connection(str(tree.root)) as connection:
        connection.execute("INSERT INTO task_contexts (title) VALUES ('new')")
        said = connection.execute("SELECT said FROM notes").fetchall()
        titles = connection.execute("SELECT title FROM titles ORDER BY 1").fetchall()
    assert said == [("new",)]
    assert titles == [("new",), ("old",)]


def test_a_trigger_on_a_legacy_table_that_was_merged_is_judged_on_the_unified_one(
    tree: LegacyTree,
) -> None:
    tree.run(
        "legacy",
        "CREATE TRIGGER works AFTER UPDATE ON task_contexts BEGIN"
        " UPDATE task_contexts SET description = 'd' WHERE id = NEW.id; END;"
        "CREATE TRIGGER cannot AFTER UPDATE ON memory_blocks BEGIN"
        " UPDATE memory_blocks SET timestamp = 't' WHERE id = NEW.id; END",
    )
    tree.apply()
    found = dict(
        values(
            tree.root,
            "SELECT name, decision FROM schema_decisions WHERE name IN ('works', 'cannot')",
        )
    )
    assert found == {"works": "carried", "cannot": "dropped"}


def test_a_virtual_table_of_a_module_that_is_not_there_stays_in_the_backup(
    tree: LegacyTree,
) -> None:
    with opened(tree.path("legacy")) as connection:
        connection.execute("CREATE TABLE seen (a)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES"
            " ('table', 'strange', 'strange', 0, 'CREATE VIRTUAL TABLE strange USING nobody(x)')"
        )
    tree.apply()
    found = values(
        tree.root, "SELECT type, decision, rule, reason FROM schema_decisions WHERE name='strange'"
    )
    assert found == [
        (
            "virtual table",
            "dropped",
            "does-not-compile",
            "its module or its content's columns are not there",
        )
    ]


def test_a_full_text_table_over_a_planned_table_finds_the_unified_rows(tree: LegacyTree) -> None:
    tree.run(
        "root",
        "INSERT INTO task_contexts (rowid, id, title) VALUES (77, 't', 'hello');"
        "CREATE VIRTUAL TABLE own_tasks USING fts5(title, content=task_contexts);"
        "INSERT INTO own_tasks (own_tasks) VALUES ('rebuild')",
    )
    tree.run(
        "legacy",
        "INSERT INTO memory_blocks (rowid, id, content, type, timestamp)"
        " VALUES (77, 'm', 'hello', 'note', 't');"
        "CREATE VIRTUAL TABLE own_blocks USING fts5(content, content='memory_blocks');"
        "INSERT INTO own_blocks (own_blocks) VALUES ('rebuild');"
        "CREATE TRIGGER own_blocks_ai AFTER INSERT ON memory_blocks BEGIN"
        " INSERT INTO own_blocks (rowid, content) VALUES (NEW.rowid, NEW.content); END;"
        "CREATE VIRTUAL TABLE dead_blocks USING fts5(content, type, content=[memory_blocks])",
    )
    tree.apply()
    with apsw.Connection(str(tree.root)) as connection:
        connection.execute(
            "INSERT INTO memory_blocks (task_id, session_id, block_type, label, content)"
            " VALUES ('t', 's', 'context', 'l', 'hello again')"
        )
        for index in ("own_tasks", "own_blocks"):
            connection.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)")
        tasks = connection.execute("SELECT title FROM own_tasks ('hello')").fetchall()
        blocks = connection.execute("SELECT content FROM own_blocks ('hello')").fetchall()
    assert tasks == [("hello",)]
    assert sorted(blocks) == [("hello",), ("hello again",)]
    found = values(tree.root, "SELECT decision FROM schema_decisions WHERE name = 'dead_blocks'")
    assert found == [("dropped",)]
