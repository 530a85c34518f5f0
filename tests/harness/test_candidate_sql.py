"""Candidates of kind sql: one script, one transaction, the other databases read-only."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from small_candidate import small_tree

from harness.candidate import Candidate
from harness.candidate_sql import SqlDriver
from harness.errors import BadInputError
from harness.snapshot import Snapshot


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return small_tree(tmp_path / "tree")


def driver(tmp_path: Path, sql: str, *, timeout_s: float = 20.0) -> SqlDriver:
    script = tmp_path / "migrate.sql"
    script.write_text(sql, encoding="utf-8")
    return SqlDriver(script, timeout_s=timeout_s)


def names(tree: Path) -> set[str]:
    connection = apsw.Connection(str(tree / "devflow.sqlite"), apsw.SQLITE_OPEN_READONLY)
    found = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    connection.close()
    return found


def test_a_script_moves_rows_from_the_attached_databases(tmp_path: Path, tree: Path) -> None:
    made = driver(tmp_path, "CREATE TABLE moved AS SELECT * FROM legacy.notes;")
    outcome = made.apply(tree)
    assert outcome.ok
    assert outcome.state == "cleanup"
    assert "moved" in names(tree)


def test_its_rollback_leaves_everything_as_it_was(tmp_path: Path, tree: Path) -> None:
    before = Snapshot.of(tree).digest()
    assert driver(tmp_path, "DROP TABLE notes; CREATE TABLE x (y);").rollback(tree).ok
    assert Snapshot.of(tree).digest() == before


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("CREATE TABLE x (y); COMMIT; DROP TABLE notes;", "may not begin or end a transaction"),
        ("CREATE TABLE x (y); ATTACH 'other.sqlite' AS other;", "may not attach a file"),
        ("CREATE TABLE x (y); DETACH legacy;", "may not detach a database"),
        ("CREATE TABLE x (y); SELECT nonsense;", "no such column: nonsense"),
        ("CREATE TABLE x (y); DELETE FROM legacy.notes;", "readonly"),
        ("CREATE TABLE x (y); SELECT load_extension('x');", "not authorized"),
    ],
)
def test_what_a_script_may_not_do_is_refused_and_nothing_changes(
    tmp_path: Path, tree: Path, sql: str, said: str
) -> None:
    before = Snapshot.of(tree).digest()
    outcome = driver(tmp_path, sql).apply(tree)
    assert outcome.definite
    assert outcome.error is not None
    assert said in outcome.error
    assert Snapshot.of(tree).digest() == before


def test_a_script_without_an_end_is_ended(tmp_path: Path, tree: Path) -> None:
    forever = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n;"
    )
    outcome = driver(tmp_path, forever, timeout_s=0.5).apply(tree)
    assert outcome.definite
    assert outcome.error is not None
    assert outcome.elapsed_s < 20


def test_a_missing_database_is_an_empty_one(tmp_path: Path, tree: Path) -> None:
    assert driver(tmp_path, "CREATE TABLE x AS SELECT * FROM vector.sqlite_schema;").apply(tree).ok


def test_a_script_has_no_steps_and_no_journal(tmp_path: Path, tree: Path) -> None:
    made = driver(tmp_path, "SELECT 1;")
    assert made.plan(tree).steps == ()
    assert made.status(tree).state == "none"


def test_a_script_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    script = tmp_path / "migrate.sql"
    script.write_bytes(b"\xff\xff")
    with pytest.raises(BadInputError, match="cannot be read as UTF-8"):
        SqlDriver(script, timeout_s=1.0)


def test_each_command_of_the_candidate_runs_the_script(tree: Path) -> None:
    manifest = Path(__file__).parent.parent / "candidates" / "notes-sql" / "candidate.yaml"
    candidate = Candidate.load(manifest)
    vector = apsw.Connection(str(tree / "data" / "vector.sqlite"))
    vector.execute("CREATE TABLE notes (id TEXT, text TEXT)")
    vector.close()
    assert candidate.rollback(tree).ok
    assert "moved_notes" not in names(tree)
    assert candidate.apply(tree).ok
    assert "moved_notes" in names(tree)
    assert candidate.status(tree).ok
